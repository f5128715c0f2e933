"""What a backbone wants its pixels to be."""

import keras
from keras import layers, ops

# ImageNet means of the original Caffe models, in BGR order.
_CAFFE_MEANS = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="keras_salnet")
class CaffePreprocessing(layers.Layer):
    """RGB in 0…255 → BGR minus the ImageNet means: what VGG16's weights were trained on.

    A layer and not a step outside, so that a saved or exported model takes plain RGB and the
    channel order cannot be forgotten or applied twice.

    Call:
        (B, H, W, 3) RGB, 0…255 → (B, H, W, 3) BGR, about -124…151.

    Example:
        >>> import numpy as np
        >>> np.round(np.asarray(CaffePreprocessing()(np.zeros((1, 1, 1, 3), "float32")))).tolist()
        [[[[-104.0, -117.0, -124.0]]]]
    """

    def call(self, images):
        means = ops.convert_to_tensor(_CAFFE_MEANS, dtype=images.dtype)
        return ops.flip(images, axis=-1) - means

    def compute_output_shape(self, input_shape):
        return input_shape
