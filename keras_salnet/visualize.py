"""Draw saliency maps: the public face of `keras_salnet.images.visualize`."""

from keras_salnet.images.visualize import (
    COLORMAPS,
    crisp,
    difference,
    encode_picture,
    heatmap,
    overlay,
    side_by_side,
    to_grey,
    write_picture,
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
