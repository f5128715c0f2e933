"""Saved models and weights."""

import keras

from keras_salnet.download import local

# Registers the layers that saved models name: each does so when it is loaded.
from keras_salnet.layers import *  # noqa: F403
from keras_salnet.models.presets import SHIPPED, load_shipped
from keras_salnet.runs import Run


def load_model(path_or_name):
    """Load a model of this package for Keras; works in a fresh process.

    Args:
        path_or_name: a run folder, a ``.keras`` file, or its URL with its checksum, see
            `keras_salnet.download.fetch`; or ``"fast"`` or ``"accurate"``, which come with the
            package.

    Returns:
        `keras.Model`: images (B, H, W, 3), RGB, 0…255 → maps (B, H, W, 1), float32 in [0, 1].

    Raises:
        FileNotFoundError: no such file.
        ConnectionError: it cannot be downloaded.
        ValueError: it is not such a model.
    """
    if path_or_name in SHIPPED:
        return load_shipped(path_or_name)
    path = local(path_or_name)
    if path.is_dir():
        path = Run(path).model
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # zip, h5py, JSON and Keras each raise their own
        raise ValueError(f"{path}: not a readable .keras model: {error}") from error


def fixed_input_size(net):
    """The (height, width) that a model takes.

    Raises:
        ValueError: they may vary.
    """
    input_size = net.input_shape[1:3]
    if None in input_size:
        raise ValueError(
            f"{net.name} takes images of any size, but here its size must be known; build it anew "
            "with an input_shape and the same max_nodes, and set_weights of this one."
        )
    return input_size


def in_float32(net):
    """A model that computes in float32, which exporting takes, of the same weights.

    Args:
        net: the model, maybe of mixed precision; where it computes in float32, it is returned.
    """
    if all(layer.compute_dtype == "float32" for layer in net.layers):
        return net

    def clone(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    clone_of_net = keras.models.clone_model(net, clone_function=clone)
    clone_of_net.set_weights(net.get_weights())
    return clone_of_net


def check_input_size(net, input_size):
    """See that a model of free size answers a frame with a map of its size.

    Args:
        net: the model.
        input_size: (height, width).

    Raises:
        ValueError: its sides are no multiples of what the model divides them by.
    """
    try:
        shape = net.compute_output_shape((1, *input_size, 3))
        answers = min(input_size) > 0 and shape[1:3] == tuple(input_size)
    except ValueError:  # scales that cannot be joined
        answers = False
    if not answers:
        raise ValueError(
            f"{net.name} does not take {input_size[0]} x {input_size[1]} pixels; multiples of 32 "
            "fit every model, multiples of 16 most."
        )


def initialize_from(net, source):
    """Start a model from the weights of another whole model, as far as they fit.

    Args:
        net: the model to fill; what finds no partner keeps its values.
        source: a shipped model's name, a run folder or a ``.keras`` file, whose weights are matched
            by path and shape; or a ``.weights.h5`` file, which fits the same architecture only: it
            does not hold the names that another one could be matched by; or the URL of such a file
            with its checksum, see `keras_salnet.download.fetch`.

    Returns:
        Paths of the weights of `net` that were not filled.

    Raises:
        FileNotFoundError: no such source.
        ConnectionError: it cannot be downloaded.
        ValueError: it cannot be read, or none of its convolutions fits.
    """
    if source not in SHIPPED:
        source = _weight_file(source)
    if str(source).endswith(".h5"):
        try:
            net.load_weights(source)
        except Exception as error:  # h5py and Keras raise a dozen kinds
            raise ValueError(
                f"init: {source} does not hold the weights of this architecture ({error}). "
                "To start from another one, give its run folder or .keras file."
            ) from error
        return []
    values = {weight.path: weight for weight in load_model(source).weights}
    unfilled = []
    for weight in net.weights:
        value = values.get(weight.path)
        if value is not None and value.shape == weight.shape:
            weight.assign(value)
        else:
            unfilled.append(weight.path)
    if not any(len(w.shape) == 4 and w.path not in unfilled for w in net.weights):
        raise ValueError(
            f"init: no convolution of {source} fits this {net.name}; it may have been made with "
            "other filters or another model."
        )
    return unfilled


def _weight_file(source):
    path = local(source)
    if path.is_dir():
        path = Run(path).model
    if not path.is_file():
        raise FileNotFoundError(
            f"init: there is no file {path}; give {' or '.join(SHIPPED)}, a run folder, a .keras "
            "or a .weights.h5 file."
        )
    return path
