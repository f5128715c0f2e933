"""Training: a recipe and a dataset → a run folder."""

import contextlib
import dataclasses
import errno
import hashlib
import importlib
import itertools
import json
import logging
import math
import os
import platform
import sys
from importlib import util
from pathlib import Path
from typing import NamedTuple

import keras
from keras.optimizers.schedules import LearningRateSchedule

import keras_salnet
from keras_salnet import losses, models
from keras_salnet.data.augmentation import draw_epoch
from keras_salnet.data.checks import check, has_masks_only
from keras_salnet.data.datasets import load_dataset
from keras_salnet.download import is_url
from keras_salnet.files import atomic, remove_drafts
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.models.loading import initialize_from
from keras_salnet.models.presets import SHIPPED
from keras_salnet.runs import Run
from keras_salnet.training.callbacks import BestWeights, ResumeRecord, StopAtNaN, TimeLimit
from keras_salnet.training.curves import plot_curves
from keras_salnet.training.graph import training_graph
from keras_salnet.training.lock import locked
from keras_salnet.training.optimizer import ScaledAdam, ScaledSGD
from keras_salnet.training.recipes import Recipe
from keras_salnet.training.strategy import start

# tf.data and the exports are TensorFlow's; everything else runs on any of Keras's backends.
_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    from keras_salnet.data import pipeline
    from keras_salnet.formats import export_savedmodel, export_tflite
else:
    from keras_salnet.data import pydataset as pipeline

logger = logging.getLogger(__name__)

# What a run that is not finished goes on from.
RECORD = "resume.weights.h5"

# What it also needs, in config.json.
_SETTINGS = {
    *("recipe", "data", "samples", "seed", "mixed_precision", "jit", "init", "skip_bad"),
    *("deterministic", "strategy", "versions"),
}


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
    deterministic=False,
    strategy=None,
    track=None,
):
    """Train a model by `fit` and leave a run folder.

    It learns where people look; of a dataset of masks alone, its masks.

    The folder holds ``config.json``, ``history.csv``, ``best.weights.h5`` (of the least validation
    loss), ``model.keras`` (with these weights) and ``training.png``; on the TensorFlow backend also
    ``saved_model/1/``, ``model.tflite`` and, where TensorBoard is installed, its ``logs/``. Until
    the end there is ``resume.weights.h5`` too, from which `resume` goes on.

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
        deterministic: use only operations that give the same bits every time, in all of this
            process; slower.
        strategy: None, ``"mirrored"`` or ``"multi-worker"``, see `training.strategy.start`. Each of
            several workers calls this alike; the first one writes the folder.

    Returns:
        Path of the run folder.

    Raises:
        FileExistsError: `out` is not empty.
        BlockingIOError: another process trains there.
        FloatingPointError: the loss became NaN.
        ValueError, OSError, ConnectionError: as of the model, the data and the weights.
    """
    out = Path(out)
    devices = start(strategy)
    if devices.is_chief and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: is there already; give another --out.")
    if init is not None:
        if init not in SHIPPED and not is_url(init):
            init = str(Path(init).expanduser().absolute())
        recipe = recipe.replace(backbone_weights=None)
    elif recipe.backbone_weights is None:
        for name in ("freeze_encoder", "frozen_stages"):
            if getattr(recipe, name):
                raise ValueError(
                    f"{name} would keep random weights; give --backbone-weights or --init with it, "
                    f"or --{name.replace('_', '-')} 0."
                )
    for split in ("train", "val"):
        for sample in dataset[split]:  # raises where there is none, before all files are checked
            sample.refuse_another(recipe.input_size, recipe.resize)
    dataset = check(dataset, skip_bad, track)
    _check_sharing(devices, recipe, dataset)
    config = {
        "recipe": dataclasses.asdict(recipe),
        "data": dataset.source,
        "dataset": dataset.name,
        "samples": _fingerprints(dataset),
        "seed": seed,
        "mixed_precision": mixed_precision,
        "jit": jit,
        "init": init,
        "skip_bad": skip_bad,
        "deterministic": deterministic,
        "strategy": strategy,
        "versions": _versions(),
    }
    graph, net = _build_all(recipe, config, devices)
    if not devices.is_chief:
        return _run(graph, net, recipe, dataset, config, out, devices)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        if (out / "config.json").exists():
            raise FileExistsError(f"{out}: another run began there meanwhile; give another --out.")
        with atomic(out / "config.json") as draft:
            draft.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        return _run(graph, net, recipe, dataset, config, out, devices)


