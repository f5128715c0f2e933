"""Blocks that the models share, and the checks of their arguments."""

from keras import layers


def conv3x3(filters, name, initializer="he_normal"):
    """3x3 convolution with ReLU, at the same size, initialised to keep the variance of its input.

    He's initialisation is what lets thirteen and more of them train without pretrained weights.
    """
    return layers.Conv2D(
        filters,
        3,
        padding="same",
        activation="relu",
        kernel_initializer=initializer,
        name=name,
    )


def saliency_head(x, size=1):
    """The map of a model's last features.

    Args:
        x: Keras tensor (B, h, w, C).
        size: of the convolution's kernel; odd int ≥ 1.

    Returns:
        Keras tensor (B, h, w, 1), float32 in [0, 1].
    """
    # float32 also under mixed precision: losses and users need the small values.
    return layers.Conv2D(
        1, size, padding="same", activation="sigmoid", dtype="float32", name="saliency"
    )(x)


def enlarge(x, factor, name):
    """Features or maps, bilinearly enlarged; float32.

    Args:
        x: Keras tensor (B, h, w, C).
        factor: int ≥ 1; 1 returns `x`.
        name: of the layer.
    """
    if factor == 1:
        return x
    # float32 also under mixed precision: XLA fails on the gradient of resizing halves.
    return layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32", name=name)(x)


def check_input_shape(input_shape, multiple, may_vary=False):
    """Raise ValueError unless it is (height, width, 3), multiples or, with `may_vary`, None."""
    if len(input_shape) != 3 or input_shape[2] != 3:
        raise ValueError(f"input_shape must be (height, width, 3), not {tuple(input_shape)}.")
    for axis, size in zip(("height", "width"), input_shape[:2], strict=True):
        if size is None and may_vary:
            continue
        if not isinstance(size, int) or size < multiple or size % multiple:
            raise ValueError(
                f"input_shape: the {axis} must be a multiple of {multiple} pixels"
                f"{', or None for any' if may_vary else ''}, not {size}."
            )


def check_filters(filters):
    """Raise ValueError unless it is an int ≥ 1."""
    if not isinstance(filters, int) or filters < 1:
        raise ValueError(f"filters must be a positive integer, not {filters!r}.")
