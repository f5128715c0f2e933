"""SARN: a VGG16 with self-attention at its deepest layer and recurrent convolutions at the others.

Sun, Li & Guan, "Self-Attention Recurrent Network for Saliency Detection", 2018 (arXiv 1808.01634).
"""

import keras
from keras import layers

from keras_salnet.layers import RecurrentConv2D, SelfAttention
from keras_salnet.layers.recurrent import check_steps
from keras_salnet.models.backbones import load_backbone_weights, vgg16_stages
from keras_salnet.models.blocks import (
    check_filters,
    check_input_shape,
    conv3x3,
    enlarge,
    saliency_head,
)


def SARN(
    steps=3,
    self_attention=True,
    input_shape=(256, 256, 3),
    backbone_weights="imagenet",
    filters=64,
    name="sarn",
):
    """Build SARN, the Self-Attention Recurrent Network (Sun, Li & Guan, 2018), for salient objects.

    VGG16 without its last pooling encodes the image to S5, at 1/16 of its size, which SAGAN's
    self-attention weighs as a whole. Three times, this is doubled by a transposed convolution,
    joined with L4, L3, L2 (the first convolution of VGG16's blocks 4, 3, 2), each made more local
    by a recurrent convolutional layer, and convolved. The map of S2 so reached, at half the size,
    is enlarged to the image's.

    Our source describes no widths: here each scale has those of its VGG16 block. It gives no number
    of steps either: 3 are what Liang & Hu unfold the layer for.

    Args:
        steps: T of the recurrent convolutional layers, ≥ 0; 0 makes them plain convolutions.
        self_attention: attend to all pixels of S5; False leaves it out.
        input_shape: (height, width, 3); both multiples of 16, or None where the size of a batch may
            be any multiple of 16.
        backbone_weights: encoder weights: ``"imagenet"`` (downloaded once by Keras), the path of
            a VGG16 weight file without top, or None for random ones.
        filters: width of the first block; 64 in the paper, which pretrained weights need.
        name: name of the model.

    Returns:
        A functional `keras.Model`: images (B, H, W, 3), RGB, 0…255 → saliency maps (B, H, W, 1),
        float32 in [0, 1].

    Raises:
        ValueError: an argument is out of its range.
        ConnectionError: the ImageNet weights could not be downloaded.
        FileNotFoundError: `backbone_weights` is a path where there is no file.

    Example:
        >>> model = SARN(input_shape=(64, 96, 3), backbone_weights=None, filters=8)
        >>> model.get_layer("decoder2_conv").output.shape
        (None, 32, 48, 16)
    """
    check_input_shape(input_shape, 16, may_vary=True)
    check_filters(filters)
    check_steps(steps)

    images = keras.Input(tuple(input_shape), name="image")
    x = vgg16_stages(images, filters)[-1]
    encoder = keras.Model(images, x)
    if self_attention:
        x = SelfAttention(value_ratio=1, name="block5_self_attention")(x)
    for stage in (4, 3, 2):
        local = encoder.get_layer(f"block{stage}_conv1").output
        width = local.shape[-1]
        local = RecurrentConv2D(width, steps=steps, name=f"recurrent{stage}")(local)
        x = _doubling(x, width, f"decoder{stage}_deconvolution")
        x = layers.Concatenate(name=f"decoder{stage}_concatenate")([x, local])
        x = conv3x3(width, f"decoder{stage}_conv")(x)
    maps = enlarge(saliency_head(x), 2, "saliency_upsampling")

    model = keras.Model(images, maps, name=name)
    if backbone_weights is not None:
        load_backbone_weights(model, backbone_weights)
    return model


def _doubling(x, filters, name):
    # A kernel of a multiple of the stride covers each pixel equally often, here 4 times, by which
    # He's variance is divided to keep that of the input.
    variance = keras.initializers.RandomNormal(stddev=(2 / (4 * x.shape[-1])) ** 0.5)
    return layers.Conv2DTranspose(
        filters,
        4,
        strides=2,
        padding="same",
        activation="relu",
        kernel_initializer=variance,
        name=name,
    )(x)
