"""Every model and layer: its outputs, gradients, precisions and configuration."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from harness.cases import (
    CONVERTED,
    LAYERS,
    MODELS,
    ModelCase,
    assert_same,
    each_case,
    each_converted_case,
    each_layer,
    each_model,
    predict,
    trained,
)
from keras import ops

from keras_salnet import layers, models
from keras_salnet.models import registry
from keras_salnet.models.backbones import backbone_names


def test_every_model_has_a_case():
    assert {case.model for case in MODELS} == set(registry.names())


def test_every_encoder_is_converted():
    arguments = inspect.signature(models.VGGRGA).parameters
    encoders = {case.arguments.get("backbone", arguments["backbone"].default) for case in CONVERTED}
    # ResNet101 is ResNet50 with more of the same blocks; DenseNet121 has a test of its own.
    assert encoders == set(backbone_names()) - {"resnet101", "densenet121"}


def test_every_layer_has_a_case():
    public = {name: getattr(layers, name) for name in layers.__all__}
    classes = {name for name, value in public.items() if inspect.isclass(value)}
    assert {case.cls.__name__ for case in LAYERS} == classes


# Outputs and gradients


@each_layer
def test_layer_keeps_shape_and_dtype(case):
    for dtype in ("float32", "float64"):
        outputs = case.cls(**case.arguments, dtype=dtype)(case.inputs())
        assert outputs.shape == (3, *case.shape)
        assert outputs.dtype == dtype
    assert case.layer().compute_output_shape((None, *case.shape)) == (None, *case.shape)


@each_model
def test_model_answers_maps(case):
    net = trained(case)
    height, width, _ = case.shape
    assert net.input_shape == (None, height, width, 3)
    assert net.output_shape == (None, height, width, 1)
    maps = net(case.inputs(), training=False)
    assert maps.shape == (3, height, width, 1)
    assert maps.dtype == "float32"
    assert maps.numpy().min() >= 0
    assert maps.numpy().max() <= 1


@each_model
def test_model_takes_bytes(case):
    net = trained(case)
    pixels = case.inputs().astype("uint8")
    np.testing.assert_array_equal(net(pixels, training=False), predict(net, case))


@each_case
def test_gradient_reaches_every_weight(case):
    """In training, from fresh weights; a seed may leave a whole layer's ReLUs dead.

    But for those that start at 0 so that a fresh layer changes nothing: these come to move first.
    """
    dead = None
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        net = case.build()
        for weight in net.trainable_weights:
            if weight.name == "gamma" and not weight.numpy().any():
                weight.assign(ops.ones_like(weight))
        x = case.inputs()
        upstream = np.random.default_rng(seed).normal(size=(3, *net.output_shape[1:]))
        with tf.GradientTape() as tape:
            objective = tf.reduce_sum(net(x, training=True) * upstream)
        weights = {weight.path: weight.value for weight in net.trainable_weights}
        gradients = tape.gradient(objective, weights)
        missing = [path for path, gradient in gradients.items() if gradient is None]
        assert not missing
        assert all(np.isfinite(gradient).all() for gradient in gradients.values())
        zero = {path for path, gradient in gradients.items() if not np.any(gradient)}
        dead = zero if dead is None else dead & zero
        if not dead:
            return
    pytest.fail(f"no gradient in any of 3 seeds: {sorted(dead)}")


@each_case
def test_an_image_does_not_depend_on_its_batch(case):
    net = trained(case)
    alone = net(case.inputs()[1:2], training=False)
    assert_same(alone, predict(net, case)[1:2], 1e-5)


@each_case
def test_float64_is_deterministic_and_no_other_model(case):
    """Built twice from a seed, and beside float32; their own last layers answer in float32."""
    keras.config.set_dtype_policy("float64")
    try:
        nets = []
        for _ in range(2):
            keras.utils.set_random_seed(7)
            nets.append(case.build())
    finally:
        keras.config.set_dtype_policy("float32")
    net, other = nets
    assert "float64" in {layer.compute_dtype for layer in net._flatten_layers()}
    for a, b in zip(net.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(predict(net, case), predict(other, case))
    net.set_weights(trained(case).get_weights())
    assert_same(predict(trained(case), case), predict(net, case), 1e-4)


@each_converted_case
def test_xla_computes_the_same(case):
    net = trained(case)
    x = case.inputs()
    inference = tf.function(lambda x: net(x, training=False), jit_compile=True)
    assert_same(inference(x), net(x, training=False), 1e-4)


@each_case
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_mixed_precision(case, half):
    wanted, weights = predict(trained(case), case), trained(case).get_weights()
    keras.config.set_dtype_policy(f"mixed_{half}")
    try:
        net = case.build()
    finally:
        keras.config.set_dtype_policy("float32")
    net.set_weights(weights)
    outputs = net(case.inputs(), training=False)
    assert outputs.dtype == ("float32" if isinstance(case, ModelCase) else half)
    outputs = outputs.numpy().astype("float64")
    assert np.isfinite(outputs).all()
    assert_same(outputs, wanted, 0.1)
    assert {weight.dtype for weight in net.weights} <= {"float32"}


# Configurations


@each_layer
def test_every_argument_is_an_attribute_and_in_the_config(case):
    layer = case.layer()
    config = layer.get_config()
    parameters = inspect.signature(case.cls.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    del defaults["self"]
    for name, value in {**defaults, **case.arguments}.items():
        assert getattr(layer, name) == value
        assert config[name] == value


@each_case
def test_config_round_trip(case):
    net = trained(case)
    config = json.dumps(net.get_config())
    for copy in (type(net).from_config(json.loads(config)), keras.models.clone_model(net)):
        assert json.dumps(copy.get_config()) == config
        copy.set_weights(net.get_weights())
        np.testing.assert_array_equal(predict(copy, case), predict(net, case))


@each_case
def test_weights_have_different_paths(case):
    """By which they are matched where one model starts from another."""
    paths = [weight.path for weight in trained(case).weights]
    assert len(set(paths)) == len(paths)
