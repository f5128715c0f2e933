"""The commands of the README, in a row and end to end, on the embedded displays."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_salnet.cli import main
from keras_salnet.data import popout
from keras_salnet.prediction.predictor import Predictor

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the default commands trained and evaluated."""
    folder = tmp_path_factory.mktemp("default")
    for command in (["train.py", "--epochs", "10"], ["evaluate.py", "--json", "scores.json"]):
        subprocess.run([sys.executable, ROOT / command[0], *command[1:]], check=True, cwd=folder)
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (run,) = Path("runs").iterdir()
    return run


def test_default_command_beats_the_centre_bias(run):
    """The promise of the README."""
    assert run.name.endswith("-vggrga-popout")
    assert (run / "evaluation.json").read_text() == Path("scores.json").read_text()
    (evaluation,) = json.loads((run / "evaluation.json").read_text())["evaluations"]
    summary = evaluation["summary"]
    model, bias = summary[run.name], summary["centre bias"]
    assert model["CC"]["mean"] > bias["CC"]["mean"] + 0.2
    assert model["NSS"]["mean"] > bias["NSS"]["mean"] + 1
    assert model["KL"]["mean"] < bias["KL"]["mean"]


def test_commands_go_on_from_it(run, capsys):
    assert main(["train", "--init", str(run), "--out", "nowhere", "--num-rga", "7"]) == 1
    assert "num_rga" in capsys.readouterr().err, "the run's own arguments, but for those given"
    image = popout.folder() / "images" / "test" / "test_0000.jpg"
    assert main(["predict", str(image), "--npy", "--model", str(run)]) == 0
    assert len(list(Path("predictions").iterdir())) == 3
    saliency = np.load("predictions/test_0000_saliency.npy")
    assert saliency.shape == (popout.SIZE, popout.SIZE)
    assert saliency.max() == 1
    grey = cv2.imread("predictions/test_0000_saliency.png", cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(grey, np.round(saliency * 255))
    assert main(["export", "--format", "tflite", "--out", "again.tflite"]) == 0
    np.testing.assert_allclose(Predictor.load("again.tflite")(image), saliency, atol=1e-4)
