"""Draw saliency maps, and write the pictures: the public face of `keras_salnet.images`."""

from keras_salnet.images.files import encode_picture, write_picture
from keras_salnet.images.visualize import (
    COLORMAPS,
    crisp,
    difference,
    heatmap,
    overlay,
    side_by_side,
    to_grey,
)

__all__ = [
    "COLORMAPS",
    "crisp",
    "difference",
    "encode_picture",
    "heatmap",
    "overlay",
    "side_by_side",
    "to_grey",
    "write_picture",
]
