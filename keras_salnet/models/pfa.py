"""PFA: a VGG16 whose high and low levels are attended to in different ways.

Zhao & Wu, "Pyramid Feature Attention Network for Saliency Detection", CVPR 2019.
"""

import keras
from keras import layers

from keras_salnet.layers import (
    ContextAwareFeatureExtraction,
    PFAChannelAttention,
    PFASpatialAttention,
)
from keras_salnet.layers.common import batch_norm
from keras_salnet.models.backbones import load_backbone_weights, vgg16_stages
from keras_salnet.models.blocks import check_input_shape, enlarge, saliency_head


def PFA(
    with_cpfe=True,
    with_ca=True,
    with_sa=True,
    input_shape=(256, 256, 3),
    backbone_weights="imagenet",
    filters=64,
    name="pfa",
):
    """Build PFA, the Pyramid Feature Attention network (Zhao & Wu, 2019), for salient objects.

    Of VGG16's blocks, the last three go through context-aware feature extraction (together: CPFE),
    are joined at 1/4 of the frame and weighed by channel attention. The first two are joined at the
    frame's size and weighed by spatial attention, which sees the high-level features.

    Batch normalization uses its stored statistics in inference, and convolutions in front of one
    have no bias; both are otherwise in the authors' code.

    Args:
        with_cpfe: extract features at several dilations; without, a 1x1 convolution gives as many.
        with_ca: channel attention on the high level. It adds its mean to the training loss.
        with_sa: spatial attention on the low level.
        input_shape: (height, width, 3); both multiples of 16, or None where the size of a batch may
            be any multiple of 16.
        backbone_weights: encoder weights: ``"imagenet"`` (downloaded once by Keras), the path of
            a VGG16 weight file without top, or None for random ones.
        filters: width of the first block; 64 in the paper, which pretrained weights need. Even.
        name: name of the model.

    Returns:
        A functional `keras.Model`: images (B, H, W, 3), RGB, 0…255 → saliency maps (B, H, W, 1),
        float32 in [0, 1].

    Raises:
        ValueError: an argument is out of its range.
        ConnectionError: the ImageNet weights could not be downloaded.
        FileNotFoundError: `backbone_weights` is a path where there is no file.

    Example:
        >>> model = PFA(input_shape=(64, 96, 3), backbone_weights=None, filters=8)
        >>> model.output_shape
        (None, 64, 96, 1)
    """
    check_input_shape(input_shape, 16, may_vary=True)
    if not isinstance(filters, int) or filters < 2 or filters % 2:
        raise ValueError(f"filters must be a positive even integer, not {filters!r}.")

    images = keras.Input(tuple(input_shape), name="image")
    stages = vgg16_stages(images, filters)

    width, dilations = (filters // 2, (3, 5, 7)) if with_cpfe else (2 * filters, ())
    pyramid = []
    for block, factor in ((3, 1), (4, 2), (5, 4)):
        x = ContextAwareFeatureExtraction(width, dilations, name=f"high{block}_cfe")(
            stages[block - 1]
        )
        pyramid.append(enlarge(x, factor, f"high{block}_upsampling"))
    high = layers.Concatenate(name="high_concatenate")(pyramid)  # (B, H/4, W/4, 6·filters)
    if with_ca:
        high = PFAChannelAttention(name="high_attention")(high)
    high = _convolve(high, filters, 1, "high")
    high = enlarge(high, 4, "high_upsampling")

    low = [_convolve(stages[block - 1], filters, 3, f"low{block}") for block in (1, 2)]
    low[1] = enlarge(low[1], 2, "low2_upsampling")
    low = _convolve(layers.Concatenate(name="low_concatenate")(low), filters, 3, "low")
    if with_sa:
        low = PFASpatialAttention(name="low_attention")(low, guide=high)

    x = layers.Concatenate(name="concatenate")([low, high])
    maps = saliency_head(x, 3)

    model = keras.Model(images, maps, name=name)
    if backbone_weights is not None:
        load_backbone_weights(model, backbone_weights)
    return model


def _convolve(x, filters, size, name):
    x = layers.Conv2D(filters, size, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(batch_norm(f"{name}_bn", None)(x))
