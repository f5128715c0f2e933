"""Encoders: the convolutional part of a published classifier, and where its weights come from."""

import contextlib
import re
import socket
from pathlib import Path

import keras
from keras import layers

from keras_salnet.layers import CaffePreprocessing

DOWNLOAD_TIMEOUT = 30  # seconds without an answer

# Convolutions and width (in units of `filters`) of VGG16's five blocks (Simonyan & Zisserman, 2015,
# configuration D).
_VGG16_BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))

# Name of an encoder's layer: any prefix, and VGG16's name for it.
_ENCODER_LAYER = r"(?:.+_)?(block(\d)_conv\d)"


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


def check_input_shape(input_shape, multiple, may_vary=False):
    """A ValueError unless it is (height, width, 3) of multiples, or with `may_vary` of None."""
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
    """A ValueError unless it is an int ≥ 1."""
    if not isinstance(filters, int) or filters < 1:
        raise ValueError(f"filters must be a positive integer, not {filters!r}.")


def vgg16_stages(images, filters=64, after_block=None, prefix="", pixel_scale=1):
    """VGG16 without its last pooling and its dense layers.

    Args:
        images: Keras tensor (B, H, W, 3), RGB, 0…255.
        filters: width of the first block; 64 in the paper.
        after_block: function (features, block 1…5) → features, applied to what each block returns
            before its pooling: where attention is put in.
        prefix: of the layers' names, where a model has several encoders; it ends in ``_``.
        pixel_scale: factor of the pixels minus their means, which VGG16's weights want to be 1.

    Returns:
        List of the five blocks' features before pooling, at 1/1 … 1/16 of the frame, rounded up.
    """
    x = CaffePreprocessing(pixel_scale, name=f"{prefix}preprocessing")(images)
    stages = []
    for block, (convolutions, width) in enumerate(_VGG16_BLOCKS, start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, padding="same", name=f"{prefix}block{block - 1}_pool")(x)
        for number in range(1, convolutions + 1):
            # The first sees pixels, which spread by about 64 and not by 1.
            first = keras.initializers.VarianceScaling(2 / (64 * pixel_scale) ** 2)
            initializer = first if block == number == 1 else "he_normal"
            x = conv3x3(width * filters, f"{prefix}block{block}_conv{number}", initializer)(x)
        if after_block is not None:
            x = after_block(x, block)
        stages.append(x)
    return stages


def encoder_layers(model, stages=5):
    """The layers of the first stages of a model's pretrained encoder, or encoders, with weights."""
    found = ((re.fullmatch(_ENCODER_LAYER, layer.name), layer) for layer in model.layers)
    return [layer for match, layer in found if match and int(match[2]) <= stages]


def load_vgg16_weights(model, source):
    """Copy VGG16's ImageNet weights into each encoder of `model`, layer by layer, by name.

    Args:
        model: a model built on `vgg16_stages` with 64 filters.
        source: ``"imagenet"`` for keras.applications' own file (58 MB, kept in Keras's cache), or
            the path of such a file (``.h5`` or ``.weights.h5``, without top).

    Raises:
        ConnectionError: the download failed.
        FileNotFoundError, ValueError: no such file, or it is not VGG16's.
    """
    encoder = encoder_layers(model)
    if encoder[0].filters != 64:
        raise ValueError(
            f"backbone_weights={source!r} fit filters=64 only; pass backbone_weights=None "
            "(--backbone-weights none) to train a narrower encoder from scratch."
        )
    vgg16 = _pretrained_vgg16(source)
    for layer in encoder:
        name = re.fullmatch(_ENCODER_LAYER, layer.name)[1]
        layer.set_weights(vgg16.get_layer(name).get_weights())


def _pretrained_vgg16(source):
    if source != "imagenet":
        if not Path(source).is_file():
            raise FileNotFoundError(
                f"backbone_weights: there is no file {source}; it takes 'imagenet', the path of "
                "VGG16's weights without top, or None."
            )
        try:
            return keras.applications.VGG16(include_top=False, weights=str(source))
        except Exception as error:  # h5py and Keras raise a dozen kinds for a wrong file
            raise ValueError(
                f"backbone_weights: {source} does not hold VGG16's weights without top: {error}"
            ) from error
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            return keras.applications.VGG16(include_top=False, weights="imagenet")
    except Exception as error:  # urllib's errors reach us wrapped in bare Exception
        raise ConnectionError(
            f"VGG16's ImageNet weights could not be downloaded ({error}). Try again later, pass "
            "backbone_weights (--backbone-weights) the path of a copy of "
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5, or None to train from scratch."
        ) from error


@contextlib.contextmanager
def _socket_timeout(seconds):
    """`keras.utils.get_file` sets no time-out: behind a firewall it would hang."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
