"""Training end to end, narrow and short: the real commands on a few embedded displays."""

import csv
import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_salnet import losses, metrics, models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, pipeline, popout
from keras_salnet.evaluation import evaluate
from keras_salnet.layers import attention_names
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.prediction.predictor import Predictor
from keras_salnet.training import run as training
from keras_salnet.training.callbacks import BestWeights, StopAtNaN
from keras_salnet.training.graph import training_graph
from keras_salnet.training.recipes import POPOUT, RECIPES, Recipe
from keras_salnet.training.run import learning_rate_schedule, train
from keras_salnet.training.strategy import OneDevice

NARROW = {"num_rga": 0, "filters": 8}  # graphs without attention trace in half the time
TINY = POPOUT.replace(
    model_args={"num_rga": 1, "filters": 8}, epochs=2, batch_size=4, augment="gaze"
)


@pytest.fixture(scope="session")
def displays(tmp_path_factory):
    """A folder of a few pop-out displays, in SALICON's layout."""
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 6, "val": 3, "test": 3})
    return folder


@pytest.fixture(scope="session")
def run(displays, tmp_path_factory):
    """A finished run on them."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return train(TINY, load_dataset(displays), out)


@pytest.fixture(scope="session")
def images(displays):
    return sorted((displays / "images" / "test").iterdir())


def fit_weights(dataset, seed=0, augment="gaze", **compile_args):
    """Weights and history after an epoch."""
    keras.utils.set_random_seed(seed)
    net = models.create("vggrga", input_shape=(64, 64, 3), backbone_weights=None, **NARROW)
    graph = training_graph(net)
    graph.compile(
        "adam",
        loss=losses.SaliencyLoss(),
        weighted_metrics=losses.streaming_metrics(),
        **compile_args,
    )
    batches = pipeline.training_batches(
        dataset["train"], (64, 64), resize="pad", batch_size=4, seed=seed, augment=augment
    )
    history = graph.fit(batches, steps_per_epoch=2, verbose=0, shuffle=False)
    return net.get_weights(), history.history


# The run folder


def test_run_folder_holds_what_it_promises(run):
    assert {path.name for path in run.iterdir()} == {
        "best.weights.h5",
        "config.json",
        "history.csv",
        "logs",
        "model.keras",
        "model.tflite",
        "saved_model",
        "training.png",
    }
    assert (run / "saved_model" / "1" / "saved_model.pb").is_file()


def test_history_has_every_epoch(run):
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for key in ("loss", "kl", "cc", "sim", "val_loss", "val_kl", "val_cc", "val_sim"):
        assert all(np.isfinite(float(row[key])) for row in rows)


def test_loss_is_the_weighted_sum_of_the_metrics(run):
    for row in csv.DictReader((run / "history.csv").open()):
        kl, cc, sim = (float(row[f"val_{key}"]) for key in ("kl", "cc", "sim"))
        assert float(row["val_loss"]) == pytest.approx(10 * kl - cc - sim, rel=1e-4)


def test_config_says_how_to_repeat_the_run(run, displays):
    config = json.loads((run / "config.json").read_text())
    recipe = Recipe(**config["recipe"])
    assert recipe == TINY
    assert config["data"] == str(displays)
    assert config["seed"] == 0
    assert config["versions"]["keras"] == keras.__version__


def test_model_has_the_best_weights_and_no_optimizer(run):
    model = models.load_model(run / "model.keras")
    assert getattr(model, "optimizer", None) is None
    best = models.create(
        "vggrga", input_shape=(128, 128, 3), backbone_weights=None, **TINY.model_args
    )
    best.load_weights(run / "best.weights.h5")
    for ours, theirs in zip(model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_curves_are_a_picture(run):
    picture = cv2.imread(str(run / "training.png"))
    assert picture.shape[0] > 300
    assert picture.std() > 10


def test_a_run_is_never_overwritten(run, displays):
    before = (run / "model.keras").read_bytes()
    with pytest.raises(FileExistsError, match="--out"):
        train(TINY, load_dataset(displays), run)
    assert (run / "model.keras").read_bytes() == before


# What training does


@pytest.mark.slow
def test_training_learns_two_displays(displays):
    dataset = load_dataset(displays)
    samples = dataset["train"][:2]
    keras.utils.set_random_seed(1)
    net = models.create(
        "vggrga", input_shape=(128, 128, 3), backbone_weights=None, filters=8, num_rga=1
    )
    graph = training_graph(net)
    graph.compile(
        keras.optimizers.Adam(5e-4),
        loss=losses.SaliencyLoss(),
        weighted_metrics=losses.streaming_metrics(),
    )
    batches = pipeline.training_batches(
        samples, (128, 128), resize="stretch", batch_size=2, seed=0, augment=None
    )
    history = graph.fit(batches, epochs=8, steps_per_epoch=12, verbose=0, shuffle=False)
    assert history.history["cc"][-1] > 0.95


@pytest.mark.slow
def test_same_seed_same_weights(displays):
    dataset = load_dataset(displays)
    first, again = (fit_weights(dataset, seed=3)[0] for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_xla_trains_the_same(displays):
    dataset = load_dataset(displays)
    _, plain = fit_weights(dataset, jit_compile=False)
    _, compiled = fit_weights(dataset, jit_compile=True)
    for key, values in plain.items():
        np.testing.assert_allclose(values, compiled[key], rtol=2e-2, atol=1e-3, err_msg=key)


def test_streaming_metrics_equal_the_pure_functions(displays):
    dataset = load_dataset(displays)
    net = models.create("vggrga", input_shape=(64, 96, 3), backbone_weights=None, **NARROW)
    graph = training_graph(net)
    graph.compile("adam", loss=losses.SaliencyLoss(), weighted_metrics=losses.streaming_metrics())
    batches = pipeline.validation_batches(dataset["val"], (64, 96), resize="pad", batch_size=2)
    logs = graph.evaluate(batches, return_dict=True, verbose=0)
    expected = []
    for batch in batches:
        maps = net.predict_on_batch(batch["image"])
        for saliency, density, mask in zip(maps, batch["density"], batch["mask"], strict=True):
            inside = np.asarray(mask)[..., 0] > 0
            rows, columns = np.any(inside, 1), np.any(inside, 0)
            saliency = saliency[..., 0][rows][:, columns]
            density = np.asarray(density)[..., 0][rows][:, columns]
            expected.append(
                [
                    metrics.kl_divergence(saliency, density),
                    metrics.correlation_coefficient(saliency, density),
                    metrics.similarity(saliency, density),
                ]
            )
    ours = [logs[key] for key in ("kl", "cc", "sim")]
    np.testing.assert_allclose(ours, np.mean(expected, axis=0), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mixed_precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_and_exports_float32(displays, tmp_path, mixed_precision):
    recipe = TINY.replace(epochs=1)
    out = train(recipe, load_dataset(displays), tmp_path / "run", mixed_precision=mixed_precision)
    assert keras.config.dtype_policy().name == "float32"
    row = next(csv.DictReader((out / "history.csv").open()))
    assert np.isfinite(float(row["val_loss"]))
    model = models.load_model(out / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


@pytest.mark.slow
def test_init_starts_from_the_other_run(run, displays, tmp_path):
    recipe = TINY.replace(epochs=1, learning_rate=1e-9)
    out = train(recipe, load_dataset(displays), tmp_path / "run", init=run, seed=5)
    ours = models.load_model(out / "model.keras").trainable_weights
    theirs = models.load_model(run / "model.keras").trainable_weights
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


@pytest.mark.slow
def test_init_lists_what_does_not_fit(run, displays, tmp_path, caplog):
    recipe = TINY.replace(epochs=1, model_args={"multi_level_integration": False})
    train(recipe, load_dataset(displays), tmp_path / "run", init=run)
    listed = [record.getMessage() for record in caplog.records if "init:" in record.getMessage()]
    (line,) = listed
    assert "decoder4_conv1" in line
    assert "block5_conv1" not in line


def test_nan_loss_stops_with_a_message(displays, tmp_path):
    recipe = TINY.replace(learning_rate=1e30, schedule="step", model_args=NARROW, epochs=1)
    with pytest.raises(FloatingPointError, match="--learning-rate"):
        train(recipe, load_dataset(displays), tmp_path / "run")


def truncate(path):
    path.write_bytes(path.read_bytes()[:2000])


def test_unreadable_files_are_named(displays, tmp_path):
    """Where the data was not checked before."""
    folder = shutil.copytree(displays, tmp_path / "displays")
    dataset = load_dataset(folder)
    truncate(folder / "images" / "train" / "train_0002.jpg")
    (folder / "maps" / "val" / "val_0001.png").unlink()
    recipe = TINY.replace(model_args=NARROW, epochs=1)
    with pytest.raises(ValueError, match=r"(?s)2 of 12 images.*train_0002\.jpg.*val_0001\.png"):
        train(recipe, dataset, tmp_path / "run")


@pytest.mark.parametrize("error", [RuntimeError, FloatingPointError])
def test_other_errors_are_passed_on(displays, tmp_path, monkeypatch, error):
    def fail(*arguments):
        raise error("something else")

    monkeypatch.setattr(training, "_fit", fail)
    with pytest.raises(error, match="something else"):
        train(TINY.replace(model_args=NARROW), load_dataset(displays), tmp_path / "run")


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
    ],
)
def test_recipe_refuses(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        POPOUT.replace(**change)


def test_paper_recipe():
    recipe = RECIPES["vggrga"]
    assert recipe.model_args == {"num_rga": 3}
    assert (recipe.epochs, recipe.batch_size, recipe.input_size) == (10, 8, (256, 256))
    assert (recipe.kl, recipe.cc, recipe.sim) == (10, -1, -1)
    schedule = learning_rate_schedule(recipe, steps=5)
    rates = [float(schedule(step)) for step in range(50)]
    np.testing.assert_allclose(rates, np.repeat([1e-4, 1e-5, 1e-6, 1e-7], 15)[:50], rtol=1e-5)
    assert learning_rate_schedule(recipe.replace(epochs=3), steps=5) == 1e-4


def test_cosine_schedule_warms_up_and_ends_at_zero():
    recipe = POPOUT.replace(epochs=4, warmup_epochs=1)
    schedule = learning_rate_schedule(recipe, steps=10)
    rates = np.array([float(schedule(step)) for step in range(41)])
    np.testing.assert_allclose(rates[:11], np.linspace(0, recipe.learning_rate, 11), atol=1e-9)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[40] == pytest.approx(0, abs=1e-9)
    flat = learning_rate_schedule(recipe.replace(warmup_epochs=0), steps=10)
    assert float(flat(0)) == pytest.approx(recipe.learning_rate)
    one = learning_rate_schedule(recipe.replace(epochs=1), steps=10)
    assert np.isfinite([float(one(step)) for step in range(10)]).all()


# Freezing and slowing the encoder

SLOWED = POPOUT.replace(
    model_args=NARROW, input_size=(64, 64), schedule="step", decay_every=9, encoder_rate=0.25
)


class RecordingGraph:
    """Stands for the training graph: keeps how it is compiled and fitted, and trains nothing."""

    diverges_from = None
    stop_training = False

    def __init__(self, net):
        self.net = net
        self.parts = []

    def compile(self, optimizer, loss, **options):
        frozen = {layer.name for layer in self.net.layers if not layer.trainable}
        self.optimizer, self.trainable_variables = optimizer, self.net.trainable_variables
        self.parts.append(
            SimpleNamespace(
                optimizer=optimizer, loss=loss, frozen=frozen, trained=self.trainable_variables
            )
        )

    def fit(self, batches, initial_epoch, epochs, callbacks, **options):
        vars(self.parts[-1]).update(batches=batches, first=initial_epoch, last=epochs)
        loss = np.nan if initial_epoch == self.diverges_from else 1.0
        for callback in callbacks:
            if isinstance(callback, StopAtNaN):
                callback.on_epoch_begin(initial_epoch)
                callback.on_train_batch_end(1, {"loss": loss})
            if isinstance(callback, BestWeights):
                callback.on_epoch_end(initial_epoch, {"val_loss": 1.0})

    def save_weights(self, path):
        self.net.save_weights(path)


@pytest.fixture
def parts_of(displays, tmp_path, monkeypatch):
    """Recipe → its model, and how each part of its training would be compiled and fitted."""

    def parts_of(recipe):
        net = models.create("vggrga", input_shape=(64, 64, 3), backbone_weights=None, **NARROW)
        graph = RecordingGraph(net)
        # The batches' arguments will do.
        monkeypatch.setattr(pipeline, "training_batches", lambda samples, **given: given)
        training._fit(graph, net, recipe, load_dataset(displays), 3, "auto", tmp_path, OneDevice())
        return net, graph.parts

    return parts_of


@pytest.mark.parametrize(
    ("epochs", "freeze", "parts"),
    [
        (4, 0, [(0, 4, False)]),
        (4, 1, [(0, 1, True), (1, 4, False)]),
        (4, 3, [(0, 3, True), (3, 4, False)]),
        (2, 2, [(0, 2, True)]),
        (2, 5, [(0, 2, True)]),
    ],
)
def test_the_encoder_is_frozen_for_the_first_epochs(parts_of, epochs, freeze, parts):
    net, ours = parts_of(SLOWED.replace(epochs=epochs, freeze_encoder=freeze))
    assert [(part.first, part.last, bool(part.frozen)) for part in ours] == parts
    encoder = {layer.name for layer in encoder_layers(net)}
    for part in ours:
        assert part.frozen in (set(), encoder)
        # What an uninterrupted run would see in these epochs.
        given = {key: part.batches[key] for key in ("first_epoch", "seed", "batch_size", "augment")}
        assert given == {"first_epoch": part.first, "seed": 3, "batch_size": 4, "augment": None}
    assert all(layer.trainable for layer in net.layers)


def test_first_stages_are_never_trained(parts_of):
    net, (thawing, rest) = parts_of(SLOWED.replace(epochs=2, freeze_encoder=1, frozen_stages=2))
    first = {layer.name for layer in net.layers if layer.name.startswith(("block1_c", "block2_c"))}
    assert len(first) == 4
    assert rest.frozen == first < thawing.frozen
    assert all(layer.trainable for layer in net.layers)


@pytest.mark.parametrize(
    ("epochs", "alphas", "parts"),
    [
        (4, (1.0, 0.7), [(0, 2, 1.0), (2, 4, 0.7)]),
        (3, (1.0, 0.7), [(0, 2, 1.0), (2, 3, 0.7)]),
        (1, (1.0, 0.7), [(0, 1, 1.0)]),
        (4, (0.5, 0.5), [(0, 4, 0.5)]),
    ],
)
def test_alpha_falls_half_way(parts_of, monkeypatch, epochs, alphas, parts):
    """And of what was best by the old one nothing counts."""
    bests = []

    def on_epoch_end(self, epoch, logs):
        bests.append(self.best)
        self.best = 1.0

    monkeypatch.setattr(BestWeights, "on_epoch_end", on_epoch_end)
    recipe = SLOWED.replace(loss="edge_hold", epochs=epochs, alpha=alphas)
    _, ours = parts_of(recipe)
    assert [(part.first, part.last, part.loss.alpha) for part in ours] == parts
    assert bests == [np.inf] * len(parts)


@pytest.mark.parametrize(
    ("changes", "loss"),
    [
        ({"kl": 1.0, "sim": -2.0}, losses.SaliencyLoss(1.0, -1.0, -2.0)),
        ({"loss": "cross_entropy"}, losses.CrossEntropy()),
    ],
)
def test_the_loss_is_the_recipes(parts_of, changes, loss):
    _, (part,) = parts_of(SLOWED.replace(**changes))
    assert type(part.loss) is type(loss)
    assert part.loss.get_config() == loss.get_config()


@pytest.mark.slow
def test_a_loss_that_diverges_after_the_thaw_is_told(parts_of, monkeypatch):
    monkeypatch.setattr(RecordingGraph, "diverges_from", 1)
    told = r"in epoch 2 at batch 2 \(train_\d{4}, train_\d{4}\)\. The best weights before are in"
    with pytest.raises(FloatingPointError, match=told):
        parts_of(SLOWED.replace(epochs=3, freeze_encoder=1))


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_the_learning_rate_goes_on_where_the_encoder_thaws(parts_of, schedule):
    recipe = SLOWED.replace(schedule=schedule, epochs=4, freeze_encoder=1, decay_every=2)
    whole = learning_rate_schedule(recipe, steps=2)
    rates = []
    for part in parts_of(recipe)[1]:
        for step in range(2 * (part.last - part.first)):
            part.optimizer.iterations.assign(step)
            rates.append(float(part.optimizer.learning_rate))
    np.testing.assert_allclose(rates, [float(whole(step)) for step in range(8)], rtol=1e-6)
    assert len(set(rates)) > 1


def test_a_schedule_from_a_later_step_on():
    schedule = keras.optimizers.schedules.CosineDecay(1.0, 20, warmup_target=2.0, warmup_steps=5)
    for first in (0, 3, 12):
        later = training._from(schedule, first)
        for step in range(8):
            assert float(later(step)) == float(schedule(step + first))
    assert training._from(1e-3, 12) == 1e-3


@pytest.mark.parametrize("factor", [1, 0.25, 0])
def test_the_encoders_rate_is_the_encoders_alone(parts_of, factor):
    """One step on gradients of 1: as long as the learning rate of each weight."""
    net, parts = parts_of(SLOWED.replace(freeze_encoder=1, encoder_rate=factor))
    encoder = {id(weight) for layer in encoder_layers(net) for weight in layer.weights}
    for part in parts:
        before = [variable.numpy() for variable in part.trained]
        part.optimizer.apply([keras.ops.ones_like(v) for v in part.trained], part.trained)
        for variable, value in zip(part.trained, before, strict=True):
            rate = SLOWED.learning_rate * (factor if id(variable) in encoder else 1)
            moved = value - variable.numpy()
            np.testing.assert_allclose(moved, rate, rtol=1e-3, atol=1e-6, err_msg=variable.path)
    assert [encoder <= {id(v) for v in part.trained} for part in parts] == [False, True]


@pytest.fixture(scope="module")
def thawed(run, displays, tmp_path_factory):
    """A run of three epochs from another's weights, its encoder frozen in the first.

    As if the first epoch were the best and the second the worst. Its `weights` are, by path, those
    it starts from and those after each epoch.
    """
    states = []

    class Recording(BestWeights):
        def on_train_begin(self, logs=None):
            if not states:
                self.record()

        def on_epoch_end(self, epoch, logs=None):
            self.record()
            super().on_epoch_end(epoch, {**logs, "val_loss": [1.0, 3.0, 2.0][epoch]})

        def record(self):
            states.append({weight.path: weight.numpy() for weight in self.net.weights})

    out = tmp_path_factory.mktemp("runs") / "thawed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "BestWeights", Recording)
        for name in ("export_savedmodel", "export_tflite"):  # tested on the other run
            patch.setattr(training, name, lambda *arguments, **options: None)
        recipe = SLOWED.replace(epochs=3, freeze_encoder=1, decay_every=1, decay_factor=0.5)
        train(recipe, load_dataset(displays), out, init=run)
    return SimpleNamespace(out=out, weights=states, recipe=recipe)


def test_the_frozen_encoder_keeps_its_weights(run, thawed):
    encoder = {
        weight.path
        for layer in encoder_layers(models.load_model(run / "model.keras"))
        for weight in layer.trainable_weights
    }
    assert len(thawed.weights) == 4
    assert encoder < thawed.weights[0].keys()
    for epoch, (before, after) in enumerate(pairwise(thawed.weights)):
        moved = {path: np.abs(after[path] - before[path]).max() for path in before}
        assert all((moved[path] > 0) == (epoch > 0) for path in encoder), f"epoch {epoch}"
        decoder = {path: value for path, value in moved.items() if path not in encoder}
        assert all(value > 0 for value in decoder.values()), f"epoch {epoch}"
        # Two first steps of an Adam: together hardly more than twice its learning rate.
        if epoch < 2:
            rate = thawed.recipe.learning_rate * 0.5**epoch
            assert max(moved[path] for path in encoder) < 2.1 * rate * 0.25
            assert 1.5 * rate < max(decoder.values()) < 2.1 * rate


def test_a_frozen_run_starts_from_the_others_weights(run, thawed):
    given = {weight.path: weight for weight in models.load_model(run / "model.keras").weights}
    for path, value in thawed.weights[0].items():
        np.testing.assert_array_equal(value, given[path].numpy(), err_msg=path)


def test_a_frozen_runs_history_has_every_epoch_once(thawed):
    rows = list(csv.DictReader((thawed.out / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def test_the_best_weights_may_be_of_the_frozen_epochs(thawed):
    model = models.load_model(thawed.out / "model.keras")
    for weight in model.weights:
        np.testing.assert_array_equal(weight.numpy(), thawed.weights[1][weight.path])
    assert all(layer.trainable for layer in model.layers)


def test_random_weights_are_not_frozen(displays, tmp_path):
    recipe = TINY.replace(freeze_encoder=1)
    with pytest.raises(ValueError, match=r"freeze_encoder.*--backbone-weights or --init"):
        train(recipe, load_dataset(displays), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Exports and predictions


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


def test_savedmodel_answers_without_this_package(run, images, tmp_path):
    net = models.load_model(run / "model.keras")
    batch = next(
        iter(
            pipeline.validation_batches(
                load_dataset(images[0].parents[2])["test"],
                (128, 128),
                resize="stretch",
                batch_size=3,
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


def test_bytes_endpoint_reads_png_grey_and_alpha(run, tmp_path):
    serve = tf.saved_model.load(str(run / "saved_model" / "1")).signatures["predict_image_bytes"]
    colour = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    grey = np.ascontiguousarray(colour[..., 0])
    half = np.dstack([colour, np.full((50, 70), 51, np.uint8)])  # a fifth of it, over white
    paled = np.uint8(np.round(colour / 5 + 255 * 4 / 5))
    pictures = (colour, grey, half, paled)
    encoded = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]
    maps = serve(image_bytes=tf.constant(encoded))["saliency"].numpy()
    assert maps.shape == (4, 128, 128, 1)
    np.testing.assert_allclose(maps[2], maps[3], atol=1e-5)
    assert np.abs(maps[0] - maps[2]).max() > 1e-3


def test_evaluation_scores_a_trained_model(run, displays, images):
    dataset = load_dataset(displays)
    predictor = Predictor.load(run)
    evaluation = evaluate(predictor, dataset)
    assert evaluation.split == "test"
    assert list(evaluation.scores) == ["tiny", "centre bias", "Gaussian centre", "shuffled control"]
    sample = dataset["test"][1]
    saliency, density = predictor(sample.image), sample.read_density(None)
    scores = evaluation.scores["tiny"]
    assert scores["CC"][1] == pytest.approx(metrics.correlation_coefficient(saliency, density))
    assert scores["NSS"][1] == pytest.approx(metrics.nss(saliency, sample.read_fixations()))
    assert [sample.image for sample in evaluation.samples] == images


# The command line


@pytest.mark.slow
def test_commands_in_a_row(displays, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "vggrga", TINY)
    assert main(["train", "--data", str(displays), "--epochs", "1", "--augment", "none"]) == 0
    assert "Trained: runs/" in capsys.readouterr().out
    assert main(["evaluate", "--json", "scores.json"]) == 0
    printed = capsys.readouterr().out
    assert "centre bias" in printed
    assert "AUC-Judd" in printed
    (out,) = Path("runs").iterdir()
    assert (out / "evaluation.json").read_text() == Path("scores.json").read_text()
    assert (
        main(
            [
                "train",
                "--init",
                str(out),
                "--data",
                str(displays),
                "--out",
                "nowhere/",
                "--num-rga",
                "7",
            ]
        )
        == 1
    )  # the run's own arguments, but for those given
    assert "num_rga" in capsys.readouterr().err
    assert main(["predict", str(displays / "images" / "test"), "--npy", "--model", str(out)]) == 0
    assert len(list(Path("predictions").iterdir())) == 9
    saliency = np.load("predictions/test_0000_saliency.npy")
    assert saliency.shape == (popout.SIZE, popout.SIZE)
    assert saliency.max() == 1
    grey = cv2.imread("predictions/test_0000_saliency.png", cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(grey, np.round(saliency * 255))
    assert main(["export", "--format", "tflite", "--out", "again.tflite"]) == 0
    np.testing.assert_allclose(
        Predictor.load("again.tflite")(displays / "images" / "test" / "test_0000.jpg"),
        saliency,
        atol=1e-4,
    )


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


@pytest.fixture
def trained_on(monkeypatch):
    """What the command hands to training, which is left out: a list of (recipe, dataset, out)."""
    calls = []

    def train(recipe, dataset, out, **options):
        calls.append((recipe, dataset, out))
        return Path(out)

    monkeypatch.setattr(training, "train", train)
    return calls


BAD = ["images/train/train_0002.jpg", "maps/val/val_0001.png", "images/test/test_0001.jpg"]


@pytest.fixture
def broken(displays, tmp_path):
    """A copy of the displays with a truncated image, an empty map and an empty file."""
    folder = shutil.copytree(displays, tmp_path / "broken")
    truncated, blank, empty = (folder / name for name in BAD)
    truncate(truncated)
    cv2.imwrite(str(blank), np.zeros((popout.SIZE, popout.SIZE), np.uint8))
    empty.write_bytes(b"")
    return folder


def test_encoder_options_reach_the_recipe(displays, trained_on):
    options = ["--encoder-rate", "0.1", "--freeze-encoder", "2", "--out", "nowhere"]
    assert main(["train", "--data", str(displays), *options]) == 0
    ((recipe, _, _),) = trained_on
    assert recipe == RECIPES["vggrga"].replace(encoder_rate=0.1, freeze_encoder=2)


def test_attention_reaches_the_recipe(displays, trained_on):
    options = ["--num-rga", "2", "--attention", "cbam_cs", "--out", "nowhere"]
    assert main(["train", "--data", str(displays), *options]) == 0
    ((recipe, _, _),) = trained_on
    model_args = {"num_rga": 2, "attention": "cbam_cs"}
    assert recipe == RECIPES["vggrga"].replace(model_args=model_args)


def test_unknown_attention_is_a_usage_error(trained_on, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["train", "--attention", "cbma"])
    assert exit.value.code == 2
    told = capsys.readouterr().err
    assert all(name in told for name in ["argument --attention", "cbma", *attention_names()])
    assert not trained_on


def test_data_may_be_a_toml_file(displays, tmp_path, trained_on, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(f'name = "monkeys"\npath = "{displays}"\nsigma = 5\n')
    assert main(["train", "--data", "mine.toml"]) == 0
    ((_, dataset, out),) = trained_on
    assert (dataset.name, dataset.source) == ("monkeys", str(tmp_path / "mine.toml"))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {
        "train": 6,
        "val": 3,
        "test": 3,
    }
    assert out.name.endswith("-vggrga-monkeys")


def test_training_stops_at_bad_files(broken, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", str(broken)]) == 1
    error = capsys.readouterr().err
    assert "3 of 12 images cannot be used" in error
    assert all(str(broken / name) in error for name in BAD)
    assert "--skip-bad" in error
    assert not Path("runs").exists()


@pytest.mark.parametrize(("lacks", "has"), [("train", "val, test"), ("val", "train, test")])
def test_training_needs_its_splits(broken, lacks, has, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for kind in ("images", "maps", "fixations"):
        shutil.rmtree(broken / kind / lacks)
    assert main(["train", "--data", str(broken)]) == 1
    message = f"error: dataset broken has no split '{lacks}'; it has {has}, all.\n"
    assert capsys.readouterr().err == message, "before a file is checked"
    assert not Path("runs").exists()


def test_skip_bad_trains_on_the_rest(broken, tmp_path, monkeypatch, caplog):
    fitted = []

    def no_fit(graph, net, recipe, dataset, *others):
        fitted.append(dataset)
        raise FloatingPointError("not fitted")

    monkeypatch.setattr(training, "_fit", no_fit)
    out = str(tmp_path / "out")
    command = ["train", "--data", str(broken), "--skip-bad", "--out", out, "--num-rga", "0"]
    assert main([*command, "--input-size", "32", "--backbone-weights", "none"]) == 1
    (dataset,) = fitted
    assert {split: [s.name for s in samples] for split, samples in dataset.splits.items()} == {
        "train": [f"train_{number:04d}" for number in (0, 1, 3, 4, 5)],
        "val": ["val_0000", "val_0002"],
        "test": ["test_0000", "test_0002"],
    }
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert all(str(broken / name) in warning.getMessage() for name in BAD)
    assert "left out" in warning.getMessage()


def test_skip_bad_scores_the_rest(run, broken, tmp_path, capsys):
    command = ["evaluate", str(run), "--data", str(broken), "--json", str(tmp_path / "scores.json")]
    assert main(command) == 1
    assert BAD[2] in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 0
    (written,) = json.loads((tmp_path / "scores.json").read_text())["evaluations"]
    assert written["images"] == ["test_0000", "test_0002"]


def test_datasets_check(displays, broken, capsys, caplog):
    assert main(["datasets", "check", str(displays)]) == 0
    assert "Every file can be used." in capsys.readouterr().out
    assert "6 train, 3 val, 3 test images with density maps" in caplog.text
    assert main(["datasets", "check", str(broken)]) == 1
    told = capsys.readouterr()
    assert "Every file" not in told.out
    assert all(str(broken / name) in told.err for name in BAD)
    assert main(["datasets", "check", str(broken / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_datasets_are_listed(capsys):
    assert main(["datasets"]) == 0
    printed = capsys.readouterr().out
    for name in ("osie", "salicon"):
        assert name in printed


def test_predict_never_overwrites_and_names_what_it_cannot_read(
    run, images, tmp_path, monkeypatch, capsys, caplog
):
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(images[0].read_bytes()[:100])
    command = ["predict", "--model", str(run), str(images[0]), str(broken)]
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
    assert "Left as they were: 1 (--force" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in Path("predictions").iterdir()}
    twin = tmp_path / "test_0000.png"
    cv2.imwrite(str(twin), np.zeros((8, 8, 3), np.uint8))
    assert main(["predict", "--model", str(run), str(images[0]), str(twin), "--force"]) == 1
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


# The default command, as the README has it


@pytest.mark.slow
def test_default_command_beats_the_centre_bias(tmp_path):
    """`python train.py --epochs 10` on the embedded displays: the promise of the README."""
    root = Path(__file__).parents[2]
    for command in (["train.py", "--epochs", "10", "--out", "run"], ["evaluate.py", "run"]):
        subprocess.run([sys.executable, root / command[0], *command[1:]], check=True, cwd=tmp_path)
    (evaluation,) = json.loads((tmp_path / "run" / "evaluation.json").read_text())["evaluations"]
    summary = evaluation["summary"]
    model, bias = summary["run"], summary["centre bias"]
    assert model["CC"]["mean"] > bias["CC"]["mean"] + 0.2
    assert model["NSS"]["mean"] > bias["NSS"]["mean"] + 1
    assert model["KL"]["mean"] < bias["KL"]["mean"]
