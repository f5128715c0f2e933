"""Training: a recipe and a dataset → a run folder."""

import contextlib
import dataclasses
import importlib
import json
import logging
import platform
import sys
from importlib import util
from pathlib import Path

import keras

import keras_salnet
from keras_salnet import losses, models
from keras_salnet.data import pipeline
from keras_salnet.export import export_savedmodel, export_tflite
from keras_salnet.files import atomic
from keras_salnet.models.loading import initialize_from
from keras_salnet.training.callbacks import BestWeights
from keras_salnet.training.curves import plot_curves
from keras_salnet.training.graph import training_graph

logger = logging.getLogger(__name__)


def train(recipe, dataset, out, *, data=None, seed=0, mixed_precision=None, jit="auto", init=None):
    """Train a model by `fit` and leave a run folder.

    The folder holds ``config.json``, ``history.csv``, ``best.weights.h5`` (of the least validation
    loss), ``model.keras`` (with these weights), ``logs/`` for TensorBoard where it is installed,
    ``saved_model/1/``, ``model.tflite`` and ``training.png``.

    Args:
        recipe: `Recipe`.
        dataset: `Dataset` with the splits ``train`` and ``val``.
        out: the folder to make; it may exist if it is empty.
        data: what `dataset` was loaded from, for ``config.json``.
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
        for path in initialize_from(net, init):
            logger.warning("init: %s does not fit and starts anew.", path)
    steps = -(-len(dataset["train"]) // recipe.batch_size)
    graph.compile(
        optimizer=keras.optimizers.Adam(learning_rate_schedule(recipe, steps)),
        loss=losses.SaliencyLoss(recipe.kl, recipe.cc, recipe.sim),
        weighted_metrics=losses.streaming_metrics(),
        jit_compile=jit,
    )
    out.mkdir(parents=True, exist_ok=True)
    _write_config(out, recipe, data, dataset, seed, mixed_precision, init)
    _fit(graph, net, recipe, dataset, steps, seed, out)

    net.load_weights(out / "best.weights.h5")
    if mixed_precision is not None:
        # Exporting takes float32; the variables are float32 already.
        weights = net.get_weights()
        net = _build(recipe.replace(backbone_weights=None))
        net.set_weights(weights)
    with atomic(out / "model.keras") as draft:
        net.save(draft)
    plot_curves(out / "history.csv", out / "training.png")
    export_savedmodel(net, out / "saved_model" / "1", recipe.fit)
    export_tflite(net, out / "model.tflite")
    return out


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
        warmup = min(recipe.warmup_epochs * steps, total - 1)
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


def _fit(graph, net, recipe, dataset, steps, seed, out):
    shape = {"frame": recipe.input_size, "fit": recipe.fit, "batch_size": recipe.batch_size}
    batches = pipeline.training_batches(
        dataset["train"], seed=seed, augment=recipe.augment, **shape
    )
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        BestWeights(net, out / "best.weights.h5"),
        keras.callbacks.CSVLogger(out / "history.csv"),
    ]
    if util.find_spec("tensorboard"):
        callbacks.append(keras.callbacks.TensorBoard(out / "logs"))
    else:
        logger.info("TensorBoard is not installed; logs/ is left out.")
    history = graph.fit(
        batches,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # the batches are shuffled already
        validation_data=pipeline.validation_batches(dataset["val"], **shape),
        callbacks=callbacks,
        verbose="auto" if sys.stdout.isatty() else 2,
    )
    if len(history.epoch) < recipe.epochs:
        raise FloatingPointError(
            f"the loss became NaN in epoch {len(history.epoch)}; try a smaller --learning-rate or "
            f"no --mixed-precision. What was trained before is in {out}."
        )


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


def _write_config(out, recipe, data, dataset, seed, mixed_precision, init):
    config = {
        "recipe": dataclasses.asdict(recipe),
        "data": None if data is None else str(Path(data).expanduser().resolve()),
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
