"""VGGRGA on other encoders: their layers, weights and pixels are those of keras.applications."""

import keras
import numpy as np
import pytest

from keras_salnet.models import VGGRGA, load_model
from keras_salnet.models.backbones import backbone_names, encoder_layers

# keras.applications' own: builder, what prepares its pixels, and its last layer at 1/2 … 1/32.
apps = keras.applications
ENCODERS = {
    "densenet121": (
        apps.DenseNet121,
        apps.densenet.preprocess_input,
        # A transition's pooling comes after its convolution, so that this ends the scale.
        ["conv1_relu", "pool2_conv", "pool3_conv", "pool4_conv", "relu"],
    ),
    "efficientnetv2b0": (
        apps.EfficientNetV2B0,
        apps.efficientnet_v2.preprocess_input,
        [
            "block1a_project_activation",
            "block2b_add",
            "block4a_expand_activation",
            "block6a_expand_activation",
            "top_activation",
        ],
    ),
    "mobilenetv2": (
        apps.MobileNetV2,
        apps.mobilenet_v2.preprocess_input,
        [
            "block_1_expand_relu",
            "block_3_expand_relu",
            "block_6_expand_relu",
            "block_13_expand_relu",
            "out_relu",
        ],
    ),
    "resnet101": (
        apps.ResNet101,
        apps.resnet.preprocess_input,
        [
            "conv1_relu",
            "conv2_block3_out",
            "conv3_block4_out",
            "conv4_block23_out",
            "conv5_block3_out",
        ],
    ),
    "resnet50": (
        apps.ResNet50,
        apps.resnet50.preprocess_input,
        [
            "conv1_relu",
            "conv2_block3_out",
            "conv3_block4_out",
            "conv4_block6_out",
            "conv5_block3_out",
        ],
    ),
}
SHAPE = (64, 96, 3)
each_encoder = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "mobilenetv2" else pytest.mark.slow) for n in ENCODERS],
)


def build(name, weights=None, **arguments):
    arguments = {"num_rga": 0, "filters": 4, "input_shape": SHAPE, **arguments}
    return VGGRGA(backbone=name, backbone_weights=weights, **arguments)


def test_every_encoder_is_tested():
    assert {*ENCODERS, "vgg16"} == {*backbone_names()}


@each_encoder
def test_stages_are_those_of_the_application(name, tmp_path):
    """From its weight file and raw pixels: names, weights, features, and what is preprocessed."""
    application, preprocess, ends = ENCODERS[name]
    keras.utils.set_random_seed(0)
    original = application(include_top=False, weights=None, input_shape=SHAPE)
    random = np.random.default_rng(0)
    for layer in original.layers:  # batch statistics that a swap or a loss would show in
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                value = weight.numpy()
                weight.assign(value + 0.2 * random.random(value.shape))
    file = tmp_path / "notop.weights.h5"
    original.save_weights(file)
    if name == "efficientnetv2b0":  # which keeps its preprocessing to itself
        bare = application(
            include_top=False, weights=None, input_shape=SHAPE, include_preprocessing=False
        )
        bare.set_weights(original.get_weights())
        bare.save_weights(file)
    net = build(name, file)

    images = random.uniform(0, 255, (2, *SHAPE)).astype("float32")
    stages = [f"encoder{stage}_{end}" for stage, end in enumerate(ends, start=1)]
    ours = keras.Model(net.input, [net.get_layer(end).output for end in stages])
    theirs = keras.Model(original.input, [original.get_layer(end).output for end in ends])
    seen = preprocess(images.copy())
    for stage, (a, b) in enumerate(zip(ours(images), theirs(seen), strict=True), start=1):
        assert a.shape[1:3] == (64 >> stage, 96 >> stage)
        assert np.std(b) > 0
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())

    # What the decoder takes: the ends, all of them, and no other layer of that scale.
    takers = ["integration2_conv1", "integration3_conv1", "integration4_conv1", "decoder5_conv1"]
    for taker, end in zip(takers, stages[1:], strict=True):
        assert net.get_layer(taker).input is net.get_layer(end).output, taker

    encoder = encoder_layers(net)
    assert sum(len(layer.weights) for layer in encoder) == len(original.weights)
    firsts = [encoder_layers(net, stages) for stages in range(6)]
    assert firsts[0] == []
    assert firsts[5] == encoder
    assert [len(layers) for layers in firsts] == sorted({len(layers) for layers in firsts})
    net.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert [x.name for x in encoder_layers(loaded, 3)] == [x.name for x in firsts[3]]


def test_later_layers_see_what_is_attended():
    """From there on, features are others than without attention."""
    attended = build("mobilenetv2", num_rga=2, attention="se")
    plain = build("mobilenetv2")
    fits = {layer.name: layer for layer in encoder_layers(plain)}
    for layer in encoder_layers(attended):
        layer.set_weights(fits[layer.name].get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (1, *SHAPE)).astype("float32")

    def features(net, layer):
        return keras.Model(net.input, net.get_layer(layer).output)(images).numpy()

    ends = ENCODERS["mobilenetv2"][2]
    for stage, end in enumerate(ends, start=1):
        name = f"encoder{stage}_{end}"
        ours, theirs = features(attended, name), features(plain, name)
        assert theirs.max() > 0
        same = np.allclose(ours, theirs, atol=1e-4 * theirs.max())
        assert same == (stage <= 4), name
    assert attended.get_layer("block5_se").output.shape[1:3] == (2, 3)
    assert attended.get_layer("decoder4_se").output.shape[1:3] == (4, 6)


def test_frames():
    free = build("mobilenetv2", input_shape=(None, None, 3))
    fixed = build("mobilenetv2")
    fixed.set_weights(free.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (1, *SHAPE)).astype("float32")
    np.testing.assert_allclose(free(images), fixed(images), atol=1e-5)
    assert free(images[:, :32]).shape == (1, 32, 96, 1)
    with pytest.raises(ValueError, match="the height must be a multiple of 32 pixels"):
        build("mobilenetv2", input_shape=(48, 64, 3))


def test_refuses(tmp_path):
    with pytest.raises(ValueError, match=r"backbone must be one of densenet121, .*, not 'vgg19'"):
        build("vgg19")
    with pytest.raises(FileNotFoundError, match="MobileNetV2's weights without top"):
        build("mobilenetv2", tmp_path / "nowhere.h5")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(
        tmp_path / "other.weights.h5"
    )
    with pytest.raises(ValueError, match="does not hold MobileNetV2's weights without top"):
        build("mobilenetv2", tmp_path / "other.weights.h5")
