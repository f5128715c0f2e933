"""Pretrained encoders: that every layer gets its weights, and that they see what they expect."""

import socket

import h5py
import keras
import numpy as np
import pytest

from keras_salnet.models import PFA, VGGRGA, OpenSALICON
from keras_salnet.models.backbones import encoder_layers

CONVOLUTIONS = [
    f"block{block}_conv{number}"
    for block, count in enumerate((2, 2, 3, 3, 3), 1)
    for number in range(1, count + 1)
]
SHAPE = (32, 48, 3)


def build(backbone_weights, filters=64):
    return VGGRGA(
        0,
        multi_level_integration=False,
        input_shape=SHAPE,
        backbone_weights=backbone_weights,
        filters=filters,
    )


def vgg16(weights):
    return keras.applications.VGG16(include_top=False, weights=weights)


@pytest.fixture(scope="module")
def original():
    """A VGG16 with random weights and biases."""
    keras.utils.set_random_seed(0)
    net = vgg16(weights=None)
    random = np.random.default_rng(0)
    for name in CONVOLUTIONS:
        net.get_layer(name).bias.assign(random.normal(size=net.get_layer(name).filters))
    return net


@pytest.fixture(scope="module", params=["vgg16_notop.h5", "vgg16_notop.weights.h5"])
def weight_file(request, original, tmp_path_factory):
    """Its weights, as keras.applications distributes them and as Keras 3 writes them."""
    path = tmp_path_factory.mktemp("weights") / request.param
    if request.param.endswith(".weights.h5"):
        original.save_weights(path)
        return path
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in original.layers]
        for layer in original.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{kind}_1:0" for kind in ("W", "b")] if layer.weights else []
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value
    return path


def features_of(model, layer, images):
    output = model.get_layer(layer).output
    return keras.Model(model.input, output)(images, training=False).numpy()


def assert_encoder_is(net, wanted):
    """Weights and features, the latter from the raw image: so preprocessing is right as well."""
    assert len(CONVOLUTIONS) == 13
    for name in CONVOLUTIONS:
        ours, theirs = (x.get_layer(name).get_weights() for x in (net, wanted))
        for kind, a, b in zip(("kernel", "bias"), ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name}/{kind}")

    images = np.random.default_rng(1).uniform(0, 255, (2, *SHAPE)).astype("float32")
    seen = keras.applications.vgg16.preprocess_input(images.copy())
    expected = features_of(wanted, "block5_conv3", seen)
    assert expected.std() > 0
    atol = 1e-5 * np.abs(expected).max()
    ours = features_of(net, "block5_conv3", images)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


def test_every_layer_gets_its_weights(original, weight_file):
    assert_encoder_is(build(weight_file), original)


@pytest.mark.parametrize("pixel_scale", [1, 1 / 255])
def test_both_streams_get_their_weights(original, weight_file, pixel_scale):
    """As they are, whatever the scale of the pixels."""
    shape = (64, 96, 3)  # every pooling of the coarse stream divides it, as VGG16's own need
    net = OpenSALICON(input_shape=shape, backbone_weights=weight_file, pixel_scale=pixel_scale)
    images = np.random.default_rng(1).uniform(0, 255, (2, *shape)).astype("float32")
    halved = images.reshape(2, 32, 2, 48, 2, 3).mean((2, 4))
    for stream, seen in (("fine", images), ("coarse", halved)):
        for name in CONVOLUTIONS:
            ours = net.get_layer(f"{stream}_{name}").get_weights()
            for a, b in zip(ours, original.get_layer(name).get_weights(), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{stream}_{name}")
        seen = keras.applications.vgg16.preprocess_input(seen.copy()) * pixel_scale
        wanted = features_of(original, "block5_conv3", seen)
        features = features_of(net, f"{stream}_block5_conv3", images)
        assert wanted.std() > 0
        np.testing.assert_allclose(features, wanted, rtol=0, atol=1e-5 * wanted.max())


def test_pfa_gets_its_weights(original, weight_file):
    assert_encoder_is(PFA(input_shape=SHAPE, backbone_weights=weight_file), original)


def test_path_may_be_a_string(original, weight_file):
    name = CONVOLUTIONS[-1]
    ours = build(str(weight_file)).get_layer(name).get_weights()
    np.testing.assert_array_equal(ours[0], original.get_layer(name).get_weights()[0])


def test_every_layer_gets_its_imagenet_weights(shared):
    path = shared("weights", "vgg16_imagenet_notop.weights.h5")
    assert_encoder_is(build(path), vgg16(str(path)))


def test_encoder_is_vgg16_in_size():
    encoder = encoder_layers(build(None))
    assert sum(layer.count_params() for layer in encoder) == 14_714_688


@pytest.mark.parametrize("num_rga", [0, 3])
def test_encoder_layers_are_those_that_are_pretrained(num_rga):
    """Neither the decoder nor attention within the encoder, which has no published weights."""
    net = VGGRGA(num_rga, input_shape=(112, 128, 3), backbone_weights=None, filters=16)
    assert [layer.name for layer in encoder_layers(net)] == CONVOLUTIONS
    for layer in encoder_layers(net):
        layer.trainable = False
    trained = {weight.path.split("/")[0] for weight in net.trainable_weights}
    assert not trained & set(CONVOLUTIONS)
    assert any(name.startswith("block") for name in trained) == (num_rga > 0)


def test_encoder_layers_of_both_streams():
    net = OpenSALICON(input_shape=SHAPE, backbone_weights=None, filters=4)
    wanted = {f"{stream}_{name}" for stream in ("fine", "coarse") for name in CONVOLUTIONS}
    assert {layer.name for layer in encoder_layers(net)} == wanted
    for layer in encoder_layers(net):
        layer.trainable = False
    assert {weight.path for weight in net.trainable_weights} == {"saliency/kernel", "saliency/bias"}


# Refusals


def test_narrow_encoder_takes_no_pretrained_weights(tmp_path):
    for weights in ("imagenet", tmp_path / "vgg16.h5"):
        for model in (build, OpenSALICON, PFA):
            with pytest.raises(ValueError, match="fit filters=64 only; pass backbone_weights=None"):
                model(backbone_weights=weights, filters=32)


def test_missing_weight_file(tmp_path):
    for path in (tmp_path / "no.weights.h5", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no file {path}; it takes 'imagenet'"):
            build(path)


def test_wrong_weight_file(tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    empty = tmp_path / "empty.h5"
    h5py.File(empty, "w").close()
    for path in (text, tmp_path / "other.weights.h5", empty):
        with pytest.raises(ValueError, match=f"{path} does not hold VGG16's weights without top"):
            build(path)


def test_blocked_download(monkeypatch, tmp_path):
    """Nothing in the cache and no network: a time-out, and a message that says what to do."""
    timeouts = []

    def blocked(*args, **kwargs):
        timeouts.append(socket.getdefaulttimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", blocked)
    before = socket.getdefaulttimeout()
    with pytest.raises(ConnectionError, match=r"Try again later.*path of a copy of vgg16.*None"):
        build("imagenet")
    assert set(timeouts) == {30}
    assert socket.getdefaulttimeout() == before
