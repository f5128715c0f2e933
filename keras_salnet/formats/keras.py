"""Keras's own format: a ``.keras`` file, or a run folder with one."""

from keras_salnet.formats.description import Loaded
from keras_salnet.runs import Run

KIND = "a run folder or a .keras file"
ENDING = ".keras"
EXTRA = None
NEEDS = ()
KERAS_LOADS = True
MIN_CC = None


def find(path):
    """The file of a run folder, or the file itself."""
    if path.is_dir():
        run = Run(path)
        if run.exists and not run.finished:
            raise ValueError(
                f"{path}: this run is not finished; resume it with: "
                f"keras-salnet train --resume {path}"
            )
        return run.model if run.finished else None
    return path if path.name.endswith(ENDING) else None


def write(net, path, resize=None, name=None):
    """Save the model; the format has no place for the other arguments."""
    net.save(path)


def load(path, input_size=None):
    """Load the file; `input_size` (height, width) is for a model that takes any."""
    from keras_salnet.models.loading import load_model

    return in_memory(load_model(path), input_size)


def in_memory(net, input_size=None):
    """A Keras model as `Loaded`.

    Args:
        net: `keras.Model`.
        input_size: (height, width), for a model that takes any. None: each image's own.

    Raises:
        ValueError: the model takes no such size.
    """
    from keras_salnet.models.loading import check_input_size

    if None in net.input_shape[1:3]:
        if input_size is None:
            net.jit_compile = False  # XLA would compile for each size anew
        else:
            check_input_size(net, input_size)
    return Loaded(net.predict_on_batch, net.input_shape[1:3], {})
