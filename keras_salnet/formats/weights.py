"""Weights alone, as Keras stores them: to start a training from, not to predict with."""

KIND = "a .weights.h5 file"
ENDING = ".weights.h5"
EXTRA = None
NEEDS = ()
KERAS_LOADS = True
MIN_CC = None


def find(path):
    """The file itself."""
    return path if path.is_file() and path.name.endswith(ENDING) else None


def write(net, path, resize=None, name=None):
    """Save the weights; the format has no place for the other arguments."""
    net.save_weights(path)


def load(path, input_size=None):
    """Refuse: weights are no model."""
    raise ValueError(
        "it holds weights without a model; give the run folder or its .keras file, or train from "
        "the weights with: keras-salnet train --init"
    )
