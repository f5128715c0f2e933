"""OpenSALICON: two VGG16s that see the image at two sizes.

Thomas, "OpenSalicon: An Open Source Implementation of the Salicon Saliency Model", 2016, after
Huang et al., "SALICON: Reducing the Semantic Gap in Saliency Prediction by Adapting Deep Neural
Networks", ICCV 2015.
"""

import keras
from keras import layers

from keras_salnet.models.backbones import load_backbone_weights, vgg16_stages
from keras_salnet.models.blocks import check_filters, check_input_shape, saliency_head

_STREAMS = ("fine", "coarse")


def OpenSALICON(
    streams=_STREAMS,
    input_shape=(1200, 1600, 3),
    backbone_weights="imagenet",
    filters=64,
    pixel_scale=1 / 255,
    name="opensalicon",
):
    """Build OpenSALICON (Thomas, 2016; after SALICON, Huang et al., 2015).

    A fine stream sees the image as it comes and a coarse one at half that size, each through a
    VGG16 of its own, up to its last pooling. The coarse features are resized to the fine ones, and
    a 1x1 convolution makes both one map, which is resized to the image.

    The report copies VGG16's weights as they are, though they were trained on pixels 255 times as
    large as what it feeds: most of the last channels then no longer tell images apart until they
    are trained. ``pixel_scale=1`` feeds what the weights expect.

    Args:
        streams: ``("fine", "coarse")``, or one of them alone.
        input_shape: (height, width, 3), even numbers; the report's is 1200 x 1600, that of the
            original SALICON 600 x 800.
        backbone_weights: weights of both encoders: ``"imagenet"`` (downloaded once by Keras), the
            path of a VGG16 weight file without top, or None for random ones.
        filters: width of the first block; 64 in the paper, which pretrained weights need.
        pixel_scale: factor of the pixels minus their means; above 0.
        name: name of the model.

    Returns:
        A functional `keras.Model`: images (B, H, W, 3), RGB, 0…255 → saliency maps (B, H, W, 1),
        float32 in [0, 1].

    Raises:
        ValueError: an argument is out of its range.
        ConnectionError: the ImageNet weights could not be downloaded.
        FileNotFoundError: `backbone_weights` is a path where there is no file.

    Example:
        >>> model = OpenSALICON(input_shape=(96, 128, 3), backbone_weights=None, filters=4)
        >>> model.get_layer("coarse_block5_pool").output.shape
        (None, 2, 2, 32)
    """
    check_input_shape(input_shape, 2)
    check_filters(filters)
    if not 0 < pixel_scale < float("inf"):
        raise ValueError(f"pixel_scale must be a positive number, not {pixel_scale!r}.")
    if isinstance(streams, str) or not streams or set(streams) - set(_STREAMS):
        raise ValueError(f"streams must be some of {', '.join(_STREAMS)}, not {streams!r}.")

    images = keras.Input(tuple(input_shape), name="image")
    features = []
    for stream in _STREAMS:
        if stream in streams:
            x = images
            if stream == "coarse":
                # The mean of 2 x 2 pixels is what bilinear resizing to half the size gives.
                x = layers.AveragePooling2D(2, name="coarse_image")(x)
            x = vgg16_stages(x, filters, prefix=f"{stream}_", pixel_scale=pixel_scale)[-1]
            x = layers.MaxPooling2D(2, padding="same", name=f"{stream}_block5_pool")(x)
            features.append(x)
    if len(features) > 1:
        fine, coarse = features
        coarse = _resize(coarse, fine.shape, "coarse_resizing")
        x = layers.Concatenate(name="concatenate")([fine, coarse])  # (B, H/32, W/32, 16·filters)
    maps = _resize(saliency_head(x), images.shape, "saliency_resizing")

    model = keras.Model(images, maps, name=name)
    if backbone_weights is not None:
        load_backbone_weights(model, backbone_weights)
    return model


def _resize(x, like, name):
    # float32 also under mixed precision: XLA fails on the gradient of resizing halves.
    return layers.Resizing(*like[1:3], interpolation="bilinear", dtype="float32", name=name)(x)
