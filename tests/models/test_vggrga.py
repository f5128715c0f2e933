"""VGGRGA's architecture, against the tables of the paper, and what its builder refuses."""

import inspect

import keras
import numpy as np
import pytest

from keras_salnet import layers, models
from keras_salnet.layers import RGA
from keras_salnet.models import VGGRGA

FRAME = (112, 128)  # the smallest on which RGA has enough pixels; not square
SIDES = {1: FRAME, 2: (56, 64), 3: (28, 32), 4: (14, 16), 5: (7, 8)}
WIDTH = 16  # RGA needs 56 channels, four times as many as this has

# Where an RGA belongs: after the last convolution of its stage, before whatever changes the size.
RGA_AFTER = {
    "block5_rga": "block5_conv3",
    "block4_rga": "block4_conv3",
    "block3_rga": "block3_conv3",
    "decoder5_rga": "decoder5_conv3",
    "decoder4_rga": "decoder4_conv3",
    "decoder3_rga": "decoder3_conv3",
}
RGA_CHANNELS = {  # in units of `filters`
    "block5_rga": 8,
    "block4_rga": 8,
    "block3_rga": 4,
    "decoder5_rga": 8,
    "decoder4_rga": 4,
    "decoder3_rga": 4,
    "block2_rga": 2,
    "decoder2_rga": 1,
    "block1_rga": 1,
    "decoder1_rga": 1,
}
# Convolutions, in units of `filters`: VGG16's, and the decoder's of Section 1 of systems.md.
ENCODER = {1: (1, 1), 2: (2, 2), 3: (4, 4, 4), 4: (8, 8, 8), 5: (8, 8, 8)}
DECODER = {5: (8, 8, 8), 4: (8, 8, 4), 3: (4, 4, 4), 2: (2, 1), 1: (1, 1)}
INTEGRATION = {4: 8, 3: 4, 2: 2}


def build(num_rga=0, multi_level_integration=True, **arguments):
    return VGGRGA(
        num_rga,
        multi_level_integration,
        **{
            "input_shape": (*FRAME, 3),
            "backbone_weights": None,
            "filters": WIDTH,
            **arguments,
        },
    )


def sources(net, name):
    """Names of the layers that feed this one."""
    inputs = net.get_layer(name).input
    inputs = inputs if isinstance(inputs, list) else [inputs]
    return [tensor._keras_history.operation.name for tensor in inputs]


def rga_names(num_rga):
    stages = (5, 4, 3, 2, 1)[:num_rga]
    return [f"{side}{stage}_rga" for side in ("block", "decoder") for stage in stages]


# Attention


@pytest.mark.parametrize("multi_level_integration", [False, True])
@pytest.mark.parametrize("num_rga", [0, 1, 2, 3])
def test_rga_stands_in_the_deepest_stages_of_both_sides(num_rga, multi_level_integration):
    net = build(num_rga, multi_level_integration)
    found = [layer for layer in net.layers if isinstance(layer, RGA)]
    assert sorted(layer.name for layer in found) == sorted(rga_names(num_rga))
    for layer in found:
        assert layer.order == "sc"
        assert (layer.ratio, layer.reduction) == (8, 8)
        assert sources(net, layer.name) == [RGA_AFTER[layer.name]]
        height, width = SIDES[int(layer.name[-5])]
        assert layer.input.shape == (None, height, width, RGA_CHANNELS[layer.name] * WIDTH)


def test_everything_reads_the_features_after_their_rga():
    net = build(3)
    for stage in (3, 4):
        assert sources(net, f"block{stage}_pool") == [f"block{stage}_rga"]
        assert sources(net, f"integration{stage}_conv1") == [f"block{stage}_rga"]
    assert sources(net, "decoder5_conv1") == ["block5_rga"]
    for stage in (3, 4, 5):
        assert sources(net, f"decoder{stage - 1}_upsampling") == [f"decoder{stage}_rga"]


