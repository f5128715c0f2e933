"""The two attentions of PFA, which its model computes from one feature to weigh another.

Zhao & Wu, "Pyramid Feature Attention Network for Saliency Detection", CVPR 2019.
"""

import keras
from keras import layers, ops

from keras_salnet.layers.common import batch_norm, check_known, check_positive_integers, reduced
from keras_salnet.layers.gating import Gate


@keras.saving.register_keras_serializable(package="keras_salnet")
class PFAChannelAttention(Gate):
    """Channel-wise attention of PFA (Zhao & Wu, CVPR 2019).

    sigmoid(W2 relu(W1 z)) of the channels' means z, with biases. As in the authors' code, the mean
    attention is added to the loss, so that few channels stay open.

    Args:
        ratio: the hidden layer has C / ratio units. Int ≥ 1.
        penalty: factor of the mean attention in the loss, ≥ 0; 1 in the authors' code.

    Call:
        (B, H, W, C), floating → the same shape and dtype, times a vector in [0, 1]. H and W may
        vary.

    Raises:
        ValueError: an unknown number of channels, or fewer than `ratio`; a negative penalty.

    Example:
        >>> import numpy as np
        >>> layer = PFAChannelAttention()
        >>> attention = layer(np.ones((2, 8, 8, 64), "float32"))
        >>> bool(abs(layer.losses[0] - np.mean(attention)) < 1e-6)
        True
    """

    def __init__(self, ratio=4, penalty=1.0, **kwargs):
        super().__init__(**kwargs)
        check_positive_integers(ratio=ratio)
        if not penalty >= 0:
            raise ValueError(f"penalty must be at least 0, not {penalty!r}.")
        self.ratio = ratio
        self.penalty = penalty

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio, "penalty": self.penalty}

    def build(self, input_shape):
        check_known(self, input_shape)
        channels = input_shape[-1]
        hidden = reduced(self, channels, "channels", self.ratio)
        dtype = self.dtype_policy
        self.w1 = layers.Dense(hidden, activation="relu", dtype=dtype, name="w1")
        self.w2 = layers.Dense(channels, activation="sigmoid", dtype=dtype, name="w2")
        self.w1.build((None, channels))
        self.w2.build((None, hidden))

    def call(self, inputs):
        attention = self.attention(inputs)
        if self.penalty:
            self.add_loss(self.penalty * ops.mean(ops.cast(attention, "float32")))
        return inputs * attention

    def attention(self, inputs):
        """The attention in [0, 1]: (B, 1, 1, C)."""
        return self.w2(self.w1(ops.mean(inputs, axis=(1, 2), keepdims=True)))


@keras.saving.register_keras_serializable(package="keras_salnet")
class PFASpatialAttention(Gate):
    """Spatial attention of PFA (Zhao & Wu, CVPR 2019).

    A large kernel in two pairs of flat ones: 1xk then kx1, and kx1 then 1xk, with C/2 filters in
    the first of a pair and one in the second, batch normalization and ReLU after each. Their sum is
    never negative, so that the attention is within [0.5, 1], as in the authors' code. Its biases
    before the batch normalizations do nothing and are left out.

    Args:
        kernel_size: k. Int ≥ 1.

    Call:
        inputs (B, H, W, C), floating → the same shape and dtype, times a map in [0.5, 1]. The map
        comes from `inputs`, or from `guide`, another feature of the same size, where it is given:
        PFA weighs low-level features by the attention of high-level ones. H and W may vary.

    Raises:
        ValueError: an unknown number of channels, or fewer than 2.

    Example:
        >>> import numpy as np
        >>> low, high = np.ones((2, 8, 8, 16), "float32"), np.ones((2, 8, 8, 64), "float32")
        >>> tuple(PFASpatialAttention()(low, guide=high).shape)
        (2, 8, 8, 16)
    """

    def __init__(self, kernel_size=9, **kwargs):
        super().__init__(**kwargs)
        check_positive_integers(kernel_size=kernel_size)
        self.kernel_size = kernel_size

    def get_config(self):
        return {**super().get_config(), "kernel_size": self.kernel_size}

    def build(self, inputs_shape, guide_shape=None):
        shape = inputs_shape if guide_shape is None else guide_shape
        check_known(self, shape)
        flat, upright = (1, self.kernel_size), (self.kernel_size, 1)
        self.pairs = [
            self._pair(shape, number, sizes)
            for number, sizes in enumerate(((flat, upright), (upright, flat)), start=1)
        ]

    def _pair(self, shape, number, sizes):
        steps = []
        channels = shape[-1]
        filters = reduced(self, channels, "channels", 2), 1
        for step, (size, width) in enumerate(zip(sizes, filters, strict=True), start=1):
            name = f"pair{number}_conv{step}"
            conv = layers.Conv2D(
                width, size, padding="same", use_bias=False, dtype=self.dtype_policy, name=name
            )
            bn = batch_norm(f"{name}_bn", self.dtype_policy)
            conv.build((*shape[:-1], channels))
            bn.build((*shape[:-1], width))
            steps += [conv, bn]
            channels = width
        return steps

    def call(self, inputs, guide=None):
        return inputs * self.attention(inputs if guide is None else guide)

    def attention(self, inputs):
        """The attention in [0.5, 1]: (B, H, W, 1)."""
        logits = 0
        for conv1, bn1, conv2, bn2 in self.pairs:
            hidden = ops.relu(bn1(conv1(inputs)))
            logits += ops.relu(bn2(conv2(hidden)))
        return ops.sigmoid(logits)

    def compute_output_shape(self, inputs_shape, guide_shape=None):
        return inputs_shape
