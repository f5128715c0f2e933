"""Each model's recipe, through the command line, narrow and for one epoch."""

import csv

import numpy as np
import pytest
from keras.layers import BatchNormalization

from keras_salnet import losses, models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, popout
from keras_salnet.models import load_model
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.training import train
from keras_salnet.training.recipes import POPOUT, RECIPES, Recipe, recipe_for

OTHERS = sorted({*models.names()} - {"vggrga"})


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 3, "val": 2, "test": 1})
    return folder


def test_every_model_has_a_recipe():
    for name in models.names():
        assert RECIPES[name].model == name


# VGGSSM is trained below.
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "mobilerga" else ())
        for name in OTHERS
        if name != "vggssm"
    ],
)
def test_each_model_is_trained(model, displays, tmp_path):
    recipe = RECIPES[model].replace(
        model_args={"filters": 8, "max_nodes": 64} if model == "mobilerga" else {"filters": 4},
        backbone_weights=None,
        input_size=(64, 96),
        batch_size=2,
        epochs=1,
        learning_rate=1e-3,
        freeze_encoder=0,
        frozen_stages=0,
    )
    run = train(recipe, load_dataset(displays), tmp_path / "run", jit=False, exports=False)
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
        "keras_salnet.training.train", lambda recipe, *_, **__: recipes.append(recipe) or tmp_path
    )
    assert main(["train", "--model", model]) == 0
    assert main(["train", "--model", "vggrga"]) == 0
    assert main(["train", "--repeat", "2"]) == 0
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


def test_vggssms_encoder_is_never_trained(displays, tmp_path):
    net = models.create("vggssm", input_shape=(32, 48, 3), backbone_weights=None, filters=4)
    net.save_weights(tmp_path / "start.weights.h5")
    recipe = RECIPES["vggssm"].replace(
        model_args={"filters": 4}, input_size=(32, 48), batch_size=2, epochs=2
    )
    command = ["train", "--model", "vggssm", "--backbone-weights", "none", "--data", str(displays)]
    assert main([*command, "--out", str(tmp_path / "nowhere")]) == 1, "random weights stay"
    assert recipe.freeze_encoder >= 500, "in a long run neither"

    dataset, start = load_dataset(displays), tmp_path / "start.weights.h5"
    run = train(recipe, dataset, tmp_path / "run", init=start, exports=False)
    trained = load_model(run / "model.keras")
    encoder = {layer.name for layer in encoder_layers(net)}
    for before, after in zip(net.weights, trained.weights, strict=True):
        layer = before.path.split("/")[0]
        if layer == "block5_self_attention" and not before.path.endswith("gamma"):
            continue  # moves as soon as γ has
        assert np.array_equal(before, after) == (layer in encoder), before.path


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"decay_every": 0},
        {"schedule": "linear"},
        {"encoder_rate": -0.1},
        {"freeze_encoder": -1},
        {"resize": "crop"},
        {"loss_args": {"alpha": [1, 2, 3]}},
        {"accumulate": 0},
        {"clip_norm": 0.0},
        {"clip_norm": float("nan")},
        {"ema": 1.0},
        {"ema": 0.0},
        {"early_stopping": 0},
        {"max_time": 0},
        {"weight_decay": -0.1},
        {"optimizer": "adamw"},
        {"loss": "mse"},
        {"augment": True},
        {"frozen_stages": -1},
    ],
)
def test_recipe_refuses(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        POPOUT.replace(**change)


def test_the_papers_recipe():
    recipe = RECIPES["vggrga"]
    assert recipe.model_args == {"num_rga": 3}
    assert (recipe.epochs, recipe.batch_size, recipe.input_size) == (10, 8, (256, 256))
    assert (recipe.loss, recipe.loss_args) == ("saliency", {})
    loss = losses.SaliencyLoss()
    assert (loss.kl, loss.cc, loss.sim) == (10, -1, -1)