def resume(run, *, track=None):
    """Go on with a run whose process was killed, as if it had not been.

    Args:
        run: the folder, as `train` left it; it may have been killed at any moment.
        track: see `train`.

    Returns:
        Path of the run folder.

    Raises:
        FileNotFoundError: `run` is no run folder.
        BlockingIOError: another process trains it.
        ValueError: the run is finished, or cannot go on; or as `train`.
        FloatingPointError, OSError, ConnectionError: as `train`.
    """
    run = Path(run)
    recipe, config = _read_config(run)
    if (run / "model.keras").exists():
        with locked(run):  # and its file goes, which a process killed just before the end leaves
            (run / RECORD).unlink(missing_ok=True)
        raise ValueError(f"{run}: this run is finished; there is nothing to resume.")
    (backend,) = config["versions"].keys() & {"tensorflow", "jax", "torch"}
    if keras.backend.backend() != backend:
        raise ValueError(f"{run}: began on another backend; resume with KERAS_BACKEND={backend}.")
    devices = start(config["strategy"])
    with locked(run) if devices.is_chief else contextlib.nullcontext():
        return _go_on(run, recipe, config, devices, track)


def _go_on(run, recipe, config, devices, track):
    """`resume`, of a run that is locked."""
    if config["versions"] != _versions():
        logger.warning("%s began with other versions: %s", run, config["versions"])
    if config["data"] is None:
        raise ValueError(f"{run}: was trained on a dataset made by hand; it cannot be read again.")
    dataset = check(load_dataset(config["data"]), config["skip_bad"], track)
    for split, now in _fingerprints(dataset).items():
        before = config["samples"][split]
        if now != before:
            raise ValueError(
                f"{run}: the split {split} of {config['data']} is no longer what the run began "
                f"with ({now['images']} images now, {before['images']} then"
                f"{', others' if now['images'] == before['images'] else ''}); bring it back, or "
                "train anew."
            )
    _check_sharing(devices, recipe, dataset)
    if devices.is_chief:
        remove_drafts(run)
    started = (run / RECORD).exists()
    graph, net = _build_all(
        recipe.replace(backbone_weights=None) if started else recipe,
        {**config, "init": None} if started else config,
        devices,
    )
    return _run(graph, net, recipe, dataset, config, run, devices)


def _check_sharing(devices, recipe, dataset):
    """Refuse what the devices cannot share as one device would have it."""
    devices.refuse(recipe)
    count = devices.sharing.devices
    for split in ("train", "val"):
        if not devices.sharing.even(len(dataset[split])):
            raise ValueError(
                f"{dataset.name}: {len(dataset[split])} images in {split} are too few for {count} "
                "devices."
            )
    if left := len(dataset["val"]) % count:
        logger.warning("%d devices cannot share the last %d images of val.", count, left)


def _read_config(run):
    """(recipe, settings) of a run that can be resumed."""
    file = Run(run).config_file
    config = Run(run).config
    try:
        if missing := _SETTINGS - config.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        return Recipe(**config["recipe"]), config
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: not the settings of a run that can be resumed: {error}"
        ) from error


def _fingerprints(dataset):
    """What tells whether a dataset is still the same, by split: the order depends on it."""
    return {
        split: {
            "images": len(dataset[split]),
            "names": hashlib.sha256(
                "\n".join(sample.name for sample in dataset[split]).encode()
            ).hexdigest(),
        }
        for split in ("train", "val")
    }


def _versions():
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras_salnet": keras_salnet.__version__,
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
    }


def _build_all(recipe, config, devices):
    """(training graph, model in it), with the weights that a run starts from."""
    keras.utils.set_random_seed(config["seed"])
    if config["deterministic"]:
        _make_deterministic()
    with devices.scope():
        with _precision(config["mixed_precision"]):
            net = _build(recipe)
            graph = training_graph(net, recipe.augment)
        if config["init"] is not None:
            _report_unfilled(initialize_from(net, config["init"]), net, config["init"])
    devices.prepare(net)
    return graph, net


def _make_deterministic():
    """For the rest of the process: Keras's backends cannot take it back."""
    backend = keras.backend.backend()
    module = importlib.import_module(backend)
    if backend == "tensorflow":
        module.config.experimental.enable_op_determinism()
    elif backend == "torch":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS refuses
        module.use_deterministic_algorithms(True)
    elif module.default_backend() == "gpu":
        flag = "--xla_gpu_deterministic_ops=true"
        if flag not in os.environ.get("XLA_FLAGS", ""):
            raise ValueError(f"--deterministic: on a GPU, JAX needs XLA_FLAGS={flag} for it.")


