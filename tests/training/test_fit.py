"""What `fit` does with a recipe: steps, parts, frozen layers, averages, limits."""

import csv
from itertools import pairwise
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_salnet import losses, metrics, models
from keras_salnet.data import pipeline
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.runs import Run
from keras_salnet.training import callbacks, resume, train
from keras_salnet.training.callbacks import BestWeights, StopAtNaN
from keras_salnet.training.fit import fit
from keras_salnet.training.graph import training_graph
from keras_salnet.training.schedule import learning_rate_schedule
from keras_salnet.training.strategy import OneDevice


def build(small, input_size=(64, 96)):
    return models.create(
        small.model, input_shape=(*input_size, 3), backbone_weights=None, **small.model_args
    )


def rows_of(run):
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


class Recorder(keras.callbacks.Callback):
    """Keeps the batches, and the weights after each, or at the start and after each epoch."""

    def __init__(self, each="batch"):
        super().__init__()
        self.each, self.batches, self.weights = each, [], []

    def on_train_begin(self, logs=None):
        if self.each == "epoch" and not self.weights:
            self._keep()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((self.epoch, batch))
        if self.each == "batch":
            self._keep()

    def on_epoch_end(self, epoch, logs=None):
        if self.each == "epoch":
            self._keep()

    def _keep(self):
        self.weights.append({w.path: w.numpy() for w in self.model.weights})


# Steps


def fit_weights(dataset, small, seed=0, **compile_args):
    """Weights and history after an epoch."""
    keras.utils.set_random_seed(seed)
    net = build(small)
    graph = training_graph(net)
    graph.compile(
        "adam",
        loss=losses.SaliencyLoss(),
        weighted_metrics=losses.streaming_metrics(),
        **compile_args,
    )
    batches = pipeline.training_batches(
        dataset["train"], (64, 96), resize="pad", batch_size=4, seed=seed, augment="gaze"
    )
    history = graph.fit(batches, steps_per_epoch=2, verbose=0, shuffle=False)
    return net.get_weights(), history.history


