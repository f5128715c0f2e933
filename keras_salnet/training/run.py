"""Training: a recipe and a dataset → a run folder."""

import contextlib
import dataclasses
import errno
import importlib
import json
import logging
import os
import platform
from pathlib import Path

import keras

import keras_salnet
from keras_salnet import models
from keras_salnet.data.checks import check
from keras_salnet.data.datasets import load_dataset
from keras_salnet.download import is_url
from keras_salnet.files import atomic, remove_drafts
from keras_salnet.models.loading import initialize_from
from keras_salnet.models.presets import SHIPPED
from keras_salnet.runs import Run
from keras_salnet.training.curves import plot_curves
from keras_salnet.training.fit import ON_TENSORFLOW, build_loss, fit
from keras_salnet.training.graph import training_graph
from keras_salnet.training.lock import locked
from keras_salnet.training.recipes import Recipe
from keras_salnet.training.strategy import start

if ON_TENSORFLOW:
    from keras_salnet.formats import export_savedmodel, export_tflite

logger = logging.getLogger(__name__)

# What `resume` needs of a config.json.
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
    callbacks=(),
    exports=True,
    track=None,
):
    """Train a model and leave a run folder.

    The model learns where people look or, from a dataset that has only masks, the masks.

    The folder holds ``config.json``, ``history.csv``, ``best.weights.h5`` (of the lowest validation
    loss), ``model.keras`` (with these weights) and ``training.png``; on the TensorFlow backend also
    ``saved_model/1/``, ``model.tflite`` and, if TensorBoard is installed, its ``logs/``. Until the
    end it also holds ``resume.weights.h5``, which `resume` continues from.

    Args:
        recipe: `Recipe`.
        dataset: `Dataset` with the splits ``train`` and ``val``.
        out: folder to create; it may exist if it is empty.
        seed: int ≥ 0, for the weights, the order of the data and the augmentation.
        mixed_precision: None, ``"bfloat16"`` or ``"float16"`` (with loss scaling).
        jit: compile with XLA: True, False, or ``"auto"`` for Keras's choice.
        init: whole model to start from, see `models.loading.initialize_from`; then the recipe's
            `backbone_weights` are not loaded.
        skip_bad: leave out images with bad files instead of raising, see `keras_salnet.data.check`.
        deterministic: use only operations with bit-identical results, in this whole process;
            slower.
        strategy: None, ``"mirrored"`` or ``"multi-worker"``, see `training.strategy.start`. All
            workers call this with the same arguments; the first one writes the folder.
        callbacks: further Keras callbacks. They come before those that keep the best weights and
            write the history, so what they add to an epoch's `logs` is recorded. `fit` runs again,
            with the same callbacks, where the encoder thaws and where the loss changes. `resume`
            does not restore their state.
        exports: whether to write ``saved_model/`` and ``model.tflite``.
        track: function (items, description) → items, to show the progress of checking the data.

    Returns:
        Path of the run folder.

    Raises:
        FileExistsError: `out` is not empty.
        BlockingIOError: another process trains there.
        FloatingPointError: the loss became NaN.
        ValueError, OSError, ConnectionError: from the model, the data or the weights.
    """
    run, devices = Run(out), start(strategy)
    if devices.is_chief and run.path.exists() and (not run.path.is_dir() or os.listdir(run.path)):
        raise FileExistsError(f"{run.path} already exists; choose another --out.")
    build_loss(recipe)  # raises where it cannot be, before all files are checked
    recipe, init = _start_weights(recipe, init)
    for split in ("train", "val"):
        for sample in dataset[split]:
            sample.refuse_another(recipe.input_size, recipe.resize)
    dataset = check(dataset, skip_bad, track)
    devices.check(recipe, dataset)
    settings = {
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
    graph, net = _build(recipe, settings, devices)
    with _created(run, settings) if devices.is_chief else contextlib.nullcontext():
        _complete(graph, net, recipe, dataset, settings, run, devices, callbacks, exports)
    return run.path


def resume(run, *, callbacks=(), exports=True, track=None):
    """Continue a run whose process was killed, as if it had not been.

    Args:
        run: the folder, as `train` left it; the process may have been killed at any moment.
        callbacks, exports, track: as in `train`.

    Returns:
        Path of the run folder.

    Raises:
        FileNotFoundError: `run` is not a run folder.
        BlockingIOError: another process trains it.
        ValueError: the run is finished or cannot be resumed; or as `train`.
        FloatingPointError, OSError, ConnectionError: as `train`.
    """
    run = Run(run)
    recipe, settings = _read(run)
    if run.finished:
        with locked(run.path):  # a process killed just before the end leaves its record
            run.resume.unlink(missing_ok=True)
        raise ValueError(f"{run.path}: this run is finished; there is nothing to resume.")
    (backend,) = settings["versions"].keys() & {"tensorflow", "jax", "torch"}
    if keras.backend.backend() != backend:
        raise ValueError(
            f"{run.path}: this run began on another backend; set KERAS_BACKEND={backend}."
        )
    devices = start(settings["strategy"])
    with locked(run.path) if devices.is_chief else contextlib.nullcontext():
        dataset = _same_dataset(run, settings, track)
        devices.check(recipe, dataset)
        if devices.is_chief:
            remove_drafts(run.path)
        if run.resume.exists():  # else the run was killed in its first epoch and starts anew
            start_recipe, init = recipe.replace(backbone_weights=None), None
        else:
            start_recipe, init = recipe, settings["init"]
        graph, net = _build(start_recipe, {**settings, "init": init}, devices)
        _complete(graph, net, recipe, dataset, settings, run, devices, callbacks, exports)
    return run.path


def _start_weights(recipe, init):
    """A recipe and `init`, with whole paths: a run may be resumed from another folder."""
    if init is not None:
        named = init in SHIPPED or is_url(init)
        init = init if named else str(Path(init).expanduser().absolute())
        return recipe.replace(backbone_weights=None), init
    weights = recipe.backbone_weights
    if weights is None:
        for name in ("freeze_encoder", "frozen_stages"):
            if getattr(recipe, name):
                raise ValueError(
                    f"{name} would freeze random weights; add --backbone-weights or --init, or set "
                    f"--{name.replace('_', '-')} 0."
                )
    elif weights != "imagenet":
        weights = str(Path(weights).expanduser().absolute())
    return recipe.replace(backbone_weights=weights), None


def _fingerprints(dataset):
    """Identify the images, on which the order of training depends."""
    return {split: dataset.fingerprint(split) for split in ("train", "val")}


def _versions():
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras_salnet": keras_salnet.__version__,
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
    }


