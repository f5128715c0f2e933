"""VGGSSM: a VGG16 encoder-decoder with self-attention, which VGGRGA is compared with.

Cao, Tang & Jo, "Aggregated Deep Saliency Prediction by Self-attention Network", ICIC 2020.
"""

import keras

from keras_salnet.layers import SelfAttention
from keras_salnet.models.backbones import load_backbone_weights, vgg16_stages
from keras_salnet.models.blocks import check_filters, check_input_shape
from keras_salnet.models.decoder import saliency_decoder


def VGGSSM(
    self_attention=True,
    input_shape=(256, 256, 3),
    backbone_weights="imagenet",
    filters=64,
    name="vggssm",
):
    """Build VGGSSM (Cao, Tang & Jo, 2020).

    VGG16 without its last pooling encodes the image to 1/16 of its size; SAGAN's self-attention
    relates the pixels there with one another; the decoder, with skips from the encoder at 1/8, 1/4
    and 1/2, is VGGRGA's. The paper trains no encoder: its recipe freezes it.

    The public code computes the attention's values and does not use them, and lays out its pixels
    in another order than it took them in; neither is followed here.

    Args:
        self_attention: attend to all pixels of the last encoder stage; False leaves it out.
        input_shape: (height, width, 3); both multiples of 16, or None where the size of a batch may
            be any multiple of 16.
        backbone_weights: encoder weights: ``"imagenet"`` (downloaded once by Keras), the path of
            a VGG16 weight file without top, or None for random ones.
        filters: width of the first stage; 64 in the paper, which pretrained weights need.
        name: name of the model.

    Returns:
        A functional `keras.Model`: images (B, H, W, 3), RGB, 0…255 → saliency maps (B, H, W, 1),
        float32 in [0, 1].

    Raises:
        ValueError: an argument is out of its range.
        ConnectionError: the ImageNet weights could not be downloaded.
        FileNotFoundError: `backbone_weights` is a path where there is no file.

    Example:
        >>> model = VGGSSM(input_shape=(64, 96, 3), backbone_weights=None, filters=8)
        >>> model.get_layer("block5_self_attention").output.shape
        (None, 4, 6, 64)
    """
    check_input_shape(input_shape, 16, may_vary=True)
    check_filters(filters)

    images = keras.Input(tuple(input_shape), name="image")
    stages = vgg16_stages(images, filters)
    if self_attention:
        stages[-1] = SelfAttention(name="block5_self_attention")(stages[-1])
    model = keras.Model(images, saliency_decoder(stages, filters), name=name)
    if backbone_weights is not None:
        load_backbone_weights(model, backbone_weights)
    return model