def max_nodes(net):
    return {layer.name: layer.max_nodes for layer in net.layers if isinstance(layer, RGA)}


def test_large_stages_relate_to_pooled_nodes():
    """Those of more than 64 x 64 pixels, which the paper left out."""
    names = [f"{side}{stage}_rga" for side in ("block", "decoder") for stage in range(1, 6)]
    net = build(5, input_shape=(128, 144, 3), filters=56)  # stage 2: 64 x 72
    assert max_nodes(net) == {name: 1024 if name[-5] in "12" else None for name in names}
    assert sources(net, "decoder1_rga") == ["decoder1_conv2"]
    assert sources(net, "saliency") == ["decoder1_rga"]
    net = build(4, filters=56)  # stage 2: 56 x 64
    assert set(max_nodes(net).values()) == {None}


def test_max_nodes_are_those_of_every_rga():
    net = build(2, max_nodes=100)
    assert max_nodes(net) == dict.fromkeys(rga_names(2), 100)


@pytest.mark.parametrize("name", layers.attention_names())
def test_another_attention_takes_the_same_places(name):
    net = build(2, attention=name, filters=16)
    kind = type(layers.create_attention(name))
    places = {layer.name: layer for layer in net.layers if isinstance(layer, kind)}
    end = "rga" if name.startswith("rga") else name
    assert set(places) == {place.replace("rga", end) for place in rga_names(2)}
    for place, layer in places.items():
        assert sources(net, place) == [RGA_AFTER[place.replace(end, "rga")]]
        wanted = layers.create_attention(name, name=place).get_config()
        assert layer.get_config() == wanted
    assert not any(isinstance(layer, RGA) for layer in net.layers) or end == "rga"


# Sizes that vary


def test_any_size():
    """One model, with the weights of models of fixed sizes."""
    net = build(1, input_shape=(None, None, 3), filters=8)
    assert net.output_shape == (None, None, None, 1)
    assert set(max_nodes(net).values()) == {1024}
    for size in ((32, 48), (112, 16)):
        fixed = build(1, input_shape=(*size, 3), filters=8, max_nodes=1024)
        fixed.set_weights(net.get_weights())
        images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
        maps = net(images).numpy()
        assert maps.shape == (2, *size, 1)
        assert maps.std() > 0
        np.testing.assert_allclose(maps, fixed(images), rtol=0, atol=1e-5)
        np.testing.assert_allclose(net.predict(images, verbose=0), maps, rtol=0, atol=1e-5)


def test_one_side_may_vary():
    net = build(1, input_shape=(None, 48, 3), filters=8, attention="cbam_cs")
    assert net.output_shape == (None, None, 48, 1)
    assert net(np.ones((1, 64, 48, 3), "float32")).shape == (1, 64, 48, 1)


def test_attention_that_needs_the_size():
    with pytest.raises(ValueError, match="known height, width and channels"):
        build(1, input_shape=(None, None, 3), filters=8, attention="fc_s")


# Convolutions


def expected_convolutions(multi_level_integration, unit):
    """{name: (height, width, channels)} of every 3x3 convolution; `unit` is the decoder's."""
    expected = {}
    for side, stages, width in (("block", ENCODER, WIDTH), ("decoder", DECODER, unit)):
        for stage, widths in stages.items():
            for number, times in enumerate(widths, 1):
                expected[f"{side}{stage}_conv{number}"] = (*SIDES[stage], times * width)
    if multi_level_integration:
        for stage, times in INTEGRATION.items():
            for number in (1, 2, 3):
                expected[f"integration{stage}_conv{number}"] = (*SIDES[stage], times * unit)
    return expected


@pytest.mark.parametrize("decoder_filters", [None, WIDTH // 2])
@pytest.mark.parametrize("multi_level_integration", [False, True])
def test_convolutions(multi_level_integration, decoder_filters):
    net = build(0, multi_level_integration, decoder_filters=decoder_filters)
    found = [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)]
    assert found.pop().name == "saliency"
    expected = expected_convolutions(multi_level_integration, decoder_filters or WIDTH)
    assert {layer.name: layer.output.shape[1:] for layer in found} == expected
    for layer in found:
        assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 3), (1, 1), "same")
        assert layer.activation is keras.activations.relu
        assert layer.use_bias


def test_saliency_is_a_sigmoid_of_one_1x1_convolution():
    net = build()
    last = net.layers[-1]
    assert sources(net, "saliency") == ["decoder1_conv2"]
    assert (last.filters, last.kernel_size) == (1, (1, 1))
    assert last.activation is keras.activations.sigmoid


def test_integration_joins_the_scales():
    net = build()
    for stage in (2, 3, 4):
        assert sources(net, f"integration{stage}_conv1") == [f"block{stage}_conv{3 - (stage == 2)}"]
        joined = sources(net, f"decoder{stage}_concatenate")
        assert joined == [f"decoder{stage}_upsampling", f"integration{stage}_conv3"]
        assert sources(net, f"decoder{stage}_conv1") == [f"decoder{stage}_concatenate"]
    assert sources(net, "decoder1_conv1") == ["decoder1_upsampling"]


def test_vggm_has_no_skips():
    """The paper's baseline: nothing but VGG16 and the decoder, one after the other."""
    net = build(0, multi_level_integration=False)
    kinds = {type(layer).__name__ for layer in net.layers}
    assert kinds == {"InputLayer", "CaffePreprocessing", "Conv2D", "MaxPooling2D", "UpSampling2D"}
    for before, after in zip(net.layers, net.layers[1:], strict=False):
        assert sources(net, after.name) == [before.name]


# Size


def rga_parameters(height, width, channels):
    """Of RGA-SC with ratios 8, from the widths in systems.md."""

    def branch(nodes, features):
        embedded, related = features // 8, nodes // 8
        hidden = (1 + related) // 8
        kernels = 3 * features * embedded + 2 * nodes * related + (1 + related) * hidden + hidden
        return kernels + 2 * (3 * embedded + related + hidden + 1)

    return branch(height * width, channels) + branch(channels, height * width)


def parameters(num_rga, multi_level_integration, size, filters):
    """Trainable ones, from the paper's tables."""

    def convolutions(before, widths):
        total = 0
        for width in widths:
            total += filters * width * (9 * filters * before + 1)
            before = width
        return total

    count = filters * (9 * 3 + 1) - filters * (9 * filters + 1)  # the first one sees 3 channels
    before = 1
    for widths in ENCODER.values():
        count += convolutions(before, widths)
        before = widths[-1]
    for stage, widths in DECODER.items():
        if multi_level_integration and stage in INTEGRATION:
            count += convolutions(INTEGRATION[stage], 3 * [INTEGRATION[stage]])
            before += INTEGRATION[stage]
        count += convolutions(before, widths)
        before = widths[-1]
    for name in rga_names(num_rga):
        side = size // 2 ** (int(name[-5]) - 1)
        side = 32 if side > 64 else side  # the grid of pooled nodes
        count += rga_parameters(side, side, RGA_CHANNELS[name] * filters)
    return count + filters + 1


def count_trainable(net):
    return sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)


def test_parameters():
    assert rga_parameters(16, 16, 512) == 206_260
    cases = (0, False, 32, 8), (0, True, 32, 8), (3, True, 128, 16)
    for num_rga, integration, size, filters in cases:
        net = build(num_rga, integration, input_shape=(size, size, 3), filters=filters)
        assert count_trainable(net) == parameters(num_rga, integration, size, filters)


@pytest.mark.slow
def test_parameters_of_the_paper():
    net = VGGRGA(backbone_weights=None)
    assert net.input_shape == (None, 256, 256, 3)
    assert count_trainable(net) == parameters(3, True, 256, 64)
    # All that the paper had no memory for costs less than one RGA at 64 x 64.
    assert rga_parameters(64, 64, 256) > parameters(5, True, 256, 64) - parameters(3, True, 256, 64)


@pytest.mark.slow
def test_as_many_rga_as_there_are_stages():
    net = VGGRGA(5, backbone_weights=None)
    assert count_trainable(net) == parameters(5, True, 256, 64)
    images = np.random.default_rng(0).uniform(0, 255, (1, 256, 256, 3)).astype("float32")
    maps = net(images).numpy()
    assert maps.shape == (1, 256, 256, 1)
    assert np.isfinite(maps).all()


def test_defaults_are_the_papers():
    parameters = inspect.signature(VGGRGA).parameters
    assert {name: value.default for name, value in parameters.items()} == {
        "num_rga": 3,
        "multi_level_integration": True,
        "input_shape": (256, 256, 3),
        "backbone_weights": "imagenet",
        "filters": 64,
        "decoder_filters": None,
        "attention": "rga_sc",
        "max_nodes": None,
        "backbone": "vgg16",
        "name": "vggrga",
    }


def test_fresh_model_does_not_saturate():
    """Without pretrained weights, the answer to noise is neither black nor white nor constant."""
    keras.utils.set_random_seed(0)
    net = build(1)
    images = np.random.default_rng(0).uniform(0, 255, (2, *FRAME, 3)).astype("float32")
    maps = net(images, training=True).numpy()
    assert 0.02 < maps.min() < maps.max() < 0.98
    assert maps.std() > 1e-3


# Refusals


@pytest.mark.parametrize("num_rga", [-1, 6, 1.5, "3", None])
def test_bad_num_rga(num_rga):
    with pytest.raises(ValueError, match="num_rga must be one of 0, 1, 2, 3, 4, 5, not"):
        build(num_rga)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((120, 128, 3), "height must be a multiple of 16.*not 120"),
        ((112, 100, 3), "width must be a multiple of 16.*not 100"),
        ((0, 128, 3), "height must be a multiple of 16.*not 0"),
        ((112, -16, 3), "width must be a multiple of 16.*not -16"),
        ((112.0, 128, 3), "height must be a multiple of 16"),
        ((112, 128), r"must be \(height, width, 3\), not \(112, 128\)"),
        ((112, 128, 1), r"must be \(height, width, 3\), not \(112, 128, 1\)"),
    ],
)
def test_bad_input_shape(shape, reason):
    with pytest.raises(ValueError, match=f"input_shape.*{reason}"):
        build(input_shape=shape)


def test_bad_attention():
    with pytest.raises(ValueError, match=r"attention must be one of cbam_c, .*, not 'rga'"):
        build(1, attention="rga")
    with pytest.raises(ValueError, match="max_nodes is for RGA; se has no nodes"):
        build(1, attention="se", max_nodes=64)
    with pytest.raises(ValueError, match="max_nodes must be a positive integer, not 0"):
        build(1, max_nodes=0)


@pytest.mark.parametrize("filters", [0, -64, 8.0, "64", None])
def test_bad_filters(filters):
    with pytest.raises(ValueError, match="filters must be a positive integer, not"):
        build(filters=filters)
    if filters is not None:
        with pytest.raises(ValueError, match="filters must be a positive integer, not"):
            build(decoder_filters=filters)


def test_frame_or_width_too_small_for_rga():
    build(0, input_shape=(96, 128, 3), filters=8)
    with pytest.raises(ValueError, match=r"48 pixels are too few .*at least 56"):
        build(1, input_shape=(96, 128, 3), filters=8)
    with pytest.raises(ValueError, match=r"32 channels are too few .*at least 56"):
        build(3, filters=8)


# By name


def test_create():
    assert "vggrga" in models.names()
    net = models.create(
        "vggrga", num_rga=0, input_shape=(32, 48, 3), backbone_weights=None, filters=8
    )
    assert net.name == "vggrga"
    assert net.output_shape == (None, 32, 48, 1)
    with pytest.raises(ValueError, match=r"unknown model 'VGGRGA'; known are: .*vggrga"):
        models.create("VGGRGA")
