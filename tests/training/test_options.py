"""What a recipe's options do to the training."""

import csv
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_salnet import models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, pipeline, popout
from keras_salnet.training import callbacks, fit
from keras_salnet.training.recipes import POPOUT, RECIPES

NARROW = {"num_rga": 0, "filters": 8}
TINY = POPOUT.replace(model_args=NARROW, input_size=(32, 32), batch_size=2, epochs=2)


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 5, "val": 2, "test": 1})
    return folder


@pytest.fixture
def train(displays, tmp_path, monkeypatch):
    """Trains by a recipe, without the exports: → its run folder."""
    for name in ("export_savedmodel", "export_tflite", "plot_curves"):
        monkeypatch.setattr(fit, name, lambda *arguments: None)
    return lambda recipe: fit.train(recipe, load_dataset(displays), tmp_path / "run")


def after_steps(recipe, gradients):
    """Two weights, and their first moments, after some steps by a recipe's optimizer."""
    weights = [keras.Variable([1.0]), keras.Variable([1.0])]
    layer = SimpleNamespace(weights=weights[1:])
    optimizer = fit._adam(recipe.learning_rate, [layer], recipe)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor([part]) for part in gradient], weights)
    return [float(weight[0]) for weight in weights], [float(m[0]) for m in optimizer._momentums]


each_rate = pytest.mark.parametrize("encoder_rate", [1.0, 0.5])


@each_rate
def test_accumulation_steps_by_the_mean_gradient(encoder_rate):
    recipe = TINY.replace(encoder_rate=encoder_rate)
    first, second = (3.0, -1.0), (1.0, 4.0)
    twice = recipe.replace(accumulate=2)
    assert after_steps(twice, [first]) == ([1.0, 1.0], [0.0, 0.0])
    weights, _ = after_steps(twice, [first, second])
    assert weights == pytest.approx(after_steps(recipe, [(2.0, 1.5)])[0])
    assert weights != pytest.approx(after_steps(recipe, [first, second])[0])


@each_rate
def test_clipping_bounds_all_gradients_together(encoder_rate):
    recipe = TINY.replace(clip_norm=1.0, encoder_rate=encoder_rate)
    _, moments = after_steps(recipe, [(3.0, 4.0)])
    assert moments == pytest.approx([0.1 * 0.6, 0.1 * 0.8])
    _, moments = after_steps(recipe, [(0.3, 0.4)])
    assert moments == pytest.approx([0.1 * 0.3, 0.1 * 0.4]), "short ones stay"


def test_the_average_is_validated_and_kept(train, displays, monkeypatch):
    trained = []

    class Recording(callbacks.StopAtNaN):
        def on_train_batch_end(self, batch, logs=None):
            trained.append(self.best.net.get_weights())

    monkeypatch.setattr(fit, "StopAtNaN", Recording)
    run = train(TINY.replace(ema=0.7, schedule="step"))
    assert len(trained) == 6
    average, averages = trained[0], []
    for step, weights in enumerate(trained):
        if step:
            average = [0.7 * a + 0.3 * w for a, w in zip(average, weights, strict=True)]
        averages.append(average)

    rows = list(csv.DictReader((run / "history.csv").open()))
    best = int(np.argmin([float(row["val_loss"]) for row in rows]))
    net = models.load_model(run / "model.keras")
    for ours, theirs in zip(net.get_weights(), averages[3 * best + 2], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    distance = [
        np.abs(ours - theirs).max()
        for ours, theirs in zip(net.get_weights(), trained[3 * best + 2], strict=True)
    ]
    assert max(distance) > 1e-4, "not the weights themselves"

    graph = fit.training_graph(net)
    graph.compile(loss=fit.losses.SaliencyLoss(10, -1, -1))
    batches = pipeline.validation_batches(
        load_dataset(displays)["val"], (32, 32), fit="stretch", batch_size=2
    )
    loss = graph.evaluate(batches, verbose=0)
    assert loss == pytest.approx(float(rows[best]["val_loss"]), rel=1e-4)


# Which counts first, and so is the best; two after it are no better.
@pytest.mark.parametrize(("frozen", "first"), [(2, 3), (9, 1)])
def test_training_stops_early_once_nothing_is_frozen(frozen, first, displays, train, tmp_path):
    """Or from the start, where everything stays so."""
    start = tmp_path / "start.weights.h5"
    net = models.create("vggrga", input_shape=(32, 32, 3), backbone_weights=None, **NARROW)
    net.save_weights(start)
    recipe = TINY.replace(
        early_stopping=2, freeze_encoder=frozen, epochs=8, schedule="step", learning_rate=1e-12
    )
    run = fit.train(recipe, load_dataset(displays), tmp_path / "run", init=start)
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert len({row["val_loss"] for row in rows}) == 1
    assert len(rows) == first + 2
    assert not (run / fit.RECORD).exists()


def test_options_reach_the_recipe_and_the_run(displays, tmp_path, monkeypatch):
    def no_fit(graph, *others):
        raise FloatingPointError("not fitted")

    monkeypatch.setattr(fit, "_fit", no_fit)
    out = tmp_path / "out"
    options = "--accumulate 4 --clip-norm 2.5 --ema 0.99 --early-stopping 3 --schedule cosine"
    size = "--warmup 0.5 --input-size 32 --num-rga 0 --backbone-weights none --deterministic"
    command = ["train", "--data", str(displays), *options.split(), *size.split()]
    monkeypatch.setattr(fit, "_make_deterministic", lambda: None)
    assert main([*command, "--no-jit", "--out", str(out)]) == 1
    config = json.loads((out / "config.json").read_text())
    assert (config["deterministic"], config["jit"], config["seed"]) == (True, False, 0)
    recipe = fit.Recipe(**{**config["recipe"], "input_size": (32, 32)})
    assert recipe == RECIPES["vggrga"].replace(
        accumulate=4,
        clip_norm=2.5,
        ema=0.99,
        early_stopping=3,
        schedule="cosine",
        warmup_epochs=0.5,
        input_size=(32, 32),
        model_args={"num_rga": 0},
        backbone_weights=None,
    )


def test_a_warm_up_needs_the_cosine(displays, capsys):
    assert main(["train", "--data", str(displays), "--warmup", "2"]) == 1
    assert capsys.readouterr().err == "error: --warmup is for --schedule cosine.\n"


@pytest.mark.parametrize(
    "change",
    [
        {"accumulate": 0},
        {"clip_norm": 0.0},
        {"clip_norm": float("nan")},
        {"ema": 1.0},
        {"ema": 0.0},
        {"early_stopping": 0},
    ],
)
def test_recipe_refuses(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TINY.replace(**change)
