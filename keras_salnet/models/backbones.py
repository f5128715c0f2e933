"""Encoders: the convolutional part of a published classifier, and where its weights come from."""

import contextlib
import re
import socket
import textwrap
import warnings
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras
from keras import layers

from keras_salnet.layers import CaffePreprocessing
from keras_salnet.models.blocks import conv3x3

DOWNLOAD_TIMEOUT = 30  # seconds without an answer

# Convolutions and width (in units of `filters`) of VGG16's five blocks (Simonyan & Zisserman, 2015,
# configuration D).
_VGG16_BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))

# Names of encoders' layers hold the stage and keras.applications' name, which for VGG16 is both;
# there, any prefix may come before it.
_ENCODER_LAYER = re.compile(r"encoder(\d)_(.+)|(?:.+_)?(block(\d)_conv\d)")

# Input side at which the scales of a network's layers are determined.
_SIDE = 224


@dataclass(frozen=True)
class _Application:
    """A network of keras.applications that halves its frame five times.

    Args:
        name: of its builder.
        preprocessing: function (name) → layer that makes RGB in 0…255 what its weights want.
        file: what keras.applications calls its weights without top.
        options: further arguments of its builder.
    """

    name: str
    preprocessing: Callable
    file: str
    options: dict = field(default_factory=dict)


