"""MobileRGA: a phone-sized model of VGGRGA's parts on MobileNetV2.

Ours. Its ideas are those of Cao & Jo, "Saliency Prediction with Relation-aware Global Attention
Module", IW-FCV 2021, and of Sandler et al., "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", CVPR 2018.
"""

import keras
from keras import layers

from keras_salnet.layers import RGA
from keras_salnet.layers.common import batch_norm
from keras_salnet.models.backbones import encoder, load_backbone_weights
from keras_salnet.models.blocks import check_filters, check_input_shape, enlarge, saliency_head

# Widths of the decoder's stages, in units of `filters`.
_WIDTHS = {5: 8, 4: 4, 3: 2, 2: 1}


def MobileRGA(
    input_shape=(256, 320, 3),
    backbone_weights="imagenet",
    filters=48,
    max_nodes=None,
    name="mobilerga",
):
    """Build MobileRGA.

    MobileNetV2 encodes the image to 1/32 of its size, where RGA-SC relates all pixels and all
    channels with one another. The decoder doubles the size three times; multi-level integration
    hands it the encoder's features at 1/16, 1/8 and 1/4. The map of 1/4 is enlarged to the frame's
    size. All convolutions of the decoder are separable or 1 x 1, with batch normalization and
    ReLU6, which bears 8-bit arithmetic.

    Args:
        input_shape: (height, width, 3); both multiples of 32, or None, with `max_nodes`, where the
            size of a batch may be any such multiple.
        backbone_weights: encoder weights: ``"imagenet"`` (downloaded once by Keras), the path of
            a MobileNetV2 weight file without top, or None for random ones.
        filters: width of the decoder's last stage; at least 1. The encoder's is MobileNetV2's.
        max_nodes: let RGA relate to a square grid of at most so many cells: then the weights fit a
            model of any other input size with the same `max_nodes`. None: to all pixels.
        name: name of the model.

    Returns:
        A functional `keras.Model`: images (B, H, W, 3), RGB, 0…255 → saliency maps (B, H, W, 1),
        float32 in [0, 1].

    Raises:
        ValueError: an argument is out of its range, or the frame is too small for RGA.
        ConnectionError: the ImageNet weights could not be downloaded.
        FileNotFoundError: `backbone_weights` is a path where there is no file.

    Example:
        >>> model = MobileRGA(backbone_weights=None)
        >>> model.output_shape, model.count_params() < 5e6
        ((None, 256, 320, 1), True)
    """
    check_input_shape(input_shape, 32, may_vary=max_nodes is not None)
    check_filters(filters)

    images = keras.Input(tuple(input_shape), name="image")
    stages, _ = encoder(images, "mobilenetv2")
    x = _normalized(_pointwise(_WIDTHS[5] * filters, "block5_reduction"), stages[-1])
    x = RGA("sc", max_nodes=max_nodes, name="block5_rga")(x)
    for stage in (4, 3, 2):
        width = _WIDTHS[stage] * filters
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"decoder{stage}_upsampling")(x)
        skip = _normalized(_pointwise(width, f"integration{stage}_conv"), stages[stage - 1])
        x = layers.Concatenate(name=f"decoder{stage}_concatenate")([x, skip])
        for number in (1, 2):
            x = _normalized(_separable(width, f"decoder{stage}_conv{number}"), x)
    maps = enlarge(saliency_head(x), 4, "saliency_upsampling")

    model = keras.Model(images, maps, name=name)
    if backbone_weights is not None:
        load_backbone_weights(model, backbone_weights, "mobilenetv2")
    return model


def _pointwise(width, name):
    return layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal", name=name)


def _separable(width, name):
    return layers.SeparableConv2D(
        width,
        3,
        padding="same",
        use_bias=False,
        pointwise_initializer="he_normal",
        name=name,
    )


def _normalized(convolution, x):
    x = batch_norm(f"{convolution.name}_norm", None)(convolution(x))
    return layers.ReLU(6, name=f"{convolution.name}_relu")(x)
