"""Training: a recipe and a dataset → a run folder."""

import contextlib
import dataclasses
import importlib
import json
import logging
import math
import platform
import sys
from importlib import util
from pathlib import Path

import keras
import tensorflow as tf

import keras_salnet
from keras_salnet import losses, models
from keras_salnet.data import pipeline
from keras_salnet.data.sample import read_grey
from keras_salnet.export import export_savedmodel, export_tflite
from keras_salnet.files import atomic
from keras_salnet.models.loading import initialize_from
from keras_salnet.training.callbacks import BestWeights
from keras_salnet.training.curves import plot_curves
from keras_salnet.training.graph import training_graph

logger = logging.getLogger(__name__)


def train(recipe, dataset, out, *, seed=0, mixed_precision=None, jit="auto", init=None):
    """Train a model by `fit` and leave a run folder.

    The folder holds ``config.json``, ``history.csv``, ``best.weights.h5`` (of the least validation
    loss), ``model.keras`` (with these weights), ``logs/`` for TensorBoard where it is installed,
    ``saved_model/1/``, ``model.tflite`` and ``training.png``.

    Args:
        recipe: `Recipe`.
        dataset: `Dataset` with the splits ``train`` and ``val``.
        out: the folder to make; it may exist if it is empty.
        seed: int ≥ 0, for the weights, the order of the data and the augmentation.
        mixed_precision: None, ``"bfloat16"`` or ``"float16"`` (with loss scaling).
        jit: compile by XLA: True, False, or ``"auto"``, Keras's choice.
        init: whole model to start from, see `models.loading.initialize_from`; the recipe's
            `backbone_weights` are not loaded then.

    Returns:
        Path of the run folder.

    Raises:
        FileExistsError: `out` is not empty.
        FloatingPointError: the loss became NaN.
        ValueError, OSError, ConnectionError: as of the model, the data and the weights.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: is there already; give another --out.")
    keras.utils.set_random_seed(seed)
    if init is not None:
        recipe = recipe.replace(backbone_weights=None)
    with _precision(mixed_precision):
        net = _build(recipe)
        graph = training_graph(net, recipe.augment)
    if init is not None:
        _report_unfilled(initialize_from(net, init), net, init)
    steps = -(-len(dataset["train"]) // recipe.batch_size)
    graph.compile(
        optimizer=keras.optimizers.Adam(learning_rate_schedule(recipe, steps)),
        loss=losses.SaliencyLoss(recipe.kl, recipe.cc, recipe.sim),
        weighted_metrics=losses.streaming_metrics(),
        jit_compile=jit,
    )
    batches = _batches(recipe, dataset, seed)
    out.mkdir(parents=True, exist_ok=True)
    _write_config(out, recipe, dataset, seed, mixed_precision, init)
    try:
        _fit(graph, net, recipe, batches, steps, out)
    except tf.errors.OpError:
        _raise_for_unreadable_files(dataset)
        raise

    net.load_weights(out / "best.weights.h5")
    if mixed_precision is not None:
        # Exporting takes float32; the variables are float32 already.
        weights = net.get_weights()
        net = _build(recipe.replace(backbone_weights=None))
        net.set_weights(weights)
    plot_curves(out / "history.csv", out / "training.png")
    export_savedmodel(net, out / "saved_model" / "1", recipe.fit)
    export_tflite(net, out / "model.tflite")
    with atomic(out / "model.keras") as draft:  # last: it marks a finished run
        net.save(draft)
    return out


def _report_unfilled(unfilled, net, source):
    if unfilled:
        layers = list(dict.fromkeys(path.split("/")[0] for path in unfilled))
        logger.warning(
            "init: %d of %d weights come from %s; these layers start anew, at least in part: %s",
            len(net.weights) - len(unfilled),
            len(net.weights),
            source,
            ", ".join(layers),
        )


def _build(recipe):
    return models.create(
        recipe.model,
        input_shape=(*recipe.input_size, 3),
        backbone_weights=recipe.backbone_weights,
        **recipe.model_args,
    )


def learning_rate_schedule(recipe, steps):
    """The learning rate over a run of `steps` an epoch: a number or one of Keras's schedules."""
    rate, total = recipe.learning_rate, recipe.epochs * steps
    if recipe.schedule == "cosine":
        warmup = min(round(recipe.warmup_epochs * steps), total - 1)
        return keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            total - warmup,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    ends = range(recipe.decay_every, recipe.epochs, recipe.decay_every)
    if not ends:
        return rate
    # Keras counts a boundary's own step to what is before it.
    boundaries = [epoch * steps - 1 for epoch in ends]
    values = [rate * recipe.decay_factor**times for times in range(len(ends) + 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


def _batches(recipe, dataset, seed):
    """Training and validation batches."""
    shape = {"frame": recipe.input_size, "fit": recipe.fit, "batch_size": recipe.batch_size}
    return (
        pipeline.training_batches(dataset["train"], seed=seed, augment=recipe.augment, **shape),
        pipeline.validation_batches(dataset["val"], **shape),
    )


def _fit(graph, net, recipe, batches, steps, out):
    training, validation = batches
    best = BestWeights(net, out / "best.weights.h5")
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        best,
        keras.callbacks.CSVLogger(out / "history.csv"),
    ]
    if util.find_spec("tensorboard"):
        callbacks.append(keras.callbacks.TensorBoard(out / "logs"))
    else:
        logger.info("TensorBoard is not installed; logs/ is left out.")
    history = graph.fit(
        training,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # the batches are shuffled already
        validation_data=validation,
        callbacks=callbacks,
        verbose="auto" if sys.stdout.isatty() else 2,
    )
    if not math.isfinite(history.history["loss"][-1]) or best.best == math.inf:
        kept = f"The best weights before that are in {best.path}. " if best.path.exists() else ""
        raise FloatingPointError(
            f"the loss became NaN or infinite in epoch {len(history.epoch)}. {kept}Try a smaller "
            "--learning-rate, or no --mixed-precision."
        )


def _raise_for_unreadable_files(dataset):
    """TensorFlow's own error does not name the file that it could not read."""
    for sample in (*dataset["train"], *dataset["val"]):
        sample.read_image()
        if sample.density is not None:
            read_grey(sample.density)


@contextlib.contextmanager
def _precision(mixed_precision):
    """Layers made inside compute in this type."""
    before = keras.config.dtype_policy()
    if mixed_precision is not None:
        keras.config.set_dtype_policy(f"mixed_{mixed_precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _write_config(out, recipe, dataset, seed, mixed_precision, init):
    config = {
        "recipe": dataclasses.asdict(recipe),
        "data": dataset.source,
        "dataset": dataset.name,
        "seed": seed,
        "mixed_precision": mixed_precision,
        "init": None if init is None else str(init),
        "versions": {
            "python": platform.python_version(),
            "keras_salnet": keras_salnet.__version__,
            "keras": keras.__version__,
            keras.backend.backend(): importlib.import_module(keras.backend.backend()).__version__,
        },
    }
    with atomic(out / "config.json") as draft:
        draft.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
