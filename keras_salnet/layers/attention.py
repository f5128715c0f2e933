"""The gates that RGA is compared with: squeeze-and-excitation, CBAM, fully connected attention."""

import keras
from keras import layers, ops

from keras_salnet.layers.common import batch_norm, check_known, check_positive_integers, reduced
from keras_salnet.layers.gating import Gate, SpatialChannelGate


class _ReducingGate(Gate):
    """A gate whose hidden layer is `ratio` times as narrow as its input."""

    def __init__(self, ratio, **kwargs):
        super().__init__(**kwargs)
        check_positive_integers(ratio=ratio)
        self.ratio = ratio

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio}

    def _dense(self, inputs, outputs, name, **arguments):
        layer = layers.Dense(outputs, dtype=self.dtype_policy, name=name, **arguments)
        layer.build((None, inputs))
        return layer


@keras.saving.register_keras_serializable(package="keras_salnet")
class SqueezeExcitation(_ReducingGate):
    """Squeeze-and-excitation (Hu et al., CVPR 2018).

    sigmoid(W2 relu(W1 z)) of the channels' means z, without biases, as the paper's equation 3.

    Args:
        ratio: the hidden layer has C / ratio units. Int ≥ 1.

    Call:
        (B, H, W, C), floating → the same shape and dtype, times a vector in [0, 1]. H and W may
        vary.

    Raises:
        ValueError: an unknown number of channels, or fewer than `ratio`.

    Example:
        >>> layer = SqueezeExcitation()
        >>> layer.build((None, 16, 16, 512))
        >>> sum(weight.numpy().size for weight in layer.trainable_weights)
        32768
    """

    def __init__(self, ratio=16, **kwargs):
        super().__init__(ratio, **kwargs)

    def build(self, input_shape):
        check_known(self, input_shape)
        channels = input_shape[-1]
        hidden = reduced(self, channels, "channels", self.ratio)
        self.w1 = self._dense(channels, hidden, "w1", activation="relu", use_bias=False)
        self.w2 = self._dense(hidden, channels, "w2", use_bias=False)

    def attention(self, inputs):
        """The attention in [0, 1]: (B, 1, 1, C)."""
        return ops.sigmoid(self._excite(ops.mean(inputs, axis=(1, 2), keepdims=True)))

    def _excite(self, squeezed):
        return self.w2(self.w1(squeezed))


class _ChannelCBAM(SqueezeExcitation):
    """One excitation of both the means and the maxima of the channels."""

    def attention(self, inputs):
        means = ops.mean(inputs, axis=(1, 2), keepdims=True)
        maxima = ops.max(inputs, axis=(1, 2), keepdims=True)
        return ops.sigmoid(self._excite(means) + self._excite(maxima))  # (B, 1, 1, C)


class _SpatialCBAM(Gate):
    """A convolution of the mean and the maximum over the channels of each pixel."""

    def __init__(self, kernel_size, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(
            1, kernel_size, padding="same", use_bias=False, dtype=self.dtype_policy, name="conv"
        )
        self.bn = batch_norm("bn", self.dtype_policy)

    def build(self, input_shape):
        self.conv.build((*input_shape[:-1], 2))
        self.bn.build((*input_shape[:-1], 1))

    def attention(self, inputs):
        means = ops.mean(inputs, axis=-1, keepdims=True)
        maxima = ops.max(inputs, axis=-1, keepdims=True)
        return ops.sigmoid(
            self.bn(self.conv(ops.concatenate([means, maxima], axis=-1)))
        )  # (B, H, W, 1)


@keras.saving.register_keras_serializable(package="keras_salnet")
class CBAM(SpatialChannelGate):
    """CBAM, convolutional block attention (Woo et al., ECCV 2018).

    Channel: sigmoid(MLP(means) + MLP(maxima)) with one MLP of two layers without biases, as the
    paper's equation 2. Spatial: sigmoid of a convolution over [mean, maximum] of the channels, with
    the batch normalization of the authors' code, which the paper does not mention.

    Args:
        order: ``"s"`` or ``"c"`` alone, ``"cs"`` (the paper's choice) or ``"sc"`` one after the
            other, ``"parallel"``: (x·a_s + x·a_c) / 2.
        ratio: the MLP has C / ratio hidden units. Int ≥ 1.
        kernel_size: of the convolution. Int ≥ 1.

    Call:
        (B, H, W, C), floating → the same shape and dtype. H and W may vary.

    Raises:
        ValueError: an unknown order or number of channels, or fewer channels than `ratio`.

    Example:
        >>> layer = CBAM()
        >>> layer.build((None, 16, 16, 512))
        >>> sum(weight.numpy().size for weight in layer.trainable_weights)
        32868
    """

    def __init__(self, order="cs", ratio=16, kernel_size=7, **kwargs):
        check_positive_integers(ratio=ratio, kernel_size=kernel_size)
        super().__init__(
            order,
            (_SpatialCBAM, {"kernel_size": kernel_size}),
            (_ChannelCBAM, {"ratio": ratio}),
            **kwargs,
        )
        self.ratio = ratio
        self.kernel_size = kernel_size

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio, "kernel_size": self.kernel_size}

    def build(self, input_shape):
        check_known(self, input_shape)
        super().build(input_shape)


