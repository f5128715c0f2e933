"""Start Keras and TensorFlow, without what they write to the terminal."""

import contextlib
import importlib
import os
import sys
from importlib import util


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
