"""The trained models that come with the package."""

import json
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from keras_salnet import Predictor, load_model, models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, popout
from keras_salnet.metrics import correlation_coefficient, nss
from keras_salnet.models import presets
from keras_salnet.models.loading import initialize_from
from keras_salnet.training.recipes import RECIPES

NAMES = sorted(presets.SHIPPED)
# What a file may take, in bytes, and what its maps of OSIE's held-out tenth must reach.
LIMITS = {"fast": 10e6, "accurate": 32e6}
LEAST_CC = {"fast": 0.75, "accurate": 0.80}
LEAST_WAY = 0.7
# On these images, as `keras-salnet evaluate` prints them: of the centre bias, and of half the
# people against the other half.
NSS_BIAS, NSS_HALVES = 0.79, 3.56


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def net(name):
    return load_model(name)


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped") / "displays"
    popout.write(folder, {"train": 4, "val": 2, "test": 6})
    return folder


def test_files_are_small_and_need_no_flex(name):
    file = presets.litert_file(name)
    assert file.stat().st_size <= LIMITS[name]
    operators = schema.Model.GetRootAs(file.read_bytes(), 0)
    codes = [operators.OperatorCodes(place) for place in range(operators.OperatorCodesLength())]
    assert codes
    assert not [code.CustomCode() for code in codes if code.CustomCode()]


def test_the_phone_s_model_has_at_most_5_million_parameters():
    assert presets.preset("fast")["model"] == "mobilerga"
    assert models.registry.MODELS["mobilerga"].parameters <= 5e6


def agreement(name, net, images):
    """CC between the maps of LiteRT and of Keras."""
    keras_s = Predictor(models.mirrored(net) if presets.preset(name)["mirrored"] else net)
    litert_s = Predictor.load(name)
    return [np.corrcoef(keras_s(i).ravel(), litert_s(i).ravel())[0, 1] for i in images]


def test_keras_and_litert_hold_the_same_model(name, net, displays):
    """As far as 8 bits go on displays, which are not what the model has learnt."""
    assert min(agreement(name, net, sorted((displays / "images" / "test").iterdir()))) > 0.9


def test_keras_and_litert_agree_on_photographs(name, net, shared_data):
    images = [sample.image for sample in load_dataset(shared_data / "osie")["test"][::7]]
    assert np.mean(agreement(name, net, images)) > 0.99


def test_it_is_as_good_as_its_card_says(name, shared_data):
    """On the images of OSIE that nothing was learnt from."""
    predictor = Predictor.load(name)
    cc, looked = [], []
    for sample in load_dataset(shared_data / "osie")["test"]:
        saliency = predictor(sample.image)
        cc.append(correlation_coefficient(saliency, sample.read_density(saliency.shape)))
        looked.append(nss(saliency, sample.read_fixations()))
    assert len(cc) == 70
    assert np.mean(cc) >= LEAST_CC[name]
    assert (np.mean(looked) - NSS_BIAS) / (NSS_HALVES - NSS_BIAS) >= LEAST_WAY


def test_predicting_needs_neither_keras_nor_tensorflow(run_python, displays, tmp_path):
    image = displays / "images" / "test" / "test_0000.jpg"
    run_python(WITHOUT, tmp_path, image)
    names = {path.name for path in (tmp_path / "predictions").iterdir()}
    assert names == {"test_0000_saliency.png", "test_0000_overlay.png"}


WITHOUT = """
import os, sys
folder, image = sys.argv[1:]
os.chdir(folder)
from keras_salnet.cli import main
assert main(["predict", image]) == 0
from keras_salnet import Predictor
assert Predictor.load().name == "fast"
assert Predictor.load("accurate")(image).shape == Predictor.load()(image).shape
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"keras", "tensorflow", "jax", "torch", "matplotlib"}, loaded
"""


@pytest.mark.slow
def test_training_goes_on_from_it(displays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["train", "--init", "fast", "--data", str(displays), "--epochs", "1", "--out", "run"]
    assert main([*command, "--learning-rate", "1e-9", "--ema", "0.5"]) == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["init"] == "fast"
    assert config["recipe"]["model"] == "mobilerga"
    image = displays / "images" / "test" / "test_0000.jpg"
    net = load_model("fast")
    first = Predictor(net)(image)
    again = Predictor.load("run")(image)
    assert np.corrcoef(again.ravel(), first.ravel())[0, 1] > 0.98


def test_every_weight_is_filled(name):
    about = presets.preset(name)
    keras.utils.set_random_seed(0)
    shape = (*about["input_size"], 3)
    net = models.create(
        about["model"], input_shape=shape, backbone_weights=None, **about["model_args"]
    )
    before = [np.array(weight) for weight in net.weights]
    assert initialize_from(net, name) == []
    for weight, value in zip(net.weights, before, strict=True):
        assert np.isfinite(weight).all(), weight.path
        assert weight.shape == (1,) or not np.array_equal(weight, value), weight.path


def test_a_preset_is_as_its_recipe_trains_it(name):
    recipe = RECIPES[{"fast": "mobilerga"}.get(name, name)]
    preset = presets.preset(name)
    for key in ("model", "model_args", "input_size", "resize"):
        assert preset[key] == getattr(recipe, key)


def test_shipping_keeps_the_weights(tmp_path, monkeypatch):
    """To 16 bits or better."""
    ship = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "ship.py"))["ship"]
    arguments = {"num_rga": 0, "filters": 4}
    about = {"model": "vggrga", "model_args": arguments, "input_size": [32, 48]}
    (tmp_path / "fast.json").write_text(json.dumps({**about, "mirrored": False}))
    monkeypatch.setattr(presets, "_FOLDER", tmp_path)
    keras.utils.set_random_seed(3)
    net = models.VGGRGA(input_shape=(32, 48, 3), backbone_weights=None, **arguments)
    random = np.random.default_rng(0)
    for weight in net.weights:
        weight.assign(weight + 1e-3 * random.random(weight.shape))
    ship(net, "fast", "dynamic")
    assert Predictor.load(tmp_path / "fast.tflite").input_size == (32, 48)
    for weight, again in zip(net.weights, presets.load_shipped("fast").weights, strict=True):
        value, error = np.asarray(weight), np.abs(np.asarray(weight) - np.asarray(again))
        assert (error <= np.abs(value) / 2**11 + 1e-7).all(), weight.path


def test_names_are_told():
    with pytest.raises(FileNotFoundError, match="accurate or fast"):
        Predictor.load("slow")
    with pytest.raises(ValueError, match="takes 256 x 320 pixels"):
        Predictor.load("fast", (64, 64))
    with pytest.raises(FileNotFoundError, match="accurate or fast"):
        initialize_from(None, "slow")