@contextlib.contextmanager
def _created(run, settings):
    """Create a run folder and lock it."""
    run.path.mkdir(parents=True, exist_ok=True)
    with locked(run.path):
        if run.exists:
            raise FileExistsError(
                f"{run.path}: another run began there meanwhile; choose another --out."
            )
        with atomic(run.config_file) as draft:
            draft.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
        yield


def _read(run):
    """(recipe, settings) of a run that can be resumed."""
    settings = run.config
    try:
        if missing := _SETTINGS - settings.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        return Recipe(**settings["recipe"]), settings
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{run.config_file}: not the settings of a run that can be resumed: {error}"
        ) from error


def _same_dataset(run, settings, track):
    """The dataset of a run, unless its images have changed."""
    if settings["versions"] != _versions():
        logger.warning("%s began with other versions: %s", run.path, settings["versions"])
    data = settings["data"]
    if data is None:
        raise ValueError(f"{run.path}: its dataset was made in memory and cannot be read again.")
    dataset = check(load_dataset(data), settings["skip_bad"], track)
    for split, now in _fingerprints(dataset).items():
        before = settings["samples"][split]
        if now != before:
            names = ", with other names" if now["images"] == before["images"] else ""
            raise ValueError(
                f"{run.path}: the split {split} of {data} has changed since the run began "
                f"({now['images']} images now, {before['images']} then{names}); restore it, or "
                "train anew."
            )
    return dataset


