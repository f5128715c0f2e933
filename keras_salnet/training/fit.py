"""Training as calls of `fit`: its parts, its callbacks and its batches."""

import inspect
import itertools
import math
import sys
from importlib import util
from typing import NamedTuple

import keras

from keras_salnet import losses
from keras_salnet.data.augmentation import draw_epoch
from keras_salnet.data.checks import has_masks_only
from keras_salnet.files import atomic
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.training.callbacks import BestWeights, ResumeRecord, StopAtNaN, TimeLimit
from keras_salnet.training.optimizer import build_optimizer
from keras_salnet.training.schedule import learning_rate_schedule, starting_at

# tf.data is TensorFlow's; everything else runs on any of Keras's backends.
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if ON_TENSORFLOW:
    from keras_salnet.data import pipeline
else:
    from keras_salnet.data import pydataset as pipeline


def fit(graph, net, recipe, dataset, run, devices, *, seed=0, jit="auto", callbacks=()):
    """Train what is left of a run; call it in the scope of the devices.

    Args:
        graph: `training.graph.training_graph` of `net`, which is compiled here.
        net: the model.
        recipe: `Recipe`.
        dataset: `Dataset` with the splits ``train`` and ``val``.
        run: `Run` with the files to write and, after an interruption, the record to resume from.
        devices: as returned by `training.strategy.start`.
        seed, jit, callbacks: as in `training.train`.
    """
    steps, validation_steps = _steps(recipe, dataset, devices.sharing)
    rate = learning_rate_schedule(recipe, steps)
    parts = parts_of(recipe)
    best, record, own = _callbacks(net, recipe, dataset, run, devices, seed, parts[-1].first)
    encoder, frozen = encoder_layers(net), encoder_layers(net, recipe.frozen_stages)
    for part in parts:
        first = max(part.first, record.epoch)
        if first >= part.last:
            continue
        for layer in encoder:
            layer.trainable = not (part.freezes_encoder or layer in frozen)
        if first == part.first and part.changes_loss:
            best.best = math.inf  # losses of the part before do not compare
        # The trained weights, and so the optimizer's, are fixed when a model is compiled.
        graph.compile(
            optimizer=build_optimizer(recipe, starting_at(rate, part.first * steps), encoder),
            loss=part.loss,
            weighted_metrics=losses.streaming_metrics(has_masks_only(dataset)),
            jit_compile=jit,
        )
        graph.optimizer.build(graph.trainable_variables)  # `fit` would do it after the record
        if 0 < record.epoch == first:
            record.restore(graph)
        batches, validation_batches = _batches(recipe, dataset, devices, seed, first)
        graph.fit(
            batches,
            initial_epoch=first,
            epochs=part.last,
            steps_per_epoch=steps,
            shuffle=False,  # the batches are shuffled already
            validation_data=validation_batches,
            validation_steps=validation_steps,
            callbacks=[*_average(recipe), *callbacks, *own],
            verbose=("auto" if sys.stdout.isatty() else 2) if devices.is_chief else 0,
        )
        if graph.stop_training:
            break
    if record.epoch < recipe.epochs:
        record.write(graph, recipe.epochs)
    for layer in encoder:
        layer.trainable = True


class Part(NamedTuple):
    """Epochs that one call of `fit` trains: ``first`` … ``last - 1``.

    Args:
        first, last: ints.
        freezes_encoder: bool.
        loss: `keras.losses.Loss`.
        changes_loss: whether the part before has another loss.
    """

    first: int
    last: int
    freezes_encoder: bool
    loss: keras.losses.Loss
    changes_loss: bool


def parts_of(recipe):
    """The parts of a training: until the encoder thaws, and until the loss changes.

    Args:
        recipe: `Recipe`.

    Returns:
        List of `Part`.
    """
    epochs, thaw, half = recipe.epochs, recipe.freeze_encoder, math.ceil(recipe.epochs / 2)
    changes = recipe.loss_args_in(0) != recipe.loss_args_in(1)
    cuts = {cut for cut in (0, thaw, half if changes else 0) if cut < epochs}
    return [
        Part(
            first,
            last,
            first < thaw,
            build_loss(recipe, int(first >= half)),
            changes and first == half,
        )
        for first, last in itertools.pairwise(sorted({*cuts, epochs}))
    ]


def build_loss(recipe, half=0):
    """The loss of a recipe.

    Args:
        recipe: `Recipe`.
        half: 0 or 1, of the epochs.

    Returns:
        `keras.losses.Loss`.

    Raises:
        ValueError: the loss does not take an argument, or not its value.
    """
    loss = getattr(losses, losses.LOSSES[recipe.loss])
    known = [name for name in inspect.signature(loss).parameters if name != "kwargs"]
    for name in recipe.loss_args.keys() - known:
        raise ValueError(f"{recipe.loss} has no {name}; it has: {', '.join(known)}.")
    return loss(**recipe.loss_args_in(half))


def _steps(recipe, dataset, sharing):
    """Numbers of training and validation steps in an epoch."""
    return [
        math.ceil(sharing.even(len(dataset[split])) / recipe.batch_size)
        for split in ("train", "val")
    ]


def _batches(recipe, dataset, devices, seed, first_epoch):
    """Training and validation batches, as `fit` takes them."""
    options = {
        "input_size": recipe.input_size,
        "resize": recipe.resize,
        "batch_size": recipe.batch_size,
        "sharing": devices.sharing,
    }
    training = pipeline.training_batches(
        dataset["train"], seed=seed, augment=recipe.augment, first_epoch=first_epoch, **options
    )
    validation = pipeline.validation_batches(dataset["val"], **options)
    return devices.distribute(training), devices.distribute(validation)


def _average(recipe):
    """First of all callbacks: the others find the average in the model when an epoch ends."""
    return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.ema else []


def _callbacks(net, recipe, dataset, run, devices, seed, last_part):
    """(`BestWeights`, `ResumeRecord`, all callbacks of a run in their order)."""
    best = BestWeights(net, run.weights, devices)
    remembered = {best: ["best"]}
    callbacks = [StopAtNaN(_image_names(recipe, dataset, devices.sharing, seed), best), best]
    if devices.is_chief:
        callbacks.append(keras.callbacks.CSVLogger(run.history, append=True))
        if ON_TENSORFLOW and util.find_spec("tensorboard"):
            callbacks.append(keras.callbacks.TensorBoard(run.logs))
    if recipe.early_stopping:
        stopping = keras.callbacks.EarlyStopping(
            patience=recipe.early_stopping, start_from_epoch=last_part
        )
        remembered[stopping] = ["best", "wait"]
        callbacks.append(stopping)
    if recipe.max_time:
        limit = TimeLimit(60 * recipe.max_time)
        remembered[limit] = ["spent"]
        callbacks.append(limit)
    record = ResumeRecord(run.resume, remembered, devices)
    if devices.is_chief:
        _cut_history(run.history, record.epoch)
    return best, record, [*callbacks, record]


def _image_names(recipe, dataset, sharing, seed):
    """Function (epoch, batch) → names of the images in the batch."""
    samples, size = dataset["train"], recipe.batch_size

    def names(epoch, batch):
        order, _ = draw_epoch(seed, epoch, len(samples), augment=None)
        order = order[: sharing.even(len(samples))]
        return [samples[i].name for i in order[batch * size : (batch + 1) * size]]

    return names


def _cut_history(path, epochs):
    """Keep the rows of the first epochs, one line each, and the header."""
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        with atomic(path) as draft:
            draft.write_bytes(b"".join(lines[: epochs + 1] if epochs else []))
