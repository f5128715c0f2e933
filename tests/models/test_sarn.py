"""SARN's architecture, against the table of its layers, and what its builder refuses."""

import inspect

import cv2
import keras
import numpy as np
import pytest

from keras_salnet.layers import RecurrentConv2D, SelfAttention
from keras_salnet.models import SARN
from keras_salnet.models.backbones import encoder_layers

FRAME = (32, 48)
WIDTH = 8

# In units of `filters`. (channels in, channels out) of VGG16's 3x3 convolutions but the first.
VGG16 = [(1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 4), (4, 8), *5 * [(8, 8)]]
# Of each decoder stage: channels from below, and of its skip, which are those that it returns.
DECODER = {4: (8, 8), 3: (8, 4), 2: (4, 2)}


def build(steps=3, self_attention=True, **arguments):
    defaults = {"input_shape": (*FRAME, 3), "backbone_weights": None, "filters": WIDTH}
    return SARN(steps, self_attention, **{**defaults, **arguments})


def sources(net, name):
    inputs = net.get_layer(name).input
    inputs = inputs if isinstance(inputs, list) else [inputs]
    return [tensor._keras_history.operation.name for tensor in inputs]


def randomize(net):
    random = np.random.default_rng(0)
    for weight in net.weights:
        weight.assign(weight + random.normal(0, 0.05, weight.shape))


def images():
    return np.random.default_rng(0).uniform(0, 255, (2, *FRAME, 3)).astype("float32")


def parameters(filters, steps, self_attention):
    def kernel(size, before, after):
        return size**2 * filters * before * filters * after

    total = filters * (9 * 3 + 1)
    total += sum(kernel(3, before, after) + filters * after for before, after in VGG16)
    if self_attention:  # query and key C → C/8, value C → C, γ
        total += 2 * kernel(1, 8, 1) + kernel(1, 8, 8) + 1
    for before, width in DECODER.values():
        bias = filters * width
        total += kernel(3, width, width) + bias  # feed-forward
        if steps:
            total += kernel(3, width, width)  # one for all steps
        total += kernel(4, before, width) + bias  # transposed
        total += kernel(3, 2 * width, width) + bias
    return total + 2 * filters + 1


@pytest.mark.parametrize("self_attention", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_parameters(steps, self_attention):
    net = build(steps, self_attention)
    count = sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)
    assert count == parameters(WIDTH, steps, self_attention)


def test_parameters_of_the_paper():
    net = SARN(backbone_weights=None)
    assert net.output_shape == (None, 256, 256, 1)
    assert net.count_params() == parameters(64, 3, True)


def test_attention_stands_on_the_deepest_features():
    net = build()
    (attention,) = [layer for layer in net.layers if isinstance(layer, SelfAttention)]
    assert attention.output.shape == (None, 2, 3, 8 * WIDTH)
    assert {weight.path.split("/")[1]: tuple(weight.shape) for weight in attention.weights} == {
        "query": (8 * WIDTH, WIDTH),
        "key": (8 * WIDTH, WIDTH),
        "value": (8 * WIDTH, 8 * WIDTH),
        "gamma": (),
    }
    assert sources(net, attention.name) == ["block5_conv3"]
    assert sources(net, "decoder4_deconvolution") == [attention.name]