def _build(recipe, settings, devices):
    """(training graph, model in it), with the weights that the run starts from."""
    keras.utils.set_random_seed(settings["seed"])
    if settings["deterministic"]:
        _make_deterministic()
    with devices.scope():
        with _precision(settings["mixed_precision"]):
            net = _create(recipe)
            graph = training_graph(net, recipe.augment)
        if settings["init"] is not None:
            _report_unfilled(initialize_from(net, settings["init"]), net, settings["init"])
    devices.prepare(net)
    return graph, net


def _create(recipe):
    return models.create(
        recipe.model,
        input_shape=(*recipe.input_size, 3),
        backbone_weights=recipe.backbone_weights,
        **recipe.model_args,
    )


@contextlib.contextmanager
def _precision(mixed_precision):
    """Layers created inside compute in this type."""
    before = keras.config.dtype_policy()
    if mixed_precision is not None:
        keras.config.set_dtype_policy(f"mixed_{mixed_precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _make_deterministic():
    """For the rest of the process: Keras's backends cannot undo it."""
    backend = keras.backend.backend()
    module = importlib.import_module(backend)
    if backend == "tensorflow":
        module.config.experimental.enable_op_determinism()
    elif backend == "torch":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS requires
        module.use_deterministic_algorithms(True)
    elif module.default_backend() == "gpu":
        flag = "--xla_gpu_deterministic_ops=true"
        if flag not in os.environ.get("XLA_FLAGS", ""):
            raise ValueError(f"--deterministic: JAX on a GPU needs XLA_FLAGS={flag}.")


def _report_unfilled(unfilled, net, source):
    if unfilled:
        layers = list(dict.fromkeys(path.split("/")[0] for path in unfilled))
        logger.warning(
            "init: %d of %d weights are from %s; these layers keep random weights, at least in "
            "part: %s",
            len(net.weights) - len(unfilled),
            len(net.weights),
            source,
            ", ".join(layers),
        )


def _complete(graph, net, recipe, dataset, settings, run, devices, callbacks, exports):
    """Train what is left to train and complete the run folder."""
    with _explained_errors(run, dataset, devices.sharing):
        with devices.scope():
            fit(
                *(graph, net, recipe, dataset, run, devices),
                seed=settings["seed"],
                jit=settings["jit"],
                callbacks=callbacks,
            )
        if devices.is_chief:
            _write_model(recipe, run, exports)
    if devices.is_chief:
        run.resume.unlink()


def _write_model(recipe, run, exports):
    """Write the model with the best weights, its exports and the curves."""
    # Anew: in float32, which exports need, and on one device.
    net = _create(recipe.replace(backbone_weights=None))
    net.load_weights(run.weights)
    plot_curves(run.history, run.curves)
    if exports and ON_TENSORFLOW:
        export_savedmodel(net, run.saved_model / "1", recipe.resize, run.path.name)
        export_tflite(net, run.tflite, resize=recipe.resize, name=run.path.name)
    elif exports:
        logger.info(
            "No TensorFlow exports; create them with `keras-salnet export` where TensorFlow is "
            "installed."
        )
    with atomic(run.model) as draft:  # last: it marks a finished run
        net.save(draft)


@contextlib.contextmanager
def _explained_errors(run, dataset, sharing):
    """Raise errors inside with their cause, if it is known, and with how to resume."""
    try:
        yield
    except FloatingPointError:
        raise  # resuming would repeat it
    except BaseException as error:
        try:
            if isinstance(error, Exception):
                _raise_cause(error, run, dataset, sharing)
            raise
        except BaseException as explained:
            explained.add_note(f"resume with: keras-salnet train --resume {run.path}")
            raise


def _raise_cause(error, run, dataset, sharing):
    """Re-raise known failures with a clearer message."""
    lost = ("Gloo", "NCCL", "UNAVAILABLE")
    if sharing.workers > 1 and any(name in str(error) for name in lost):
        raise ConnectionError("another worker exited; see its log.") from error
    if os.strerror(errno.ENOSPC) in str(error):
        raise OSError(f"{run.path}: no space left on the disk.") from error
    # Raises if it was a file: TensorFlow does not name a file that it cannot read.
    check(dataset.replace({split: dataset[split] for split in ("train", "val")}))
