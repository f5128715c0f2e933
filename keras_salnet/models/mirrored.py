"""A model that also sees the mirrored image."""

import keras
from keras import layers, ops


def mirrored(net):
    """Average a model's map of an image with that of the mirrored image, mirrored back.

    People look at a mirrored image as at the image itself, but for details; what a network takes
    one for and not for the other is mostly noise. It takes twice the time and no more weights.

    Args:
        net: `keras.Model`: images (B, H, W, 3), RGB, 0…255 → maps (B, H, W, 1), float32 in [0, 1].

    Returns:
        `keras.Model` of the same inputs, outputs, name and weights.

    Example:
        >>> from keras_salnet.models import MobileRGA
        >>> mirrored(MobileRGA((64, 96, 3), backbone_weights=None, max_nodes=64)).output_shape
        (None, 64, 96, 1)
    """
    images = keras.Input(net.input_shape[1:], name="image")
    maps = [net(images), ops.flip(net(ops.flip(images, axis=2)), axis=2)]
    mean = layers.Average(name="saliency", dtype="float32")(maps)
    return keras.Model(images, mean, name=net.name)