def test_recurrent_layers_read_the_first_convolutions_of_blocks_2_to_4():
    net = build(2)
    recurrent = [layer for layer in net.layers if isinstance(layer, RecurrentConv2D)]
    assert {layer.name for layer in recurrent} == {f"recurrent{stage}" for stage in (2, 3, 4)}
    for layer in recurrent:
        stage = int(layer.name[-1])
        assert sources(net, layer.name) == [f"block{stage}_conv1"]
        assert layer.steps == 2
        height, width = (size // 2 ** (stage - 1) for size in FRAME)
        assert layer.output.shape == (None, height, width, DECODER[stage][1] * WIDTH)


def test_decoder_doubles_joins_and_convolves():
    net = build()
    for stage, (_, width) in DECODER.items():
        name = f"decoder{stage}"
        below = "block5_self_attention" if stage == 4 else f"decoder{stage + 1}_conv"
        assert sources(net, f"{name}_deconvolution") == [below]
        joined = [f"{name}_deconvolution", f"recurrent{stage}"]
        assert sources(net, f"{name}_concatenate") == joined
        assert sources(net, f"{name}_conv") == [f"{name}_concatenate"]
        doubling = net.get_layer(f"{name}_deconvolution")
        assert isinstance(doubling, keras.layers.Conv2DTranspose)
        assert doubling.strides == (2, 2)
        size = tuple(side // 2 ** (stage - 1) for side in FRAME)
        assert doubling.output.shape == (None, *size, width * WIDTH)
        assert doubling.activation is keras.activations.relu
    assert sources(net, "saliency") == ["decoder2_conv"]


def test_map_of_half_the_size_is_enlarged():
    """Bilinearly, as OpenCV does it."""
    net = build()
    randomize(net)
    half = keras.Model(net.input, net.get_layer("saliency").output)(images()).numpy()
    assert half.shape == (2, 16, 24, 1)
    assert half.std() > 0
    maps = net(images()).numpy()
    for small, large in zip(half, maps, strict=True):
        wanted = cv2.resize(small, FRAME[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(large[..., 0], wanted, atol=1e-6)


def test_attention_can_be_left_out():
    net, plain = build(), build(self_attention=False)
    names = {layer.name for layer in net.layers} - {layer.name for layer in plain.layers}
    assert names == {"block5_self_attention"}
    assert sources(plain, "decoder4_deconvolution") == ["block5_conv3"]
    randomize(net)
    for layer in plain.layers:
        layer.set_weights(net.get_layer(layer.name).get_weights())
    gamma = net.get_layer("block5_self_attention").gamma
    gamma.assign(0.0)
    np.testing.assert_array_equal(net(images()), plain(images()))
    gamma.assign(1.0)
    assert np.abs(net(images()) - plain(images())).max() > 1e-4


def test_steps_share_their_weights_and_do_something():
    nets = {steps: build(steps) for steps in (0, 1, 2)}
    randomize(nets[2])
    nets[1].set_weights(nets[2].get_weights())
    assert np.abs(nets[2](images()) - nets[1](images())).max() > 1e-5
    paths = {steps: {weight.path for weight in net.weights} for steps, net in nets.items()}
    assert paths[1] == paths[2]
    removed = {f"recurrent{stage}/recurrent/kernel" for stage in (2, 3, 4)}
    assert paths[1] - paths[0] == removed
    assert paths[0] < paths[1]


def test_encoder_is_found():
    assert len(encoder_layers(build())) == 13


def test_any_size():
    net, fixed = build(input_shape=(None, None, 3)), build()
    randomize(fixed)
    net.set_weights(fixed.get_weights())
    np.testing.assert_allclose(net(images()), fixed(images()), atol=1e-5)
    assert net(images()[:, :16]).shape == (2, 16, 48, 1)


def test_fresh_model_does_not_saturate():
    """Without pretrained weights, the answer to noise is neither black nor white nor constant."""
    keras.utils.set_random_seed(0)
    maps = build()(images()).numpy()
    assert 0.02 < maps.min() < maps.max() < 0.98
    assert maps.std() > 1e-3


def test_defaults_are_the_papers():
    defaults = {p.name: p.default for p in inspect.signature(SARN).parameters.values()}
    assert defaults == {
        "steps": 3,
        "self_attention": True,
        "input_shape": (256, 256, 3),
        "backbone_weights": "imagenet",
        "filters": 64,
        "name": "sarn",
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"input_shape": (32, 40, 3)}, "width must be a multiple of 16.*not 40"),
        ({"steps": -1}, "steps must be an integer of at least 0, not -1"),
        ({"steps": "3"}, "steps must be an integer of at least 0, not '3'"),
        ({"filters": 0}, "filters must be a positive integer, not 0"),
        ({"backbone_weights": "imagenet"}, "fit filters=64 only"),
    ],
)
def test_bad_arguments(arguments, told):
    with pytest.raises(ValueError, match=told):
        build(**arguments)
