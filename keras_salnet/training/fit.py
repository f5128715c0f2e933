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
from keras.optimizers.schedules import LearningRateSchedule

import keras_salnet
from keras_salnet import losses, models
from keras_salnet.data.integrity import check, no_progress
from keras_salnet.files import atomic
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.models.loading import initialize_from
from keras_salnet.training.callbacks import BestWeights
from keras_salnet.training.curves import plot_curves
from keras_salnet.training.graph import training_graph
from keras_salnet.training.optimizer import ScaledAdam

# tf.data and the exports are TensorFlow's; everything else runs on any of Keras's backends.
_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    from keras_salnet.data import pipeline
    from keras_salnet.export import export_savedmodel, export_tflite
else:
    from keras_salnet.data import pydataset as pipeline

logger = logging.getLogger(__name__)


def train(
    recipe,
    dataset,
    out,
    *,
    seed=0,
    mixed_precision=None,
    jit="auto",
    init=None,
    skip_bad=False,
    track=no_progress,
):
    """Train a model by `fit` and leave a run folder.

    The folder holds ``config.json``, ``history.csv``, ``best.weights.h5`` (of the least validation
    loss), ``model.keras`` (with these weights) and ``training.png``; on the TensorFlow backend also
    ``saved_model/1/``, ``model.tflite`` and, where TensorBoard is installed, its ``logs/``.

    Args:
        recipe: `Recipe`.
        dataset: `Dataset` with the splits ``train`` and ``val``.
        out: the folder to make; it may exist if it is empty.
        seed: int ≥ 0, for the weights, the order of the data and the augmentation.
        mixed_precision: None, ``"bfloat16"`` or ``"float16"`` (with loss scaling).
        jit: compile by XLA: True, False, or ``"auto"``, Keras's choice.
        init: whole model to start from, see `models.loading.initialize_from`; the recipe's
            `backbone_weights` are not loaded then.
        skip_bad, track: how the dataset is checked beforehand, see `keras_salnet.data.check`.

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
    if init is not None:
        recipe = recipe.replace(backbone_weights=None)
    elif recipe.freeze_encoder and recipe.backbone_weights is None:
        raise ValueError(
            "freeze_encoder would keep random weights; give --backbone-weights or --init with it."
        )
    for split in ("train", "val"):
        for sample in dataset[split]:  # raises where there is none, before all files are checked
            sample.refuse_another(recipe.input_size, recipe.fit)
    dataset = check(dataset, skip_bad, track)
    keras.utils.set_random_seed(seed)
    with _precision(mixed_precision):
        net = _build(recipe)
        graph = training_graph(net, recipe.augment)
    if init is not None:
        _report_unfilled(initialize_from(net, init), net, init)
    out.mkdir(parents=True, exist_ok=True)
    _write_config(out, recipe, dataset, seed, mixed_precision, init)
    try:
        _fit(graph, net, recipe, dataset, seed, jit, out)
    except FloatingPointError:
        raise
    except Exception:
        # Raises where it was a file: TensorFlow does not name those it cannot read.
        check(dataset.replace({split: dataset[split] for split in ("train", "val")}))
        raise

    net.load_weights(out / "best.weights.h5")
    if mixed_precision is not None:
        # Exporting takes float32; the variables are float32 already.
        weights = net.get_weights()
        net = _build(recipe.replace(backbone_weights=None))
        net.set_weights(weights)
    plot_curves(out / "history.csv", out / "training.png")
    if _ON_TENSORFLOW:
        export_savedmodel(net, out / "saved_model" / "1", recipe.fit)
        export_tflite(net, out / "model.tflite")
    else:
        logger.info("No TensorFlow exports: `keras-salnet export` makes them where TensorFlow is.")
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


def _from(schedule, first_step):
    """A learning rate, for an optimizer that starts at a later step."""
    return _From(schedule, first_step) if isinstance(schedule, LearningRateSchedule) else schedule


class _From(LearningRateSchedule):
    def __init__(self, schedule, first_step):
        self.schedule = schedule
        self.first_step = first_step

    def __call__(self, step):
        return self.schedule(step + self.first_step)


def _fit(graph, net, recipe, dataset, seed, jit, out):
    """Fit, in two parts where the encoder is frozen at first."""
    frame = {"frame": recipe.input_size, "fit": recipe.fit, "batch_size": recipe.batch_size}
    steps = -(-len(dataset["train"]) // recipe.batch_size)
    rate = learning_rate_schedule(recipe, steps)
    best = BestWeights(net, out / "best.weights.h5")
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        best,
        keras.callbacks.CSVLogger(out / "history.csv", append=True),
    ]
    if _ON_TENSORFLOW and util.find_spec("tensorboard"):
        callbacks.append(keras.callbacks.TensorBoard(out / "logs"))
    encoder = encoder_layers(net)
    thaw = min(recipe.freeze_encoder, recipe.epochs)
    for first, last in ((0, thaw), (thaw, recipe.epochs)):
        if first == last:
            continue
        for layer in encoder:
            layer.trainable = first >= thaw
        # What is trained, and so its optimizer, is fixed when a model is compiled.
        graph.compile(
            optimizer=_adam(_from(rate, first * steps), encoder, recipe),
            loss=losses.SaliencyLoss(recipe.kl, recipe.cc, recipe.sim),
            weighted_metrics=losses.streaming_metrics(),
            jit_compile=jit,
        )
        history = graph.fit(
            pipeline.training_batches(
                dataset["train"], seed=seed, augment=recipe.augment, first_epoch=first, **frame
            ),
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=steps,
            shuffle=False,  # the batches are shuffled already
            validation_data=pipeline.validation_batches(dataset["val"], **frame),
            callbacks=callbacks,
            verbose="auto" if sys.stdout.isatty() else 2,
        )
        if not math.isfinite(history.history["loss"][-1]) or best.best == math.inf:
            kept = f"The best weights before are in {best.path}. " if best.path.exists() else ""
            raise FloatingPointError(
                f"the loss became NaN or infinite in epoch {history.epoch[-1] + 1}. {kept}Try a "
                "smaller --learning-rate, or no --mixed-precision."
            )
    for layer in encoder:
        layer.trainable = True


def _adam(rate, encoder, recipe):
    if recipe.encoder_rate == 1:
        return keras.optimizers.Adam(rate)
    weights = [weight for layer in encoder for weight in layer.weights]
    return ScaledAdam(rate, weights, recipe.encoder_rate)


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
