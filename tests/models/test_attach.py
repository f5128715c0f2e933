"""Attention after layers of any network."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_salnet import layers, models
from keras_salnet.models import attach_attention


@pytest.fixture
def network():
    """Two convolutions, a shortcut and a pooling, from a seed without dead units."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(inputs)
    y = keras.layers.Conv2D(16, 3, padding="same", name="second")(x)
    x = keras.layers.Add(name="sum")([x, y])
    outputs = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(4, name="classes")(outputs), name="network")


def images(count=2, size=16):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype("float32")


def test_the_weights_are_those_of_the_backbone(network):
    expected = network(images()).numpy()
    model = attach_attention(network, ["first", "sum"], "none")
    np.testing.assert_array_equal(model(images()).numpy(), expected)
    assert [layer.name for layer in model.layers if layer.name.endswith("_none")] == [
        "first_none",
        "sum_none",
    ]


def test_all_that_follows_a_layer_sees_its_attention(network):
    model = attach_attention(network, ["first"], "rga_sc", ratio=2, reduction=2)
    gate = model.get_layer("first_rga_sc")
    assert gate.ratio == 2
    features = gate(network.get_layer("first")(images()))
    summed = features + network.get_layer("second")(features)
    expected = network.get_layer("classes")(keras.ops.mean(summed, (1, 2)))
    np.testing.assert_allclose(model(images()), expected, rtol=1e-5, atol=1e-5)


def test_it_trains_and_is_saved(network, tmp_path):
    model = attach_attention(network, ["sum"], "cbam_cs", ratio=4)
    model.compile("sgd", "mse")
    before = [weight.numpy() for weight in model.trainable_weights]
    model.fit(images(4), np.ones((4, 4)), verbose=0)
    moved = [np.any(a != b.numpy()) for a, b in zip(before, model.trainable_weights, strict=True)]
    assert all(moved)
    model.save(tmp_path / "model.keras")
    again = models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images()), model(images()), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "ratio", "millions"),
    [((32, 32, 16), 4, 1.3), ((16, 16, 108), 8, 0.05)],
    ids=["ResNet", "DenseNet"],
)
def test_parameters_of_table_7(shape, ratio, millions):
    """What RGA-SC adds to the networks for CIFAR in the RGA paper: 3.0M − 1.7M, 0.85M − 0.8M."""
    layer = layers.RGA("sc", ratio=ratio, reduction=ratio)
    layer.build((None, *shape))
    assert sum(weight.numpy().size for weight in layer.trainable_weights) / 1e6 == pytest.approx(
        millions, rel=0.05
    )


@pytest.mark.slow
def test_parameters_of_resnet50_are_those_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "attention.md").read_text("utf-8")
    page = " ".join(page.split())
    resnet = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(256, 256, 3))
    ends = ["conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"]
    assert f"ends = {json.dumps(ends)}" in page
    plain, pooled, exact = (
        f"{net.count_params() / 1e6:.1f} million"
        for net in (
            resnet,
            attach_attention(resnet, ends, "rga_sc", max_nodes=256),
            attach_attention(resnet, ends, "rga_sc"),
        )
    )
    assert f"ResNet-50 has {plain} parameters without its classifier" in page
    assert f"it has {pooled}, and {exact} where all" in page


def test_what_cannot_be(network):
    with pytest.raises(ValueError, match="network has no layer third; its last ones are"):
        attach_attention(network, ["first", "third"])
    with pytest.raises(ValueError, match="no layer without a name"):
        attach_attention(network, [])
    with pytest.raises(ValueError, match="unknown attention 'rga'; known are: cbam_c"):
        attach_attention(network, ["first"], "rga")
    with pytest.raises(ValueError, match="must be a functional"):
        attach_attention(keras.Sequential([keras.layers.Dense(1, name="first")]), ["first"])