@pytest.mark.slow
def test_same_seed_same_weights(dataset, small):
    first, again = (fit_weights(dataset, small, seed=3)[0] for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_xla_trains_the_same(dataset, small):
    _, plain = fit_weights(dataset, small, jit_compile=False)
    _, compiled = fit_weights(dataset, small, jit_compile=True)
    for key, values in plain.items():
        np.testing.assert_allclose(values, compiled[key], rtol=2e-2, atol=1e-3, err_msg=key)


def test_streaming_metrics_equal_the_pure_functions(dataset, small):
    net = build(small)
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


# Parts


class RecordingGraph:
    """Stands for the training graph: keeps how it is compiled and fitted, and trains nothing."""

    stop_training = False

    def __init__(self, net, diverges_from):
        self.net = net
        self.diverges_from = diverges_from
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
        loss = np.nan if initial_epoch == self.diverges_from else 1.0
        for callback in callbacks:
            if isinstance(callback, StopAtNaN):
                callback.on_epoch_begin(initial_epoch)
                callback.on_train_batch_end(1, {"loss": loss})
            if isinstance(callback, BestWeights):
                best = callback.best
                callback.on_epoch_end(initial_epoch, {"val_loss": 1.0})
        vars(self.parts[-1]).update(first=initial_epoch, last=epochs, best=best)

    def save_weights(self, path):
        self.net.save_weights(path)


@pytest.fixture
def slowed(small):
    return small.replace(epochs=10, batch_size=4, decay_every=9, encoder_rate=0.25)


@pytest.fixture
def parts_of(dataset, tmp_path):
    """Recipe → its model, and how each part of its training would be compiled and fitted."""

    def parts_of(recipe, diverges_from=None):
        net = build(recipe)
        graph = RecordingGraph(net, diverges_from)
        fit(graph, net, recipe, dataset, Run(tmp_path), OneDevice(), seed=3)
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
def test_the_encoder_is_frozen_for_the_first_epochs(parts_of, slowed, epochs, freeze, parts):
    net, ours = parts_of(slowed.replace(epochs=epochs, freeze_encoder=freeze))
    assert [(part.first, part.last, bool(part.frozen)) for part in ours] == parts
    encoder = {layer.name for layer in encoder_layers(net)}
    for part in ours:
        assert part.frozen in (set(), encoder)
    assert all(layer.trainable for layer in net.layers)


def test_first_stages_are_never_trained(parts_of, slowed):
    net, (thawing, rest) = parts_of(slowed.replace(epochs=2, freeze_encoder=1, frozen_stages=2))
    names = ("fine_block1_c", "fine_block2_c")
    first = {layer.name for layer in net.layers if layer.name.startswith(names)}
    assert len(first) == 4
    assert rest.frozen == first < thawing.frozen
    assert all(layer.trainable for layer in net.layers)


@pytest.mark.parametrize(
    ("epochs", "alpha", "parts"),
    [
        (4, (1.0, 0.7), [(0, 2, 1.0), (2, 4, 0.7)]),
        (3, [1.0, 0.7], [(0, 2, 1.0), (2, 3, 0.7)]),
        (1, (1.0, 0.7), [(0, 1, 1.0)]),
        (4, (0.5, 0.5), [(0, 4, 0.5)]),
        (4, 0.5, [(0, 4, 0.5)]),
    ],
)
def test_a_pair_of_arguments_changes_the_loss_half_way(parts_of, slowed, epochs, alpha, parts):
    """And of what was best by the old one nothing counts."""
    recipe = slowed.replace(loss="edge_hold", epochs=epochs, loss_args={"alpha": alpha})
    _, ours = parts_of(recipe)
    assert [(part.first, part.last, part.loss.alpha) for part in ours] == parts
    assert [part.best for part in ours] == [np.inf] * len(parts)


def test_what_was_best_counts_where_the_encoder_thaws(parts_of, slowed):
    _, parts = parts_of(slowed.replace(epochs=2, freeze_encoder=1))
    assert [part.best for part in parts] == [np.inf, 1.0]


@pytest.mark.parametrize(
    ("changes", "loss"),
    [
        ({"loss_args": {"kl": 1.0, "sim": -2.0}}, losses.SaliencyLoss(1.0, -1.0, -2.0)),
        ({"loss": "cross_entropy"}, losses.CrossEntropy()),
    ],
)
def test_the_loss_is_the_recipes(parts_of, slowed, changes, loss):
    _, (part,) = parts_of(slowed.replace(**changes))
    assert type(part.loss) is type(loss)
    assert part.loss.get_config() == loss.get_config()


def test_a_loss_that_diverges_after_the_thaw_is_told(parts_of, slowed):
    message = r"in epoch 2 at batch 2 \(train_\d{4}\)\. The best weights so far are in"
    with pytest.raises(FloatingPointError, match=message):
        parts_of(slowed.replace(epochs=3, freeze_encoder=1), diverges_from=1)


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_the_learning_rate_goes_on_where_the_encoder_thaws(parts_of, slowed, schedule):
    recipe = slowed.replace(schedule=schedule, epochs=4, freeze_encoder=1, decay_every=2)
    whole = learning_rate_schedule(recipe, steps=2)
    rates = []
    for part in parts_of(recipe)[1]:
        for step in range(2 * (part.last - part.first)):
            part.optimizer.iterations.assign(step)
            rates.append(float(part.optimizer.learning_rate))
    np.testing.assert_allclose(rates, [float(whole(step)) for step in range(8)], rtol=1e-6)
    assert len(set(rates)) > 1


@pytest.mark.parametrize("factor", [1, 0.25, 0])
def test_the_encoders_rate_is_the_encoders_alone(parts_of, slowed, factor):
    """One step on gradients of 1: as long as the learning rate of each weight."""
    net, parts = parts_of(slowed.replace(freeze_encoder=1, encoder_rate=factor))
    encoder = {id(weight) for layer in encoder_layers(net) for weight in layer.weights}
    for part in parts:
        before = [variable.numpy() for variable in part.trained]
        part.optimizer.apply([keras.ops.ones_like(v) for v in part.trained], part.trained)
        for variable, value in zip(part.trained, before, strict=True):
            rate = slowed.learning_rate * (factor if id(variable) in encoder else 1)
            moved = value - variable.numpy()
            np.testing.assert_allclose(moved, rate, rtol=1e-3, atol=1e-6, err_msg=variable.path)
    assert [encoder <= {id(v) for v in part.trained} for part in parts] == [False, True]


# A frozen encoder


class Losses(keras.callbacks.Callback):
    """Makes the first epoch the best, and the second the worst."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = [1.0, 3.0, 2.0][epoch]


@pytest.fixture(scope="module")
def thawed(run, small, dataset, tmp_path_factory):
    """A run of three epochs from another's weights, its encoder frozen in the first.

    Its `weights` are, by path, those it starts from and those after each epoch.
    """
    recorder = Recorder("epoch")
    out = train(
        small.replace(
            epochs=3, freeze_encoder=1, encoder_rate=0.25, decay_every=1, batch_size=3
        ).replace(decay_factor=0.5),
        dataset,
        tmp_path_factory.mktemp("runs") / "thawed",
        init=run,
        exports=False,
        callbacks=[recorder, Losses()],
    )
    return SimpleNamespace(out=out, weights=recorder.weights, rate=small.learning_rate)


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
            rate = thawed.rate * 0.5**epoch
            assert max(moved[path] for path in encoder) < 2.1 * rate * 0.25
            assert 1.5 * rate < max(decoder.values()) < 2.1 * rate


def test_a_frozen_run_starts_from_the_others_weights(run, thawed):
    given = {weight.path: weight for weight in models.load_model(run / "model.keras").weights}
    for path, value in thawed.weights[0].items():
        np.testing.assert_array_equal(value, given[path].numpy(), err_msg=path)


def test_a_frozen_runs_history_has_every_epoch_once(thawed):
    rows = rows_of(thawed.out)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def test_what_callbacks_log_is_in_the_history(thawed):
    assert [float(row["val_loss"]) for row in rows_of(thawed.out)] == [1, 3, 2]


def test_the_best_weights_may_be_of_the_frozen_epochs(thawed):
    model = models.load_model(thawed.out / "model.keras")
    for weight in model.weights:
        np.testing.assert_array_equal(weight.numpy(), thawed.weights[1][weight.path])
    assert all(layer.trainable for layer in model.layers)


def test_without_exports_none_are_written(thawed):
    assert {path.name for path in thawed.out.iterdir()} == {
        *("best.weights.h5", "config.json", "history.csv", "logs", "model.keras", "training.png")
    }


# The average of the weights, and the ends of training


def test_the_average_is_validated_and_kept(small, dataset, tmp_path):
    recorder = Recorder()
    recipe = small.replace(ema=0.7)
    run = train(recipe, dataset, tmp_path / "run", exports=False, callbacks=[recorder])
    trained = [list(weights.values()) for weights in recorder.weights]
    assert len(trained) == 6
    average, averages = trained[0], []
    for step, weights in enumerate(trained):
        if step:
            average = [0.7 * a + 0.3 * w for a, w in zip(average, weights, strict=True)]
        averages.append(average)

    rows = rows_of(run)
    best = int(np.argmin([float(row["val_loss"]) for row in rows]))
    net = models.load_model(run / "model.keras")
    for ours, theirs in zip(net.get_weights(), averages[3 * best + 2], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    distance = [
        np.abs(ours - theirs).max()
        for ours, theirs in zip(net.get_weights(), trained[3 * best + 2], strict=True)
    ]
    assert max(distance) > 1e-4, "not the weights themselves"

    graph = training_graph(net)
    graph.compile(loss=losses.SaliencyLoss())
    batches = pipeline.validation_batches(
        dataset["val"], recipe.input_size, resize="stretch", batch_size=2
    )
    loss = graph.evaluate(batches, verbose=0)
    assert loss == pytest.approx(float(rows[best]["val_loss"]), rel=1e-4)


# The first that counts is the best; the two after it are no better.
@pytest.mark.parametrize(("frozen", "first"), [(2, 3), (9, 1)])
def test_training_stops_early_once_nothing_is_frozen(frozen, first, run, small, dataset, tmp_path):
    """Or from the start, where everything stays so."""
    recipe = small.replace(
        early_stopping=2, freeze_encoder=frozen, epochs=8, learning_rate=1e-12, batch_size=5
    )
    stopped = Run(train(recipe, dataset, tmp_path / "run", init=run, exports=False))
    rows = rows_of(stopped.path)
    assert len({row["val_loss"] for row in rows}) == 1
    assert len(rows) == first + 2
    assert not stopped.resume.exists()


class Killed(keras.callbacks.Callback):
    """By the end of the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise MemoryError


@pytest.mark.slow
def test_training_ends_by_the_clock(small, dataset, tmp_path, monkeypatch):
    """At a batch; what was spent before an interruption counts."""
    hours = iter(range(1000))
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: 3600.0 * next(hours))
    recorder = Recorder("none")
    recipe = small.replace(epochs=9, max_time=7 * 60.0)
    options = {"exports": False, "callbacks": [recorder]}
    run = Run(train(recipe, dataset, tmp_path / "run", **options))
    assert recorder.batches == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert len(rows_of(run.path)) == 3
    assert run.finished

    recorder.batches.clear()
    with pytest.raises(MemoryError):
        train(recipe, dataset, tmp_path / "killed", exports=False, callbacks=[recorder, Killed()])
    assert len(recorder.batches) == 6
    resume(tmp_path / "killed", **options)
    assert recorder.batches[6:] == [(1, 0), (1, 1), (1, 2), (2, 0)]
