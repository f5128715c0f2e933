"""VGGRGA: a VGG16 encoder-decoder with relation-aware global attention.

Cao & Jo, "Saliency Prediction with Relation-aware Global Attention Module", IW-FCV 2021.
"""

from functools import partial

import keras

from keras_salnet.layers import attention_names, create_attention
from keras_salnet.models.backbones import backbone_names, encoder, load_backbone_weights, stride
from keras_salnet.models.blocks import check_filters, check_input_shape, enlarge
from keras_salnet.models.decoder import saliency_decoder

# RGA relates all pixels of a stage with one another as long as there are not more than this; they
# are those of 64 x 64, the largest that the paper attends to.
_MAX_PIXELS = 4096
# Otherwise, to so many pooled nodes.
_POOLED_NODES = 1024


def VGGRGA(
    num_rga=3,
    multi_level_integration=True,
    input_shape=(256, 256, 3),
    backbone_weights="imagenet",
    filters=64,
    decoder_filters=None,
    attention="rga_sc",
    max_nodes=None,
    backbone="vgg16",
    name="vggrga",
):
    """Build VGGRGA (Cao & Jo, 2021).

    VGG16 without its last pooling encodes the image to 1/16 of its size; a decoder of the reversed
    order doubles it four times. RGA-SC follows the `num_rga` deepest encoder stages and the same
    number of decoder stages, before their upsampling. Multi-level integration (MI) hands the
    encoder's features at 1/8, 1/4 and 1/2 through three convolutions to the decoder. The paper's
    VGGM is ``VGGRGA(0, multi_level_integration=False)``.

    RGA in a stage of more than 4096 pixels, or of unknown size, relates to the means over a grid of
    32 x 32 cells instead of to all pixels (`max_nodes` of `keras_salnet.layers.RGA`). So 4 and 5
    modules fit into memory, which the paper left out for the lack of it, and one model takes images
    of any size.

    Another `backbone` takes the encoder's place. Its five stages are its scales 1/2 … 1/32, each of
    which ends with its last layer. So the decoder ends at 1/2, and the map of this size is enlarged
    to the frame's.

    Args:
        num_rga: 0…5, the n of the paper's VGGRGA(n).
        multi_level_integration: add the three MI skips.
        input_shape: (height, width, 3); both multiples of 16, of 32 with another `backbone`, or
            None where the size of a batch may be any such multiple.
        backbone_weights: encoder weights: ``"imagenet"`` (downloaded once by Keras), the path of
            a weight file of the `backbone` without top, or None for random ones.
        filters: width of the first stage; 64 in the paper. VGG16's pretrained weights need 64, and
            the channels of the RGA modules at least 7 (14 from `num_rga` 2 on, 56 from 4 on). With
            another `backbone` it is the width of the decoder alone.
        decoder_filters: width of the decoder's last stage, where it is to be another; half of it
            makes a third of the decoder's parameters. None: `filters`, as in the paper.
        attention: what takes RGA-SC's places, one of `keras_salnet.layers.attention_names()`.
        max_nodes: let every RGA relate to a square grid of at most so many cells: then the weights
            fit a model of any other input size with the same `max_nodes`. None: as above.
        backbone: encoder: ``"vgg16"`` or, of keras.applications, ``"densenet121"``,
            ``"efficientnetv2b0"``, ``"mobilenetv2"``, ``"resnet101"``, ``"resnet50"``.
        name: name of the model.

    Returns:
        A functional `keras.Model`: images (B, H, W, 3), RGB, 0…255 → saliency maps (B, H, W, 1),
        float32 in [0, 1].

    Raises:
        ValueError: an argument is out of its range, or the frame is too small for RGA, or its size
            is unknown and the attention needs it.
        ConnectionError: the ImageNet weights could not be downloaded.
        FileNotFoundError: `backbone_weights` is a path where there is no file.

    Example:
        >>> model = VGGRGA(1, input_shape=(128, 160, 3), backbone_weights=None, filters=16)
        >>> model.output_shape
        (None, 128, 160, 1)
        >>> model = VGGRGA(1, backbone_weights=None, filters=16, backbone="mobilenetv2")
        >>> model.get_layer("block5_rga").output.shape
        (None, 8, 8, 1280)
    """
    _check(num_rga, input_shape, filters, decoder_filters, attention, max_nodes, backbone)
    is_rga = attention.startswith("rga_")

    def attend(features, stage, side):
        """Attention at the `num_rga` deepest of the stages 1…5."""
        if stage <= 5 - num_rga:
            return features
        _, height, width, _ = features.shape
        options = {"name": f"{side}{stage}_{'rga' if is_rga else attention}"}
        if is_rga:
            exact = None not in (height, width) and height * width <= _MAX_PIXELS
            pooled = None if exact else _POOLED_NODES
            options["max_nodes"] = pooled if max_nodes is None else max_nodes
        return create_attention(attention, **options)(features)

    images = keras.Input(tuple(input_shape), name="image")
    stages, first_stride = encoder(images, backbone, filters, partial(attend, side="block"))
    maps = saliency_decoder(
        stages,
        decoder_filters or filters,
        multi_level_integration,
        partial(attend, side="decoder"),
    )
    maps = enlarge(maps, first_stride, "saliency_upsampling")

    model = keras.Model(images, maps, name=name)
    if backbone_weights is not None:
        load_backbone_weights(model, backbone_weights, backbone)
    return model


def _check(num_rga, input_shape, filters, decoder_filters, attention, max_nodes, backbone):
    if num_rga not in range(6):
        raise ValueError(f"num_rga must be one of 0, 1, 2, 3, 4, 5, not {num_rga!r}.")
    check_filters(filters)
    if decoder_filters is not None:
        check_filters(decoder_filters)
    if attention not in attention_names():
        raise ValueError(
            f"attention must be one of {', '.join(attention_names())}, not {attention!r}."
        )
    if max_nodes is not None and not attention.startswith("rga_"):
        raise ValueError(f"max_nodes is for RGA; {attention} has no nodes.")
    if backbone not in backbone_names():
        raise ValueError(
            f"backbone must be one of {', '.join(backbone_names())}, not {backbone!r}."
        )
    check_input_shape(input_shape, stride(backbone), may_vary=True)