_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in 0…1
_symmetric = partial(layers.Rescaling, 1 / 127.5, -1)
_standardized = partial(
    layers.Rescaling,
    [1 / (255 * deviation) for deviation in _DEVIATIONS],
    [-mean / deviation for mean, deviation in zip(_MEANS, _DEVIATIONS, strict=True)],
)
_APPLICATIONS = {
    "densenet121": _Application(
        "DenseNet121",
        _standardized,
        "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    # Its own preprocessing is the same, but its layers' names differ from build to build.
    "efficientnetv2b0": _Application(
        "EfficientNetV2B0",
        _standardized,
        "efficientnetv2-b0_notop.h5",
        {"include_preprocessing": False},
    ),
    "mobilenetv2": _Application(
        "MobileNetV2",
        _symmetric,
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    "resnet101": _Application(
        "ResNet101",
        CaffePreprocessing,
        "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "resnet50": _Application(
        "ResNet50",
        CaffePreprocessing,
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "vgg16": _Application(
        "VGG16", CaffePreprocessing, "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    ),
}


def vgg16_stages(images, filters=64, after_stage=None, prefix="", pixel_scale=1):
    """VGG16 without its last pooling and its dense layers.

    Args:
        images: Keras tensor (B, H, W, 3), RGB, 0…255.
        filters: width of the first block; 64 in the paper.
        after_stage: function (features, block 1…5) → features, applied to what each block returns
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
        if after_stage is not None:
            x = after_stage(x, block)
        stages.append(x)
    return stages


def backbone_names():
    """Names of the encoders that `VGGRGA` takes, sorted."""
    return sorted(_APPLICATIONS)


def application_stages(images, backbone, after_stage=None):
    """The five scales of a network of keras.applications.

    Args:
        images: `keras.Input` (B, H, W, 3), RGB, 0…255; height and width are multiples of 32.
        backbone: one of `backbone_names()` other than ``"vgg16"``.
        after_stage: function (features, stage 1…5) → features, applied to what each scale ends
            with; all that follows sees its result.

    Returns:
        List of the five scales' last features, at 1/2 … 1/32 of the frame.
    """
    network = _build_application(backbone)
    sizes = [layer.output.shape[1:3] for layer in network.layers]
    last = {size: place for place, size in enumerate(sizes)}
    ends = [last[_SIDE >> stage, _SIDE >> stage] for stage in (1, 2, 3, 4, 5)]
    names = {
        layer.name: f"encoder{bisect_left(ends, place) + 1}_{layer.name}"
        for place, layer in enumerate(network.layers)
    }
    end_names = {names[network.layers[place].name] for place in ends}
    stages = []

    def rename(layer):
        config = {**layer.get_config(), "name": names[layer.name]}
        if "momentum" in config:  # MobileNetV2's 0.999 lags behind some thousand steps
            config["momentum"] = min(config["momentum"], 0.99)
        return type(layer).from_config(config)

    def call(layer, *arguments, **keywords):
        features = layer(*arguments, **keywords)
        if layer.name in end_names:
            if after_stage is not None:
                features = after_stage(features, len(stages) + 1)
            stages.append(features)
        return features

    keras.models.clone_model(network, [images], clone_function=rename, call_function=call)
    return stages


def _build_application(backbone):
    """The network, with random weights, for RGB in 0…255."""
    application = _APPLICATIONS[backbone]
    pixels = application.preprocessing(name="preprocessing")(keras.Input((_SIDE, _SIDE, 3)))
    build = getattr(keras.applications, application.name)
    return build(include_top=False, weights=None, input_tensor=pixels, **application.options)


def encoder(images, backbone="vgg16", filters=64, after_stage=None):
    """The five stages of a backbone.

    Args:
        images: `keras.Input` (B, H, W, 3), RGB, 0…255.
        backbone: one of `backbone_names()`.
        filters: width of VGG16's first block; other networks have their own.
        after_stage: function (features, stage 1…5) → features, see `vgg16_stages`.

    Returns:
        (list of the five stages' last features, stride of the first: 1 or 2).
    """
    if backbone == "vgg16":
        return vgg16_stages(images, filters, after_stage), 1
    return application_stages(images, backbone, after_stage), 2


def stride(backbone):
    """Stride of a backbone's last stage: sides of its images are multiples of it."""
    return 16 if backbone == "vgg16" else 32


def encoder_layers(model, stages=5):
    """The layers of a model that hold the weights of its pretrained encoder, or encoders.

    Args:
        model: `keras.Model` of this package, built or loaded.
        stages: how many stages, from the first: the blocks of VGG16, the scales of another network.

    Returns:
        List of layers, in the model's order.
    """
    return [layer for layer in model.layers if layer.weights and 0 < _stage(layer) <= stages]


def _stage(layer):
    """Stage of an encoder layer; 0 for any other layer."""
    match = _ENCODER_LAYER.fullmatch(layer.name)
    return int(match[1] or match[4]) if match else 0


def load_backbone_weights(model, source, backbone="vgg16"):
    """Copy a network's ImageNet weights into each encoder of `model`, layer by layer, by name.

    Args:
        model: a model built on that network's stages; on VGG16's, with 64 filters.
        source: ``"imagenet"`` for keras.applications' own file, kept in Keras's cache, or the path
            of such a file (``.h5`` or ``.weights.h5``, without top).
        backbone: one of `backbone_names()`.

    Raises:
        ConnectionError: the download failed.
        FileNotFoundError, ValueError: no such file, or it is another network's.
    """
    encoder = encoder_layers(model)
    if backbone == "vgg16" and encoder[0].filters != 64:
        raise ValueError(
            f"backbone_weights={source!r} fit filters=64 only; pass backbone_weights=None "
            "(--backbone-weights none) to train a narrower encoder from scratch."
        )
    pretrained = _pretrained(_APPLICATIONS[backbone], source)
    for layer in encoder:
        match = _ENCODER_LAYER.fullmatch(layer.name)
        layer.set_weights(pretrained.get_layer(match[2] or match[3]).get_weights())


def _pretrained(application, source):
    build = partial(
        getattr(keras.applications, application.name),
        include_top=False,
        input_shape=(_SIDE, _SIDE, 3),
    )
    if source != "imagenet":
        if not Path(source).is_file():
            raise FileNotFoundError(
                f"backbone_weights: there is no file {source}; it takes 'imagenet', the path of "
                f"{application.name}'s weights without top, or None."
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # one a layer, before the error
                return build(weights=str(source))
        except Exception as error:  # h5py and Keras raise a dozen kinds for a wrong file
            raise ValueError(
                f"backbone_weights: {source} does not hold {application.name}'s weights without "
                f"top: {textwrap.shorten(str(error), 300)}"
            ) from error
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            return build(weights="imagenet")
    except Exception as error:  # urllib's errors reach us wrapped in bare Exception
        raise ConnectionError(
            f"{application.name}'s ImageNet weights could not be downloaded ({error}). Try again "
            "later, pass backbone_weights (--backbone-weights) the path of a copy of "
            f"{application.file}, or None to train from scratch."
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
