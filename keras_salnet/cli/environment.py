"""The environment of a command: Keras's backend, a quiet terminal, progress bars, its inputs."""

import contextlib
import importlib
import os
import sys
from importlib import util

from keras_salnet import formats
from keras_salnet.models.presets import SHIPPED


def start_keras(backend=None):
    """Choose Keras's backend before it is imported.

    The caller's, or the user's (KERAS_BACKEND), or TensorFlow, or, where that is not installed, JAX
    or PyTorch.
    """
    backend = backend or os.environ.get("KERAS_BACKEND")
    if not backend:
        installed = (name for name in ("tensorflow", "jax", "torch") if util.find_spec(name))
        backend = next(installed, None)
        if backend is None:
            raise ModuleNotFoundError(
                "Keras needs TensorFlow, JAX or PyTorch; install one of them."
            )
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        import_tensorflow_quietly()


def import_tensorflow_quietly():
    """Import TensorFlow without its messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_stderr():
        tensorflow = importlib.import_module("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")  # it takes many models for one that is traced anew


@contextlib.contextmanager
def without_stderr():
    """For libraries that write there what nobody asked for; their errors reach us as exceptions."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def progress(console=None):
    """Function (items, title, their number) → items that shows a bar while they are gone through.

    Without the number, it is that of the items; without a `rich.console.Console`, that of stderr.
    """
    from rich.console import Console
    from rich.progress import track

    console = console or Console(stderr=True)
    return lambda items, title, total=None: track(
        items, title, total, console=console, transient=True, disable=not console.is_terminal
    )


def load_predictor(model, **options):
    """The `Predictor` of a model; Keras is started only for one that needs it."""
    from keras_salnet.prediction.predictor import Predictor

    file = str(model).partition("#")[0]  # of a URL, what comes before its checksum
    known = [formats.get(name) for name in formats.FORMATS]
    alone = tuple(each.ENDING for each in known if each.ENDING and not each.KERAS_LOADS)
    if model not in SHIPPED and not file.endswith(alone):
        start_keras()
    with without_stderr():
        return Predictor.load(model, **options)


def checked_dataset(data, skip_bad):
    """The dataset of that name, once its files have been seen to be there and to fit."""
    from keras_salnet.data import check, load_dataset

    return check(load_dataset(data), skip_bad, progress())
