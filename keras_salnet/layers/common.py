"""Shared by the layers: batch normalization, and the checks of their arguments."""

from keras import layers


def batch_norm(name, dtype, **arguments):
    """Batch normalization with the constants of the RGA paper's code, which are PyTorch's."""
    return layers.BatchNormalization(
        epsilon=1e-5, momentum=0.9, dtype=dtype, name=name, **arguments
    )


def check_positive_integers(**arguments):
    """Raise ValueError for an argument that is not an int ≥ 1."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, not {value!r}.")


def reduced(layer, count, what, ratio):
    """count // ratio, or a ValueError if that is 0."""
    if count < ratio:
        raise ValueError(
            f"{type(layer).__name__}: {count} {what} are too few for ratio={ratio}; use at least "
            f"{ratio}, or a smaller ratio."
        )
    return count // ratio


def check_known(layer, input_shape, size=False):
    """Raise ValueError if the number of channels, or with `size` height or width, is unknown."""
    known = input_shape[1:] if size else input_shape[-1:]
    if len(input_shape) != 4 or None in known:
        what = "height, width and channels" if size else "channels"
        raise ValueError(
            f"{type(layer).__name__} needs inputs (B, H, W, C) of known {what}; it got "
            f"{tuple(input_shape)}."
        )
