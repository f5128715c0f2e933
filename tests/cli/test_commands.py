"""The other commands, and what all have in common: errors in a line, fast help."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_salnet.cli import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate"], "no finished run"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "nowhere.jpg", "--model", "nowhere"], "nowhere"),
        (["train", "--data", "nowhere"], "nowhere"),
        (["train", "--epochs", "0"], "epochs"),
        (["export", "--out", "x.tflite"], "no finished run"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert told in captured.err
    assert list(tmp_path.iterdir()) == []


def test_datasets_check(displays, tmp_path, capsys, caplog):
    broken = shutil.copytree(displays, tmp_path / "broken")
    bad = broken / "images" / "test" / "test_0001.jpg"
    bad.write_bytes(b"")
    assert main(["datasets", "check", str(displays)]) == 0
    assert "Every file can be used." in capsys.readouterr().out
    assert "5 train, 3 val, 3 test images with density maps" in caplog.text
    assert main(["datasets", "check", str(broken)]) == 1
    told = capsys.readouterr()
    assert "Every file" not in told.out
    assert str(bad) in told.err
    assert main(["datasets", "check", str(broken / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_datasets_are_listed(capsys):
    assert main(["datasets"]) == 0
    printed = capsys.readouterr().out
    for name in ("osie", "salicon"):
        assert name in printed


def test_predict_never_overwrites_and_names_what_it_cannot_read(
    displays, tmp_path, monkeypatch, capsys, caplog
):
    images = sorted((displays / "images" / "test").iterdir())
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(images[0].read_bytes()[:100])
    command = ["predict", str(images[0]), str(broken)]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "1 of the images could not be read" in captured.err
    assert "broken.jpg" in caplog.text
    assert sorted(p.name for p in Path("predictions").iterdir()) == [
        "test_0000_overlay.png",
        "test_0000_saliency.png",
    ]
    before = {path: path.stat().st_mtime_ns for path in Path("predictions").iterdir()}
    assert main(command) == 1
    assert "Kept: 1 (--force" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in Path("predictions").iterdir()}
    twin = tmp_path / "test_0000.png"
    cv2.imwrite(str(twin), np.zeros((8, 8, 3), np.uint8))
    assert main(["predict", str(images[0]), str(twin), "--force"]) == 1
    assert "would both be written" in capsys.readouterr().err


FAST = """
import sys, time
start = time.perf_counter()
import keras_salnet
took = time.perf_counter() - start
assert not {"tensorflow", "keras", "cv2", "scipy"} & set(sys.modules), sorted(sys.modules)
print(took)
"""


def test_importing_and_help_load_no_tensorflow():
    subprocess.run([sys.executable, "-c", FAST], check=True)
    code = (
        "import sys; from keras_salnet.cli import main\n"
        "for arguments in (['--help'], ['--attention', 'nonsense']):\n"
        "    try: main(['train', *arguments])\n"
        "    except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras', 'cv2', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
