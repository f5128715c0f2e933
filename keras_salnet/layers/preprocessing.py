"""Preprocessing of pixels, as the backbones expect them."""

import keras
from keras import layers, ops

# ImageNet means of the original Caffe models, in BGR order.
_CAFFE_MEANS = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="keras_salnet")
class CaffePreprocessing(layers.Layer):
    """RGB in 0…255 → BGR minus the ImageNet means: what VGG16's weights were trained on.

    A layer and not a step outside, so that a saved or exported model takes plain RGB and the
    channel order cannot be forgotten or applied twice.

    Args:
        scale: factor of the result, above 0.

    Call:
        (B, H, W, 3) RGB, 0…255 → (B, H, W, 3) BGR, about -124…151 times `scale`.

    Raises:
        ValueError: `scale` is not above 0.

    Example:
        >>> import numpy as np
        >>> np.round(np.asarray(CaffePreprocessing()(np.zeros((1, 1, 1, 3), "float32")))).tolist()
        [[[[-104.0, -117.0, -124.0]]]]
    """

    def __init__(self, scale=1, **kwargs):
        super().__init__(**kwargs)
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be a positive number, not {scale!r}.")
        self.scale = scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}

    def call(self, images):
        means = ops.convert_to_tensor(_CAFFE_MEANS, dtype=images.dtype)
        return (ops.flip(images, axis=-1) - means) * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape
