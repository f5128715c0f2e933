"""PFA's architecture, against the layers of the authors' code, and what its builder refuses."""

import inspect

import keras
import numpy as np
import pytest

from keras_salnet import layers, losses
from keras_salnet.data.augmentation import WARP_SIZE
from keras_salnet.models import PFA
from keras_salnet.training.graph import training_graph

ENCODER = 14_714_688
# By hand: kernels, and two parameters a channel for each batch normalization.
CPFE = 28 * 32 * (256 + 512 + 512) + 3 * 2 * 128
CHANNEL = 384 * 96 + 96 + 96 * 384 + 384
SPATIAL = 2 * (9 * 64 * 32 + 2 * 32 + 9 * 32 + 2)
CONVOLUTIONS = (384 * 64 + 128) + (9 * 64 * 64 + 128) + 2 * (9 * 128 * 64 + 128)
SALIENCY = 9 * 128 + 1
PLAIN = 128 * (256 + 512 + 512) + 3 * 2 * 128  # a 1x1 convolution where CPFE is not


def build(**arguments):
    return PFA(**{"input_shape": (64, 96, 3), "backbone_weights": None, "filters": 8, **arguments})


def count_trainable(net):
    return sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)


def sources(net, name):
    """Names of the layers that feed this one."""
    inputs = net.get_layer(name)._inbound_nodes[0].input_tensors
    return [tensor._keras_history.operation.name for tensor in inputs]


@pytest.mark.parametrize(
    ("switches", "head"),
    [
        ({}, CPFE + CHANNEL + SPATIAL),
        ({"with_cpfe": False}, PLAIN + CHANNEL + SPATIAL),
        ({"with_ca": False}, CPFE + SPATIAL),
        ({"with_sa": False}, CPFE + CHANNEL),
        ({"with_cpfe": False, "with_ca": False, "with_sa": False}, PLAIN),
    ],
)
def test_parameters_of_the_paper(switches, head):
    net = build(filters=64, **switches)
    assert count_trainable(net) == ENCODER + head + CONVOLUTIONS + SALIENCY


def test_features():
    net = build()
    shapes = {
        "high3_cfe": (16, 24, 16),
        "high4_cfe": (8, 12, 16),
        "high5_cfe": (4, 6, 16),
        "high_concatenate": (16, 24, 48),
        "high_attention": (16, 24, 48),
        "high_relu": (16, 24, 8),
        "high_upsampling": (64, 96, 8),
        "low1_relu": (64, 96, 8),
        "low2_relu": (32, 48, 8),
        "low_concatenate": (64, 96, 16),
        "low_attention": (64, 96, 8),
        "concatenate": (64, 96, 16),
        "saliency": (64, 96, 1),
    }
    for name, shape in shapes.items():
        assert net.get_layer(name).output.shape == (None, *shape), name
    for block in (3, 4, 5):
        assert net.get_layer(f"high{block}_cfe").dilations == (3, 5, 7)


def test_features_are_joined_as_in_the_paper():
    net = build()
    for block, last in {3: 3, 4: 3, 5: 3}.items():
        assert sources(net, f"high{block}_cfe") == [f"block{block}_conv{last}"]
    for block in (1, 2):
        assert sources(net, f"low{block}_conv") == [f"block{block}_conv2"]
    high = ["high3_cfe", "high4_upsampling", "high5_upsampling"]
    assert sources(net, "high_concatenate") == high
    assert sources(net, "high_attention") == ["high_concatenate"]
    assert sources(net, "high_conv") == ["high_attention"]
    assert sources(net, "low_concatenate") == ["low1_relu", "low2_upsampling"]
    # The low level is weighed by what the high one says.
    assert sources(net, "low_attention") == ["low_relu", "high_upsampling"]
    assert sources(net, "concatenate") == ["low_attention", "high_upsampling"]
    for layer in net.layers:
        if isinstance(layer, keras.layers.UpSampling2D):
            assert layer.interpolation == "bilinear"


def test_switches_remove_the_attention():
    kinds = (layers.PFAChannelAttention, layers.PFASpatialAttention)
    for with_ca in (False, True):
        for with_sa in (False, True):
            net = build(with_ca=with_ca, with_sa=with_sa)
            found = [any(isinstance(layer, kind) for layer in net.layers) for kind in kinds]
            assert found == [with_ca, with_sa]


def test_without_cpfe_nothing_is_dilated():
    net = build(with_cpfe=False)
    assert all(net.get_layer(f"high{block}_cfe").dilations == () for block in (3, 4, 5))
    assert net.get_layer("high_concatenate").output.shape == (None, 16, 24, 48)


def test_frames_may_vary():
    net = build(input_shape=(None, None, 3), filters=4)
    for size in ((32, 48), (64, 16)):
        assert net(np.zeros((1, *size, 3), "float32")).shape == (1, *size, 1)


def batch():
    random = np.random.default_rng(0)
    return {
        "image": random.uniform(0, 255, (2, 32, 48, 3)).astype("float32"),
        "density": np.float32(random.random((2, 32, 48, 1)) > 0.5),
        "mask": np.ones((2, 32, 48, 1), "float32"),
        "warp": np.zeros((2, WARP_SIZE), "float32"),
    }


@pytest.mark.parametrize("with_ca", [False, True])
def test_the_mean_channel_attention_is_in_the_training_loss(with_ca):
    keras.utils.set_random_seed(0)
    net, data = build(input_shape=(32, 48, 3), filters=4, with_ca=with_ca), batch()
    graph = training_graph(net, augment=False)
    graph.compile(keras.optimizers.SGD(0.1), loss=losses.EdgeHoldLoss(alpha=0.7))
    loss = graph.evaluate(data, batch_size=2, verbose=0)
    maps = net(data["image"], training=False)
    penalty = 0
    if with_ca:
        features = keras.Model(net.input, net.get_layer("high_concatenate").output)
        attend = net.get_layer("high_attention").attention
        penalty = attend(features(data["image"], training=False)).numpy().mean()
        assert penalty > 0.1
    wanted = float(losses.EdgeHoldLoss()(data["density"], maps)) + penalty
    assert loss == pytest.approx(wanted, rel=1e-5)


def test_the_penalty_is_trained_away():
    """Of two equal trainings, that with a penalty ends with less attention."""
    means, data = [], batch()
    for penalty in (0.0, 10.0):
        keras.utils.set_random_seed(0)
        net = build(input_shape=(32, 48, 3), filters=4)
        net.get_layer("high_attention").penalty = penalty
        graph = training_graph(net, augment=False)
        graph.compile(keras.optimizers.SGD(0.1), loss=losses.EdgeHoldLoss(1.0))
        graph.fit(data, batch_size=2, epochs=5, verbose=0)
        bias = net.get_layer("high_attention").w2.bias
        means.append(bias.numpy().mean())
    assert means[1] < means[0] - 0.01


# The builder


def test_defaults_are_the_papers():
    parameters = inspect.signature(PFA).parameters
    assert {name: value.default for name, value in parameters.items()} == {
        "with_cpfe": True,
        "with_ca": True,
        "with_sa": True,
        "input_shape": (256, 256, 3),
        "backbone_weights": "imagenet",
        "filters": 64,
        "name": "pfa",
    }


@pytest.mark.parametrize("filters", [0, 1, 7, -8, 8.0, None])
def test_bad_filters(filters):
    with pytest.raises(ValueError, match="filters must be a positive even integer, not"):
        build(filters=filters)


def test_bad_input_shape():
    with pytest.raises(ValueError, match=r"height must be a multiple of 16.* not 40"):
        build(input_shape=(40, 64, 3))
    with pytest.raises(ValueError, match=r"must be \(height, width, 3\), not"):
        build(input_shape=(64, 64))