def _run(graph, net, recipe, dataset, config, out, devices):
    """Train what is left to train, and leave the run folder complete."""
    with _told_how_to_go_on(out, dataset, devices.sharing):
        with devices.scope():
            _fit(graph, net, recipe, dataset, config["seed"], config["jit"], out, devices)
        if not devices.is_chief:
            return out
        # Anew: in float32, which exporting takes, and on one device.
        net = _build(recipe.replace(backbone_weights=None))
        net.load_weights(out / "best.weights.h5")
        plot_curves(out / "history.csv", out / "training.png")
        if _ON_TENSORFLOW:
            export_savedmodel(net, out / "saved_model" / "1", recipe.resize, out.name)
            export_tflite(net, out / "model.tflite", resize=recipe.resize, name=out.name)
        else:
            logger.info(
                "No TensorFlow exports: `keras-salnet export` makes them where TensorFlow is."
            )
        with atomic(out / "model.keras") as draft:  # last: it marks a finished run
            net.save(draft)
    (out / RECORD).unlink()
    return out


@contextlib.contextmanager
def _told_how_to_go_on(out, dataset, sharing):
    """Errors inside say what broke, where that can be found out, and that the run can go on."""
    try:
        yield
    except FloatingPointError:
        raise  # which would only come again
    except BaseException as error:
        try:
            if isinstance(error, Exception):
                _raise_cause(error, out, dataset, sharing)
            raise
        except BaseException as told:
            told.add_note(f"go on with: keras-salnet train --resume {out}")
            raise


def _raise_cause(error, out, dataset, sharing):
    """Raise what is told better than by the libraries, each of which has its own errors."""
    if sharing.workers > 1 and any(name in str(error) for name in ("Gloo", "NCCL", "UNAVAILABLE")):
        raise ConnectionError("another worker is gone; what it said tells why.") from error
    if os.strerror(errno.ENOSPC) in str(error):
        raise OSError(f"{out}: there is no space left on the disk.") from error
    # Raises where it was a file: TensorFlow does not name those it cannot read.
    check(dataset.replace({split: dataset[split] for split in ("train", "val")}))


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
    if recipe.decay_steps:
        every = recipe.decay_steps
    elif recipe.decay_every < 1:
        every = math.ceil(recipe.decay_every * recipe.epochs) * steps
    else:
        every = round(recipe.decay_every * steps)
    if every >= total:
        return rate
    return keras.optimizers.schedules.ExponentialDecay(
        rate, every, recipe.decay_factor, staircase=True
    )


def _from(schedule, first_step):
    """A learning rate, for an optimizer that starts at a later step."""
    return _From(schedule, first_step) if isinstance(schedule, LearningRateSchedule) else schedule


class _From(LearningRateSchedule):
    def __init__(self, schedule, first_step):
        self.schedule = schedule
        self.first_step = first_step

    def __call__(self, step):
        return self.schedule(step + self.first_step)


