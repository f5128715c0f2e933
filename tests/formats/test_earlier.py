"""What version 0.1.0 wrote before its rooms moved still loads: a run, its exports, its settings.

``earlier.tar.xz`` holds a run of VGGRGA(0) with one filter at 32 x 48 (`resize` was ``fit`` then),
the same model for ONNX Runtime and OpenVINO, the map that it predicted, and the settings of an
unfinished run.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from keras_salnet import Predictor, load_model
from keras_salnet.models.loading import initialize_from
from keras_salnet.runs import Run
from keras_salnet.training.recipes import PFA, POPOUT, Recipe

MODELS = {
    "run": None,
    "run/model.keras": None,
    "run/saved_model": None,
    "run/model.tflite": None,
    "model.onnx": "onnxruntime",
    "openvino": "openvino",
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(Path(__file__).with_name("earlier.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("model", MODELS)
def test_a_model_predicts_as_before(model, earlier):
    if MODELS[model]:
        pytest.importorskip(MODELS[model])
    predictor = Predictor.load(earlier / model)
    assert (predictor.input_size, predictor.resize) == ((32, 48), "pad")
    image = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)
    np.testing.assert_allclose(predictor(image), np.load(earlier / "map.npy"), atol=1e-4)


def test_weights_start_a_model(earlier):
    net, other = load_model(earlier / "run"), load_model(earlier / "run")
    for weight in net.weights:
        weight.assign(0 * weight)
    assert initialize_from(net, earlier / "run" / "best.weights.h5") == []
    for ours, theirs in zip(net.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_the_description_of_an_export_is_read(earlier):
    predictor = Predictor.load(earlier / "run" / "saved_model")
    assert predictor.resize == "pad"
    alone = (earlier / "run" / "saved_model").rename(earlier / "saved_model")
    predictor = Predictor.load(alone)
    alone.rename(earlier / "run" / "saved_model")
    assert (predictor.name, predictor.resize) == ("run", "pad")


def test_settings_become_the_recipes_of_today(earlier):
    small = {"backbone_weights": None, "batch_size": 4, "epochs": 2, "augment": None}
    expected = PFA.replace(input_size=(32, 32), model_args={"filters": 2}, **small)
    assert Recipe(**Run(earlier / "killed").config["recipe"]) == expected.replace(resize="pad")
    expected = POPOUT.replace(
        input_size=(32, 48),
        resize="pad",
        epochs=1,
        model_args={"num_rga": 0, "filters": 1},
        loss_args={"kl": 10.0, "cc": -1.0, "sim": -1.0},
    )
    assert Recipe(**Run(earlier / "run").config["recipe"]) == expected
