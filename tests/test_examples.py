"""The examples run as their pages say."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from keras_salnet import Predictor
from keras_salnet.formats import export_tflite
from keras_salnet.images.visualize import to_grey

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A TFLite file of the shipped ones' signature; blurred redness is salient to it."""
    image = keras.Input((24, 32, 3), name="image")
    weights = np.zeros((5, 5, 3, 1), np.float32)
    weights[:, :, 0] = 1 / 25 / 255
    blur = keras.layers.Conv2D(1, 5, padding="same", use_bias=False)
    net = keras.Model(image, blur(image))
    blur.set_weights([weights])
    path = tmp_path_factory.mktemp("model") / "red.tflite"
    export_tflite(net, path)
    return path


@pytest.mark.slow
def test_ray_predicts_a_folder_and_goes_on(tmp_path, model):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed (pip install 'ray[data]')")
    photos, maps = tmp_path / "photos", tmp_path / "maps"
    (photos / "trip").mkdir(parents=True)
    random = np.random.default_rng(0)
    names = ["a.jpg", "a.png", "b.PNG", "trip/a.jpg", "trip/größer.bmp"]
    for number, name in enumerate(names):
        pixels = random.integers(0, 256, (40 + number, 70, 3), np.uint8)
        _, encoded = cv2.imencode(Path(name).suffix, pixels)
        (photos / name).write_bytes(encoded.tobytes())
    (photos / "broken.jpg").write_bytes(b"no image")
    (photos / "notes.txt").write_text("no image either")

    def run(batch_size):
        script = EXAMPLES / "bulk" / "predict_ray.py"
        command = [sys.executable, script, "photos", "--out", "maps", "--model", model]
        return subprocess.run(
            [*command, "--workers", "2", "--batch-size", str(batch_size)],
            cwd=tmp_path,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            capture_output=True,
            text=True,
        )

    first = run(batch_size=2)
    assert first.returncode == 1, first.stderr
    assert "5 maps written into maps, 0 were there, 1 images could not be read." in first.stdout
    assert str(photos / "broken.jpg") in first.stderr
    written = {path: path.stat().st_mtime_ns for path in maps.rglob("*") if path.is_file()}
    assert written.keys() == {maps / f"{name}.png" for name in names}  # and no drafts
    predictor = Predictor.load(model)
    for name in names:
        saliency = cv2.imdecode(np.fromfile(maps / f"{name}.png", np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(saliency, to_grey(predictor(photos / name)))

    # As after an interruption: one map is missing, the others are not made again.
    missing = maps / "trip" / "a.jpg.png"
    missing.unlink()
    second = run(batch_size=1)  # now the broken image is alone in its batch
    assert second.returncode == 1, second.stderr
    assert "1 maps written into maps, 4 were there, 1 images could not be read." in second.stdout
    again = {path: path.stat().st_mtime_ns for path in maps.rglob("*") if path.is_file()}
    assert again.keys() == written.keys()
    assert [path for path in written if again[path] != written[path]] == [missing]
    (photos / "broken.jpg").unlink()
    third = run(batch_size=2)
    assert third.returncode == 0, third.stderr
    assert "0 maps written into maps, 5 were there, 0 images could not be read." in third.stdout
