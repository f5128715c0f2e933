"""Each model's recipe, through the command line, narrow and for one epoch."""

import csv
import json

import numpy as np
import pytest
from keras.layers import BatchNormalization

from keras_salnet import models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, popout
from keras_salnet.models import load_model
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.training import run as training
from keras_salnet.training.recipes import POPOUT, RECIPES, Recipe, recipe_for

OTHERS = sorted({*models.names()} - {"vggrga"})


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 3, "val": 2, "test": 1})
    return folder


def test_every_model_has_a_recipe():
    assert {*RECIPES} - {"accurate", "popout"} == {*models.names()}
    for name in models.names():
        assert RECIPES[name].model == name


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=pytest.mark.slow if m == "mobilerga" else ()) for m in OTHERS]
)
def test_train_from_the_command_line(model, displays, tmp_path, monkeypatch):
    for name in ("export_savedmodel", "export_tflite", "plot_curves"):
        monkeypatch.setattr(training, name, lambda *arguments, **options: None)
    small = {"filters": 8, "max_nodes": 64} if model == "mobilerga" else {"filters": 4}
    recipe = RECIPES[model].replace(model_args=small, batch_size=2)
    monkeypatch.setitem(RECIPES, model, recipe)
    run = tmp_path / "run"
    command = f"train --model {model} --data {displays} --out {run} --epochs 1 --no-jit"
    frozen = "--freeze-encoder 0 --frozen-stages 0"
    options = f"{frozen} --input-size 64x96 --backbone-weights none --learning-rate 0.001"
    assert main([*command.split(), *options.split()]) == 0

    config = json.loads((run / "config.json").read_text())["recipe"]
    assert (config["model"], config["model_args"]) == (model, small)
    (row,) = csv.DictReader((run / "history.csv").open())
    assert all(np.isfinite(float(value)) for value in row.values())
    net = load_model(run / "model.keras")
    assert net.input_shape == (None, 64, 96, 3)
    for layer in encoder_layers(net):
        shift = layer.beta if isinstance(layer, BatchNormalization) else layer.bias
        assert shift is None or np.any(shift), layer.name  # was 0


@pytest.mark.parametrize("model", OTHERS)
def test_embedded_displays_have_a_small_recipe_of_every_model(model, tmp_path, monkeypatch):
    recipes = []
    monkeypatch.setattr(
        training, "train", lambda recipe, *_, **__: recipes.append(recipe) or tmp_path
    )
    assert main(["train", "--model", model]) == 0
    assert main(["train", "--model", "vggrga"]) == 0
    assert main(["train", "--weights", "2"]) == 0
    nodes = {"max_nodes": 64} if model == "mobilerga" else {}
    wanted = POPOUT.replace(model=model, model_args={"filters": 8, **nodes})
    assert recipes == [wanted, POPOUT, POPOUT]
    assert wanted.model_args == {"filters": 8, **nodes}
    models.create(model, input_shape=(128, 128, 3), backbone_weights=None, **wanted.model_args)


def test_argument_of_another_model(displays, tmp_path, capsys):
    command = ["train", "--model", "pfa", "--num-rga", "1", "--backbone-weights", "none"]
    assert main([*command, "--data", str(displays), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: pfa has no num_rga; it has: with_cpfe, with_ca, with_sa, ")


def test_replace_merges_arguments_of_the_same_model():
    recipe = Recipe(model_args={"num_rga": 3})
    assert recipe.replace(model_args={"filters": 8}).model_args == {"num_rga": 3, "filters": 8}
    assert recipe.replace(epochs=1).model_args == {"num_rga": 3}
    assert recipe.replace(model="pfa").model_args == {}
    assert recipe_for("pfa", "popout").model_args == {"filters": 8}
    assert recipe_for("pfa", "osie") == RECIPES["pfa"]


def test_vggssms_encoder_is_never_trained(displays, tmp_path, monkeypatch):
    for name in ("export_savedmodel", "export_tflite", "plot_curves"):
        monkeypatch.setattr(training, name, lambda *arguments, **options: None)
    net = models.create("vggssm", input_shape=(32, 48, 3), backbone_weights=None, filters=4)
    net.save_weights(tmp_path / "start.weights.h5")
    recipe = RECIPES["vggssm"].replace(
        model_args={"filters": 4}, input_size=(32, 48), batch_size=2, epochs=2
    )
    command = ["train", "--model", "vggssm", "--backbone-weights", "none", "--data", str(displays)]
    assert main([*command, "--out", str(tmp_path / "nowhere")]) == 1, "random weights stay"
    assert recipe.freeze_encoder >= 500, "in a long run neither"

    dataset, start = load_dataset(displays), tmp_path / "start.weights.h5"
    trained = load_model(
        training.train(recipe, dataset, tmp_path / "run", init=start) / "model.keras"
    )
    encoder = {layer.name for layer in encoder_layers(net)}
    for before, after in zip(net.weights, trained.weights, strict=True):
        layer = before.path.split("/")[0]
        if layer == "block5_self_attention" and not before.path.endswith("gamma"):
            continue  # moves as soon as γ has
        assert np.array_equal(before, after) == (layer in encoder), before.path