class _FullyConnected(_ReducingGate):
    """Embeds the pixels before it pools them: 1x1 convolution, batch normalization, ReLU."""

    def build(self, input_shape):
        check_known(self, input_shape)
        channels = input_shape[-1]
        self.width = reduced(self, channels, "channels", self.ratio)
        self.embedding = self._dense(channels, self.width, "embedding", use_bias=False)
        self.bn = batch_norm("bn", self.dtype_policy)
        self.bn.build((*input_shape[:-1], self.width))

    def _embed(self, inputs):
        return ops.relu(self.bn(self.embedding(inputs)))


class _SpatialFullyConnected(_FullyConnected):
    def build(self, input_shape):
        check_known(self, input_shape, size=True)
        super().build(input_shape)
        pixels = input_shape[1] * input_shape[2]
        hidden = reduced(self, pixels, "pixels", self.ratio)
        self.w1 = self._dense(pixels, hidden, "w1", activation="relu")
        self.w2 = self._dense(hidden, pixels, "w2")

    def attention(self, inputs):
        _, height, width, _ = inputs.shape
        means = ops.mean(self._embed(inputs), axis=-1)  # (B, H, W)
        logits = self.w2(self.w1(ops.reshape(means, (-1, height * width))))  # (B, N)
        return ops.reshape(ops.sigmoid(logits), (-1, height, width, 1))


class _ChannelFullyConnected(_FullyConnected):
    def build(self, input_shape):
        super().build(input_shape)
        self.w = self._dense(self.width, input_shape[-1], "w")

    def attention(self, inputs):
        means = ops.mean(self._embed(inputs), axis=(1, 2), keepdims=True)
        return ops.sigmoid(self.w(means))  # (B, 1, 1, C)


@keras.saving.register_keras_serializable(package="keras_salnet")
class FullyConnectedAttention(SpatialChannelGate):
    """FC-S and FC-C, with which the RGA paper compares (Zhang et al., CVPR 2020, Table 2).

    Attention of global scope without relations: each pixel, or channel, is a unit of its own of
    fully connected layers. The paper takes it from Liu et al., AAAI 2019, and describes it in
    words: the features are embedded by a 1x1 convolution; FC-S has two layers over the pixels'
    means over channels, FC-C one over the channels' means over pixels. The widths are our choice.

    Args:
        order: ``"s"`` or ``"c"`` alone, ``"sc"`` or ``"cs"`` one after the other, ``"parallel"``:
            (x·a_s + x·a_c) / 2, the paper's FC-S//C.
        ratio: divides the width of the embedding, and of the hidden layer over the pixels. Int ≥ 1.

    Call:
        (B, H, W, C), floating → the same shape and dtype. Only with ``"c"`` may H and W vary.

    Raises:
        ValueError: an unknown order, or number of channels or (but for ``"c"``) pixels; fewer of
            them than `ratio`.

    Example:
        >>> import numpy as np
        >>> tuple(FullyConnectedAttention("c")(np.ones((2, 8, 8, 64), "float32")).shape)
        (2, 8, 8, 64)
    """

    def __init__(self, order="parallel", ratio=8, **kwargs):
        arguments = {"ratio": ratio}
        super().__init__(
            order,
            (_SpatialFullyConnected, arguments),
            (_ChannelFullyConnected, arguments),
            **kwargs,
        )
        self.ratio = ratio

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio}
