"""The recurrent convolutional layer against numpy, from the equations of Liang & Hu (2015)."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import correlate

from keras_salnet.layers import RecurrentConv2D
from keras_salnet.layers.recurrent import local_response_normalization


def features(*shape, dtype="float64"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


# Local response normalization


def normalize(x, size, alpha=0.001, beta=0.75):
    """Channel by channel."""
    answer = np.empty_like(x)
    channels = x.shape[-1]
    for k in range(channels):
        first, last = max(0, k - size // 2), min(channels - 1, k + size // 2)
        squares = (x[..., first : last + 1] ** 2).sum(-1)
        answer[..., k] = x[..., k] / (1 + alpha / size * squares) ** beta
    return answer


@pytest.mark.parametrize("size", [1, 2, 3, 5, 30])
def test_normalization_channel_by_channel(size):
    x = features(2, 3, 4, 12)
    wanted = normalize(x, size, 2.0, 0.6)
    assert np.abs(wanted - x).max() > 0.1
    ours = local_response_normalization(x, size, 2.0, 0.6)
    np.testing.assert_allclose(ours, wanted, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_normalization_is_tensorflows(size):
    """Which takes the radius, and alpha of each square."""
    x = 30 * features(2, 3, 4, 16, dtype="float32")
    wanted = tf.nn.local_response_normalization(x, size // 2, 1.0, 1e-3 / size, 0.75)
    np.testing.assert_allclose(local_response_normalization(x, size), wanted, rtol=1e-5)


def test_normalization_of_squares_beyond_float16():
    x = 1000 * features(2, 3, 4, 16, dtype="float16")
    ours = local_response_normalization(x, 3).numpy()
    assert ours.dtype == "float16"
    np.testing.assert_allclose(ours, normalize(x.astype("float64"), 3), rtol=2e-3)


# The layer


def convolve(x, kernel):
    """Of maps (B, H, W, C) with a kernel (h, w, C, F), both sizes odd, padded by zeros."""
    maps = [
        sum(
            correlate(x[..., c], kernel[None, ..., c, f], mode="constant")
            for c in range(kernel.shape[2])
        )
        for f in range(kernel.shape[3])
    ]
    return np.stack(maps, axis=-1)


def build(**arguments):
    """The layer of 9 channels on 4, with random weights, and these by their names."""
    layer = RecurrentConv2D(9, dtype="float64", **arguments)
    layer.build((None, 5, 6, 4))
    random = np.random.default_rng(1)
    weights = {}
    for weight in layer.weights:
        weight.assign(random.normal(size=weight.shape))
        weights[weight.path.split("/", 1)[1]] = weight.numpy()
    return layer, weights


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_layer_step_by_step(steps, kernel_size):
    layer, weights = build(steps=steps, kernel_size=kernel_size)
    u = 10 * features(2, 5, 6, 4)
    fed = convolve(u, weights["feed_forward/kernel"]) + weights["feed_forward/bias"]
    wanted = normalize(np.maximum(fed, 0), 2)  # 9 // 8 + 1
    for _ in range(steps):
        net_input = fed + convolve(wanted, weights["recurrent/kernel"])
        wanted = normalize(np.maximum(net_input, 0), 2)
    np.testing.assert_allclose(layer(u), wanted, rtol=0, atol=1e-10 * wanted.max())


def test_defaults_are_the_papers():
    layer = RecurrentConv2D(8)
    assert (layer.kernel_size, layer.steps) == (3, 3)


def test_all_steps_share_one_kernel():
    shapes = {steps: [w.shape for w in build(steps=steps)[0].weights] for steps in (0, 1, 4)}
    assert shapes[0] == [(3, 3, 4, 9), (9,)]
    assert shapes[1] == shapes[4] == [*shapes[0], (3, 3, 9, 9)]


def test_any_size():
    layer = RecurrentConv2D(8)
    layer.build((None, None, None, 4))
    assert layer.compute_output_shape((None, None, None, 4)) == (None, None, None, 8)
    for size in (5, 7), (4, 3):
        assert layer(features(2, *size, 4, dtype="float32")).shape == (2, *size, 8)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"filters": 0}, "filters must be a positive integer, not 0"),
        ({"filters": 8, "kernel_size": 0}, "kernel_size must be a positive integer, not 0"),
        ({"filters": 8, "steps": -1}, "steps must be an integer of at least 0, not -1"),
        ({"filters": 8, "steps": 1.0}, "steps must be an integer of at least 0, not 1.0"),
        ({"filters": 8, "steps": True}, "steps must be an integer of at least 0, not True"),
    ],
)
def test_bad_arguments(arguments, told):
    with pytest.raises(ValueError, match=told):
        RecurrentConv2D(**arguments)


def test_unknown_channels():
    with pytest.raises(ValueError, match=r"RecurrentConv2D needs inputs .* of known channels"):
        RecurrentConv2D(8).build((None, 4, 4, None))
