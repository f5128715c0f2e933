"""VGGSSM's architecture, against the table of its layers, and what its builder refuses."""

import inspect

import keras
import numpy as np
import pytest

from keras_salnet import models
from keras_salnet.layers import SelfAttention
from keras_salnet.models import VGGRGA, VGGSSM
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.models.loading import initialize_from

FRAME = (32, 48)
WIDTH = 8

# (channels in, channels out), in units of `filters`, of every 3x3 convolution but the first; those
# of the decoder that read a skip read its channels too.
VGG16 = [(1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 4), (4, 8), *5 * [(8, 8)]]
INTEGRATION = [*3 * [(2, 2)], *3 * [(4, 4)], *3 * [(8, 8)]]
DECODER = [
    *((8, 8), (8, 8), (8, 8)),
    *((8 + 8, 8), (8, 8), (8, 4)),
    *((4 + 4, 4), (4, 4), (4, 4)),
    *((4 + 2, 2), (2, 1)),
    *((1, 1), (1, 1)),
]


def build(self_attention=True, **arguments):
    defaults = {"input_shape": (*FRAME, 3), "backbone_weights": None, "filters": WIDTH}
    return VGGSSM(self_attention, **{**defaults, **arguments})


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


def parameters(filters, self_attention=True):
    count = filters * (9 * 3 + 1)
    for before, width in VGG16 + INTEGRATION + DECODER:
        count += filters * width * (9 * filters * before + 1)
    if self_attention:  # query, key and value 512 → 64, the expansion back, γ
        count += 4 * 8 * filters * filters + 1
    return count + filters + 1


def count(net):
    return sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)


@pytest.mark.parametrize("self_attention", [True, False])
def test_parameters(self_attention):
    assert count(build(self_attention)) == parameters(WIDTH, self_attention)


def test_parameters_of_the_paper():
    net = VGGSSM(backbone_weights=None)
    assert net.input_shape == (None, 256, 256, 3)
    assert count(net) == parameters(64)
    attention = net.get_layer("block5_self_attention")
    assert {weight.path.split("/")[1]: tuple(weight.shape) for weight in attention.weights} == {
        "query": (512, 64),
        "key": (512, 64),
        "value": (512, 64),
        "expansion": (64, 512),
        "gamma": (),
    }


def test_attention_stands_between_encoder_and_decoder():
    net = build()
    (attention,) = [layer for layer in net.layers if isinstance(layer, SelfAttention)]
    assert (attention.ratio, attention.value_ratio) == (8, 8)
    assert attention.output.shape == (None, 2, 3, 8 * WIDTH)
    assert sources(net, attention.name) == ["block5_conv3"]
    assert sources(net, "decoder5_conv1") == [attention.name]


def test_everything_else_is_vggrga_without_attention():
    """The skips at 2, 3 and 4 among it."""
    net, other = build(), VGGRGA(0, input_shape=(*FRAME, 3), backbone_weights=None, filters=WIDTH)
    ours = {layer.name: layer.output.shape for layer in net.layers}
    assert ours.pop("block5_self_attention")
    assert ours == {layer.name: layer.output.shape for layer in other.layers}
    skips = [name for name in ours if name.endswith("_concatenate")]
    assert skips == [f"decoder{stage}_concatenate" for stage in (4, 3, 2)]
    for name in skips:
        assert sources(net, name) == sources(other, name)


def test_starts_from_vggrgas_weights(tmp_path):
    other = VGGRGA(0, input_shape=(*FRAME, 3), backbone_weights=None, filters=WIDTH)
    randomize(other)
    other.save(tmp_path / "vggrga.keras")
    net = build()
    unfilled = initialize_from(net, tmp_path / "vggrga.keras")
    assert {path.split("/")[0] for path in unfilled} == {"block5_self_attention"}
    np.testing.assert_array_equal(net(images()), other(images()))  # γ is 0


def test_attention_adds_to_the_deepest_features():
    net, plain = build(), build(self_attention=False)
    names = {layer.name for layer in net.layers} - {layer.name for layer in plain.layers}
    assert names == {"block5_self_attention"}
    randomize(net)
    attention = net.get_layer("block5_self_attention")
    for layer in plain.layers:
        layer.set_weights(net.get_layer(layer.name).get_weights())
    wanted = plain(images()).numpy()
    attention.gamma.assign(0.0)
    np.testing.assert_array_equal(net(images()), wanted)
    attention.gamma.assign(1.0)
    attended = net(images()).numpy()
    assert np.ptp(attended - wanted) > 1e-3 * np.ptp(wanted)
    attention.value.kernel.assign(-attention.value.kernel)
    assert np.ptp(net(images()).numpy() - attended) > 1e-3 * np.ptp(wanted), "values are used"


def test_encoder_can_be_frozen():
    net = build()
    encoder = encoder_layers(net)
    names = [f"block{b}_conv{c}" for b in range(1, 6) for c in range(1, 3 + (b > 2))]
    assert [layer.name for layer in encoder] == names
    for layer in encoder:
        layer.trainable = False
    trained = {weight.path.split("/")[0] for weight in net.trainable_weights}
    assert "block5_self_attention" in trained
    assert not trained & set(names)


def test_any_size():
    net = build(input_shape=(None, None, 3))
    fixed = build()
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
    defaults = {p.name: p.default for p in inspect.signature(VGGSSM).parameters.values()}
    assert defaults == {
        "self_attention": True,
        "input_shape": (256, 256, 3),
        "backbone_weights": "imagenet",
        "filters": 64,
        "name": "vggssm",
    }
    assert build().name == "vggssm"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"input_shape": (40, 48, 3)}, "height must be a multiple of 16.*not 40"),
        ({"input_shape": (32, 48)}, r"must be \(height, width, 3\)"),
        ({"filters": 0}, "filters must be a positive integer, not 0"),
        ({"backbone_weights": "imagenet"}, "fit filters=64 only"),
    ],
)
def test_bad_arguments(arguments, told):
    with pytest.raises(ValueError, match=told):
        build(**arguments)


def test_argument_of_another_model():
    with pytest.raises(ValueError, match="vggssm has no num_rga; it has: self_attention"):
        models.create("vggssm", num_rga=1)
