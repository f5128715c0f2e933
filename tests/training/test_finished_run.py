"""A finished run: its exports predict alike, and it is evaluated."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_salnet import metrics, models
from keras_salnet.cli import main
from keras_salnet.data import pipeline
from keras_salnet.evaluation import evaluate
from keras_salnet.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def images(displays):
    return sorted((displays / "images" / "test").iterdir())


def test_every_form_of_the_model_predicts_the_same(run, images):
    forms = (
        run,
        run / "model.keras",
        run / "saved_model",
        run / "saved_model" / "1",
        run / "model.tflite",
    )
    maps = [Predictor.load(form)(images[0]) for form in forms]
    for saliency in maps[1:]:
        np.testing.assert_allclose(saliency, maps[0], atol=1e-4)


FRESH = """
import json, sys
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
encoded = [open(path, "rb").read() for path in sys.argv[3:]]
serve = loaded.signatures
images = np.load(sys.argv[2])
answers = {
    "serving_default": serve["serving_default"](image=tf.constant(images, tf.float32)),
    "predict_uint8": serve["predict_uint8"](image=tf.constant(images, tf.uint8)),
    "predict_image_bytes": serve["predict_image_bytes"](image_bytes=tf.constant(encoded)),
}
assert "keras_salnet" not in sys.modules
np.savez(sys.argv[2] + ".answers.npz", **{k: v["saliency"].numpy() for k, v in answers.items()})
"""


def test_savedmodel_answers_without_this_package(run, images, small, dataset, tmp_path):
    net = models.load_model(run / "model.keras")
    batch = next(
        iter(
            pipeline.validation_batches(
                dataset["test"], small.input_size, resize="stretch", batch_size=3
            )
        )
    )
    pixels = np.round(batch["image"]).astype(np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    subprocess.run(
        [sys.executable, "-c", FRESH, run / "saved_model" / "1", tmp_path / "images.npy", *images],
        check=True,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    answers = np.load(tmp_path / "images.npy.answers.npz")
    rounded = net.predict_on_batch(pixels.astype("float32"))
    np.testing.assert_allclose(answers["serving_default"], rounded, atol=1e-4)
    np.testing.assert_allclose(answers["predict_uint8"], rounded, atol=1e-4)
    exact = net.predict_on_batch(batch["image"])
    np.testing.assert_allclose(answers["predict_image_bytes"], exact, atol=1e-4)


def test_bytes_endpoint_reads_png_grey_and_alpha(run):
    serve = tf.saved_model.load(str(run / "saved_model" / "1")).signatures["predict_image_bytes"]
    colour = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    grey = np.ascontiguousarray(colour[..., 0])
    half = np.dstack([colour, np.full((50, 70), 51, np.uint8)])  # a fifth of it, over white
    paled = np.uint8(np.round(colour / 5 + 255 * 4 / 5))
    pictures = (colour, grey, half, paled)
    encoded = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]
    maps = serve(image_bytes=tf.constant(encoded))["saliency"].numpy()
    assert maps.shape == (4, 64, 96, 1)
    np.testing.assert_allclose(maps[2], maps[3], atol=1e-5)
    assert np.abs(maps[0] - maps[2]).max() > 1e-3


def test_evaluation_scores_a_trained_model(run, dataset, images):
    predictor = Predictor.load(run)
    evaluation = evaluate(predictor, dataset)
    assert evaluation.split == "test"
    assert list(evaluation.scores)[:2] == ["tiny", "centre bias"]
    sample = dataset["test"][1]
    saliency, density = predictor(sample.image), sample.read_density(None)
    scores = evaluation.scores["tiny"]
    assert scores["CC"][1] == pytest.approx(metrics.correlation_coefficient(saliency, density))
    assert scores["NSS"][1] == pytest.approx(metrics.nss(saliency, sample.read_fixations()))
    assert [sample.image for sample in evaluation.samples] == images


def test_skip_bad_scores_the_rest(run, displays, tmp_path, capsys):
    broken = shutil.copytree(displays, tmp_path / "broken")
    (broken / "images" / "test" / "test_0001.jpg").write_bytes(b"")
    command = ["evaluate", str(run), "--data", str(broken), "--json", str(tmp_path / "scores.json")]
    assert main(command) == 1
    assert "images/test/test_0001.jpg" in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 0
    (written,) = json.loads((tmp_path / "scores.json").read_text())["evaluations"]
    assert written["images"] == ["test_0000", "test_0002"]
