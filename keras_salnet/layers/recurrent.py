"""The recurrent convolutional layer and the normalization in it.

Liang & Hu, "Recurrent Convolutional Neural Network for Object Recognition", CVPR 2015.
"""

import keras
import numpy as np
from keras import layers, ops

from keras_salnet.layers.common import check_known, check_positive_integers


def local_response_normalization(features, size, alpha=1e-3, beta=0.75):
    """Divide each channel by what its neighbouring channels hold at the same pixel.

    x_k / (1 + alpha / size · Σ x_j²)^beta, over the channels j from k - size // 2 to k + size // 2
    that there are (Liang & Hu, CVPR 2015, Section 3.1).

    Args:
        features: (B, H, W, C), floating.
        size: number of neighbours, the channel itself among them. Int ≥ 1.
        alpha, beta: ≥ 0.

    Returns:
        The same shape and dtype.

    Example:
        >>> import numpy as np
        >>> features = np.ones((1, 1, 1, 4), "float32")
        >>> np.asarray(local_response_normalization(features, 3, 3.0, 1.0)).ravel().tolist()
        [0.33..., 0.25, 0.25, 0.33...]
    """
    features = ops.convert_to_tensor(features)
    # Squares of 16 bits may overflow.
    exact = ops.cast(features, keras.backend.result_type(features.dtype, "float32"))
    channel = np.arange(features.shape[-1])
    is_near = np.abs(channel[:, None] - channel) <= size // 2  # (C, C)
    # Summed by a product: it is quick, and has a gradient, on every backend.
    sums = ops.matmul(exact * exact, ops.cast(is_near, exact.dtype))
    return ops.cast(exact / (1 + alpha / size * sums) ** beta, features.dtype)


@keras.saving.register_keras_serializable(package="keras_salnet")
class RecurrentConv2D(layers.Layer):
    """Recurrent convolutional layer, RCL (Liang & Hu, CVPR 2015, Section 3.1).

    x(0) = g(relu(W u + b)) and x(t) = g(relu(W u + R x(t-1) + b)) up to t = `steps`, of which all
    share the recurrent kernel R; W u + b is computed once. g is `local_response_normalization` over
    `filters` / 8 + 1 channels, as the paper sets it.

    Args:
        filters: number of output channels F. Int ≥ 1.
        kernel_size: of both kernels, at the same size of output. Int ≥ 1.
        steps: T, int ≥ 0; 0 is a plain convolution, with no recurrent kernel.

    Call:
        u (B, H, W, C), floating → (B, H, W, F), the same dtype, ≥ 0. H and W may vary.

    Raises:
        ValueError: an argument is out of its range, or the number of channels is unknown.

    Example:
        >>> layer = RecurrentConv2D(128)
        >>> layer.build((None, 32, 32, 64))
        >>> sum(weight.numpy().size for weight in layer.trainable_weights)
        221312
    """

    def __init__(self, filters, kernel_size=3, steps=3, **kwargs):
        super().__init__(**kwargs)
        check_positive_integers(filters=filters, kernel_size=kernel_size)
        check_steps(steps)
        self.filters = filters
        self.kernel_size = kernel_size
        self.steps = steps

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "steps": self.steps,
        }

    def build(self, input_shape):
        check_known(self, input_shape)
        self.feed_forward = self._convolution(input_shape, "feed_forward", use_bias=True)
        if self.steps:
            shape = self.compute_output_shape(input_shape)
            self.recurrent = self._convolution(shape, "recurrent", use_bias=False)

    def call(self, inputs):
        fed = self.feed_forward(inputs)
        state = self._activate(fed)
        for _ in range(self.steps):
            state = self._activate(fed + self.recurrent(state))
        return state

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def _activate(self, net_input):
        return local_response_normalization(ops.relu(net_input), self.filters // 8 + 1)

    def _convolution(self, input_shape, name, use_bias):
        layer = layers.Conv2D(
            self.filters,
            self.kernel_size,
            padding="same",
            use_bias=use_bias,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build(input_shape)
        return layer


def check_steps(steps):
    """A ValueError unless it is an int ≥ 0."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps must be an integer of at least 0, not {steps!r}.")
