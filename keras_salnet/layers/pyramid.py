"""Features of several receptive fields side by side.

Zhao & Wu, "Pyramid Feature Attention Network for Saliency Detection", CVPR 2019.
"""

import keras
from keras import layers, ops

from keras_salnet.layers.common import batch_norm, check_known, check_positive_integers


@keras.saving.register_keras_serializable(package="keras_salnet")
class ContextAwareFeatureExtraction(layers.Layer):
    """Context-aware feature extraction, CFE, of PFA (Zhao & Wu, CVPR 2019).

    A 1x1 convolution and one 3x3 convolution for each dilation, side by side, without biases; then
    batch normalization and ReLU over all of them together.

    Args:
        filters: of each convolution. Int ≥ 1.
        dilations: of the 3x3 convolutions, ints ≥ 1; empty leaves the 1x1 convolution alone.

    Call:
        (B, H, W, C), floating → (B, H, W, filters·(1 + number of dilations)), ≥ 0. H and W may
        vary.

    Raises:
        ValueError: an argument is not a positive integer; an unknown number of channels.

    Example:
        >>> import numpy as np
        >>> tuple(ContextAwareFeatureExtraction()(np.ones((2, 16, 16, 512), "float32")).shape)
        (2, 16, 16, 128)
    """

    def __init__(self, filters=32, dilations=(3, 5, 7), **kwargs):
        super().__init__(**kwargs)
        check_positive_integers(filters=filters)
        for dilation in dilations:
            check_positive_integers(dilations=dilation)
        self.filters = filters
        self.dilations = tuple(dilations)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "dilations": self.dilations}

    def build(self, input_shape):
        check_known(self, input_shape)
        options = {"padding": "same", "use_bias": False, "dtype": self.dtype_policy}
        self.convs = [layers.Conv2D(self.filters, 1, name="conv0", **options)]
        for number, dilation in enumerate(self.dilations, start=1):
            options["dilation_rate"] = dilation
            self.convs.append(layers.Conv2D(self.filters, 3, name=f"conv{number}", **options))
        for conv in self.convs:
            conv.build(input_shape)
        self.bn = batch_norm("bn", self.dtype_policy)
        self.bn.build(self.compute_output_shape(input_shape))

    def call(self, inputs):
        features = ops.concatenate([conv(inputs) for conv in self.convs], axis=-1)
        return ops.relu(self.bn(features))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters * (1 + len(self.dilations)))