def _fit(graph, net, recipe, dataset, seed, jit, out, devices):
    """Fit, in the parts that a recipe has; what is done already is left out."""
    samples, size, sharing = dataset["train"], recipe.batch_size, devices.sharing
    batches = {"input_size": recipe.input_size, "resize": recipe.resize, "batch_size": size}
    batches["sharing"] = sharing
    steps, validation_steps = (
        -(-sharing.even(len(dataset[split])) // size) for split in ("train", "val")
    )
    rate = learning_rate_schedule(recipe, steps)

    def images(epoch, batch):
        order, _ = draw_epoch(seed, epoch, len(samples), augment=None)
        order = order[: sharing.even(len(samples))]
        return [samples[i].name for i in order[batch * size : (batch + 1) * size]]

    best = BestWeights(net, out / "best.weights.h5", devices)
    remembered = {best: ["best"]}
    callbacks = [StopAtNaN(images, best), best]
    if devices.is_chief:
        callbacks.append(keras.callbacks.CSVLogger(out / "history.csv", append=True))
        if _ON_TENSORFLOW and util.find_spec("tensorboard"):
            callbacks.append(keras.callbacks.TensorBoard(out / "logs"))
    parts = _parts(recipe)
    if recipe.early_stopping:
        stopping = keras.callbacks.EarlyStopping(
            patience=recipe.early_stopping, start_from_epoch=parts[-1].first
        )
        remembered[stopping] = ["best", "wait"]
        callbacks.append(stopping)
    if recipe.max_time:
        limit = TimeLimit(60 * recipe.max_time)
        remembered[limit] = ["spent"]
        callbacks.append(limit)
    record = ResumeRecord(out / RECORD, remembered, devices)
    callbacks.append(record)
    if devices.is_chief:
        _cut_history(out / "history.csv", record.epoch)

    masks = has_masks_only(dataset)
    encoder, frozen = encoder_layers(net), encoder_layers(net, recipe.frozen_stages)
    for part in parts:
        begin = max(part.first, record.epoch)
        if begin >= part.last:
            continue
        for layer in encoder:
            layer.trainable = not (part.freezes_encoder or layer in frozen)
        if begin == part.first and part.is_other_loss:
            best.best = math.inf  # was of values that do not compare
        # What is trained, and so its optimizer, is fixed when a model is compiled.
        graph.compile(
            optimizer=_optimizer(_from(rate, part.first * steps), encoder, recipe),
            loss=part.loss,
            weighted_metrics=losses.streaming_metrics(masks),
            jit_compile=jit,
        )
        graph.optimizer.build(graph.trainable_variables)  # `fit` would do it after the record
        if 0 < record.epoch == begin:
            record.restore(graph)
        # First, so that the others find the average in the model when an epoch ends.
        swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.ema else []
        graph.fit(
            devices.distribute(
                pipeline.training_batches(
                    samples, seed=seed, augment=recipe.augment, first_epoch=begin, **batches
                )
            ),
            initial_epoch=begin,
            epochs=part.last,
            steps_per_epoch=steps,
            shuffle=False,  # the batches are shuffled already
            validation_data=devices.distribute(
                pipeline.validation_batches(dataset["val"], **batches)
            ),
            validation_steps=validation_steps,
            callbacks=swap + callbacks,
            verbose=("auto" if sys.stdout.isatty() else 2) if devices.is_chief else 0,
        )
        if graph.stop_training:
            break
    if record.epoch < recipe.epochs:
        record.write(graph, recipe.epochs)
    for layer in encoder:
        layer.trainable = True


class _Part(NamedTuple):
    """Epochs that are trained in one go: ``first`` … ``last - 1``."""

    first: int
    last: int
    freezes_encoder: bool
    loss: keras.losses.Loss
    is_other_loss: bool  # than that of the part before


def _parts(recipe):
    """A training's parts: until the encoder thaws, and until α falls."""
    epochs, thaw, half = recipe.epochs, recipe.freeze_encoder, math.ceil(recipe.epochs / 2)
    falls = recipe.loss == "edge_hold" and recipe.alpha[0] != recipe.alpha[1]
    cuts = {cut for cut in (0, thaw, half if falls else 0) if cut < epochs}
    return [
        _Part(first, last, first < thaw, _loss(recipe, first >= half), falls and first == half)
        for first, last in itertools.pairwise(sorted({*cuts, epochs}))
    ]


def _loss(recipe, second_half):
    if recipe.loss == "saliency":
        return losses.SaliencyLoss(recipe.kl, recipe.cc, recipe.sim)
    if recipe.loss == "cross_entropy":
        return losses.CrossEntropy()
    return losses.EdgeHoldLoss(recipe.alpha[second_half])


def _cut_history(path, epochs):
    """Leave the rows of the first epochs, of which each has a line."""
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        with atomic(path) as draft:
            draft.write_bytes(b"".join(lines[: epochs + 1] if epochs else []))


def _optimizer(rate, encoder, recipe):
    options = {
        "weight_decay": recipe.weight_decay or None,
        "global_clipnorm": recipe.clip_norm,
        "gradient_accumulation_steps": recipe.accumulate if recipe.accumulate > 1 else None,
        "use_ema": recipe.ema is not None,
        "ema_momentum": recipe.ema,
    }
    plain, scaled = keras.optimizers.Adam, ScaledAdam
    if recipe.optimizer == "sgd":
        plain, scaled = keras.optimizers.SGD, ScaledSGD
        options["momentum"] = 0.9
    if recipe.encoder_rate == 1:
        return plain(rate, **options)
    weights = [weight for layer in encoder for weight in layer.weights]
    return scaled(rate, weights, recipe.encoder_rate, **options)


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
