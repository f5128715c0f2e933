"""Context-aware feature extraction, against numpy."""

import numpy as np
import pytest

from keras_salnet.layers import ContextAwareFeatureExtraction

EPSILON = 1e-5  # of the batch normalization


def convolve(inputs, kernel, dilation):
    """One tap of the kernel after the other; beyond the frame there are zeros."""
    _, height, width, _ = inputs.shape
    reach = dilation * (len(kernel) // 2)
    padded = np.pad(inputs, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    total = 0
    for row, taps in enumerate(kernel):
        for column, tap in enumerate(taps):
            y, x = row * dilation, column * dilation
            total = total + padded[:, y : y + height, x : x + width] @ tap
    return total


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dilations", [(3, 5, 7), (2,), ()])
def test_against_numpy(dilations, training):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(2, 9, 11, 6))
    layer = ContextAwareFeatureExtraction(5, dilations, dtype="float64")
    layer.build(inputs.shape)
    for weight in layer.weights:
        weight.assign(random.uniform(0.5, 1.5, weight.shape) * random.choice([-1, 1], weight.shape))
    layer.bn.moving_variance.assign(np.abs(layer.bn.moving_variance))
    kernels = [conv.kernel.numpy() for conv in layer.convs]
    assert [kernel.shape for kernel in kernels] == [(1, 1, 6, 5)] + len(dilations) * [(3, 3, 6, 5)]

    gamma, beta, mean, variance = (weight.numpy() for weight in layer.bn.weights)
    features = np.concatenate(
        [
            convolve(inputs, kernel, dilation)
            for kernel, dilation in zip(kernels, (1, *dilations), strict=True)
        ],
        axis=-1,
    )
    if training:
        mean, variance = features.mean((0, 1, 2)), features.var((0, 1, 2))
    wanted = np.maximum(gamma * (features - mean) / np.sqrt(variance + EPSILON) + beta, 0)
    assert 0.2 < np.mean(wanted > 0) < 0.8
    np.testing.assert_allclose(layer(inputs, training=training), wanted, rtol=0, atol=1e-9)


def test_parameters():
    layer = ContextAwareFeatureExtraction()
    layer.build((None, None, None, 512))
    trainable = sum(weight.numpy().size for weight in layer.trainable_weights)
    assert trainable == 512 * 32 * (1 + 3 * 9) + 2 * 128
    assert layer.compute_output_shape((None, None, None, 512)) == (None, None, None, 128)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"filters": 0}, "filters must be a positive integer"),
        ({"dilations": (3, 0)}, "dilations must be a positive integer, not 0"),
        ({"dilations": (1.5,)}, "dilations must be a positive integer, not 1.5"),
    ],
)
def test_refuses(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        ContextAwareFeatureExtraction(**arguments)
    with pytest.raises(ValueError, match="known channels"):
        ContextAwareFeatureExtraction().build((None, 8, 8, None))
