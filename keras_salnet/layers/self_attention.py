"""Self-attention: every pixel adds a weighted sum over all pixels to itself.

Unlike a gate, it brings information from one place to another. It holds one weight for each pair of
pixels: N² numbers an image.
"""

import keras
from keras import layers, ops

from keras_salnet.layers.common import batch_norm, check_known, check_positive_integers, reduced


def _weighted_sums(query, key, value):
    """softmax(query keyᵀ) value: (B, N, D), (B, N, D), (B, N, E) → (B, N, E).

    The softmax has float32 at least: without a scale, products of 16 bits may overflow.
    """
    exact = keras.backend.result_type(query.dtype, "float32")
    key = ops.transpose(ops.cast(key, exact), (0, 2, 1))
    weights = ops.softmax(ops.matmul(ops.cast(query, exact), key), axis=-1)  # (B, N, N)
    return ops.matmul(ops.cast(weights, value.dtype), value)


class _PixelAttention(layers.Layer):
    """Shared part of both: 1x1 convolutions without bias, over the flattened pixels."""

    def call(self, inputs):
        _, height, width, channels = ops.shape(inputs)
        pixels = ops.reshape(inputs, (-1, height * width, channels))  # (B, N, C)
        return inputs + ops.reshape(self._attended(pixels), (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape

    def _convolution(self, inputs, outputs, name):
        layer = layers.Dense(outputs, use_bias=False, dtype=self.dtype_policy, name=name)
        layer.build((None, None, inputs))
        return layer


@keras.saving.register_keras_serializable(package="keras_salnet")
class SelfAttention(_PixelAttention):
    """Self-attention of SAGAN (Zhang et al., ICML 2019, Section 3).

    x + γ·o with o = softmax(q kᵀ) v over all pixels, where γ is one learnt number that starts at 0:
    a fresh layer changes nothing, and learns γ first. There is no scale within the softmax.

    Args:
        ratio: the query and the key have C / ratio channels. Int ≥ 1.
        value_ratio: the value has C / value_ratio channels, and where that is not C, a further
            convolution brings o back to C: 8 in SAGAN, 1 in its first version and in SARN.

    Call:
        (B, H, W, C), floating → the same shape and dtype. H and W may vary.

    Raises:
        ValueError: an unknown number of channels, or fewer than a ratio.

    Example:
        >>> import numpy as np
        >>> features = np.random.default_rng(0).normal(size=(2, 8, 8, 64)).astype("float32")
        >>> bool(np.all(SelfAttention()(features) == features))
        True
    """

    def __init__(self, ratio=8, value_ratio=8, **kwargs):
        super().__init__(**kwargs)
        check_positive_integers(ratio=ratio, value_ratio=value_ratio)
        self.ratio = ratio
        self.value_ratio = value_ratio

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio, "value_ratio": self.value_ratio}

    def build(self, input_shape):
        check_known(self, input_shape)
        channels = input_shape[-1]
        embedded = reduced(self, channels, "channels", self.ratio)
        values = reduced(self, channels, "channels", self.value_ratio)
        self.query = self._convolution(channels, embedded, "query")
        self.key = self._convolution(channels, embedded, "key")
        self.value = self._convolution(channels, values, "value")
        if values < channels:
            self.expansion = self._convolution(values, channels, "expansion")
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros")

    def _attended(self, pixels):
        sums = _weighted_sums(self.query(pixels), self.key(pixels), self.value(pixels))
        if self.value_ratio > 1:
            sums = self.expansion(sums)
        return self.gamma * sums


@keras.saving.register_keras_serializable(package="keras_salnet")
class NonLocal(_PixelAttention):
    """Non-local block (Wang et al., CVPR 2018, Section 3.3).

    The embedded Gaussian form: x + BN(W softmax(θ φᵀ) g) over all pixels. The scale of the batch
    normalization starts at 0, so that a fresh layer changes nothing. It does not subsample.

    Args:
        ratio: θ, φ and g have C / ratio channels. Int ≥ 1.

    Call:
        (B, H, W, C), floating → the same shape and dtype. H and W may vary.

    Raises:
        ValueError: an unknown number of channels, or fewer than `ratio`.

    Example:
        >>> layer = NonLocal()
        >>> layer.build((None, 16, 16, 512))
        >>> sum(weight.numpy().size for weight in layer.trainable_weights)
        525312
    """

    def __init__(self, ratio=2, **kwargs):
        super().__init__(**kwargs)
        check_positive_integers(ratio=ratio)
        self.ratio = ratio

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio}

    def build(self, input_shape):
        check_known(self, input_shape)
        channels = input_shape[-1]
        embedded = reduced(self, channels, "channels", self.ratio)
        self.theta = self._convolution(channels, embedded, "theta")
        self.phi = self._convolution(channels, embedded, "phi")
        self.g = self._convolution(channels, embedded, "g")
        self.w = self._convolution(embedded, channels, "w")
        self.bn = batch_norm("bn", self.dtype_policy, gamma_initializer="zeros")
        self.bn.build((None, None, channels))

    def _attended(self, pixels):
        sums = _weighted_sums(self.theta(pixels), self.phi(pixels), self.g(pixels))
        return self.bn(self.w(sums))
