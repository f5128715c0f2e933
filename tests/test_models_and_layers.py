"""One harness for every model and layer: a new one is one more line in CASES."""

import functools
import importlib.util
import inspect
import json

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from keras import ops

from keras_salnet import layers, losses, metrics, models
from keras_salnet.formats import export_savedmodel, export_tflite
from keras_salnet.models import registry

SMALL = {"ratio": 2, "reduction": 2}


class LayerCase:
    """A layer, built with arguments that are not its defaults, on inputs of a shape (H, W, C)."""

    slow = False

    def __init__(self, cls, shape, **arguments):
        self.cls, self.shape, self.arguments = cls, shape, arguments
        self.name = " ".join([cls.__name__, *(f"{k}={v}" for k, v in arguments.items())])

    def layer(self):
        return self.cls(**self.arguments, name="tested")

    def build(self):
        """The layer as a model of its own."""
        images = keras.Input(self.shape, name="image")
        return keras.Model(images, self.layer()(images))

    def inputs(self, batch=3):
        return np.random.default_rng(0).normal(size=(batch, *self.shape)).astype("float32")


class ModelCase:
    """A model by its name, small; as wide as in its paper unless `filters` make it narrow."""

    def __init__(self, model, shape, slow=False, **arguments):
        self.model, self.shape, self.slow, self.arguments = model, shape, slow, arguments
        self.name = " ".join([model, *(f"{k}={v}" for k, v in arguments.items())])

    def build(self):
        return models.create(
            self.model, input_shape=self.shape, backbone_weights=None, **self.arguments
        )

    def inputs(self, batch=3):
        """Whole numbers, so that they are the same as uint8 and as PNG."""
        pixels = np.random.default_rng(0).integers(0, 256, (batch, *self.shape))
        return pixels.astype("float32")


LAYERS = [
    LayerCase(layers.CaffePreprocessing, (5, 6, 3)),
    LayerCase(layers.CaffePreprocessing, (5, 6, 3), scale=0.5),
    LayerCase(layers.ContextAwareFeatureExtraction, (5, 6, 12), filters=4, dilations=(2, 3)),
    LayerCase(layers.SpatialRGA, (5, 6, 12), **SMALL),
    LayerCase(layers.SpatialRGA, (5, 6, 12), **SMALL, use_relation=False),
    LayerCase(layers.ChannelRGA, (5, 6, 12), **SMALL),
    LayerCase(layers.ChannelRGA, (5, 6, 12), **SMALL, use_feature=False),
    LayerCase(layers.RGA, (5, 6, 12), **SMALL, order="sc"),
    LayerCase(layers.RGA, (5, 6, 12), **SMALL, order="parallel", use_feature=False),
    LayerCase(layers.RGA, (5, 6, 12), **SMALL, order="sc", max_nodes=19),
    LayerCase(layers.SelfAttention, (5, 6, 12), ratio=3, value_ratio=1),
    LayerCase(layers.SelfAttention, (5, 6, 12), ratio=2, value_ratio=4),
    LayerCase(layers.NonLocal, (5, 6, 12), ratio=3),
    LayerCase(layers.SqueezeExcitation, (5, 6, 12), ratio=3),
    LayerCase(layers.CBAM, (5, 6, 12), order="sc", ratio=3, kernel_size=4),
    LayerCase(layers.CBAM, (5, 6, 12), order="parallel", ratio=3),
    LayerCase(layers.FullyConnectedAttention, (5, 6, 12), order="sc", ratio=3),
    LayerCase(layers.PFAChannelAttention, (5, 6, 12), ratio=3, penalty=0.5),
    LayerCase(layers.PFASpatialAttention, (5, 6, 12), kernel_size=3),
    LayerCase(layers.RecurrentConv2D, (5, 6, 12), filters=12, kernel_size=5, steps=2),
]
MODELS = [
    ModelCase("mobilerga", (64, 96, 3), filters=8, max_nodes=64),
    ModelCase("opensalicon", (96, 128, 3), filters=4),
    ModelCase(
        "opensalicon", (194, 266, 3), slow=True, filters=4, streams=("coarse",), pixel_scale=1
    ),
    ModelCase("pfa", (32, 48, 3), filters=8),
    ModelCase(
        "pfa", (32, 48, 3), slow=True, filters=4, with_cpfe=False, with_ca=False, with_sa=False
    ),
    ModelCase("pfa", (64, 96, 3), slow=True),
    ModelCase("sarn", (32, 48, 3), filters=8),
    ModelCase("sarn", (32, 48, 3), slow=True, filters=4, steps=0, self_attention=False),
    ModelCase("vggrga", (32, 48, 3), num_rga=0, multi_level_integration=False, filters=8),
    ModelCase("vggrga", (112, 128, 3), num_rga=1, filters=8),
    ModelCase("vggrga", (32, 48, 3), num_rga=2, filters=8, attention="cbam_cs"),
    ModelCase("vggrga", (112, 128, 3), num_rga=3, filters=16, slow=True),
    ModelCase("vggrga", (32, 48, 3), num_rga=5, filters=56, max_nodes=64, slow=True),
    ModelCase("vggrga", (112, 128, 3), num_rga=1, slow=True),
    ModelCase(
        "vggrga", (64, 96, 3), slow=True, num_rga=1, filters=8, max_nodes=64, backbone="mobilenetv2"
    ),
    ModelCase(
        "vggrga", (64, 96, 3), slow=True, num_rga=2, filters=16, max_nodes=64, backbone="resnet50"
    ),
    ModelCase(
        "vggrga",
        (64, 96, 3),
        slow=True,
        num_rga=1,
        filters=8,
        attention="se",
        backbone="efficientnetv2b0",
    ),
    ModelCase("vggssm", (32, 48, 3), filters=8),
    ModelCase("vggssm", (32, 48, 3), slow=True, filters=4, self_attention=False),
]
CASES = LAYERS + MODELS


def each(cases, quick=None):
    """Parametrizes a test. The slow cases are slow, and with `quick` all others but these."""
    params = [
        pytest.param(
            case,
            id=case.name,
            marks=pytest.mark.slow if case.slow or (quick and case not in quick) else (),
        )
        for case in cases
    ]
    return pytest.mark.parametrize("case", params)


# For what takes seconds a model: the first case of each, but of MobileNetV2, with its 53
# convolutions, which takes as long as all others together.
FIRST = list({case.model: case for case in reversed(MODELS) if case.model != "mobilerga"}.values())

each_case, each_layer, each_model = each(CASES), each(LAYERS), each(MODELS)
each_quick_case = each([case for case in CASES if not case.slow])
each_case_and_first_model = each(CASES, LAYERS + FIRST)
each_first_model = each(MODELS, FIRST)


@functools.cache
def trained(case):
    """The case's model as after some training; not to be changed.

    Its weights are not the initial ones, so that a test sees what is lost or swapped, and its
    batch statistics are near those of the inputs, so that no attention saturates.
    """
    keras.utils.set_random_seed(1)
    net = case.build()
    random = np.random.default_rng(1)
    for weight in net.trainable_weights:
        value = weight.numpy()
        weight.assign(value + 0.1 * (value.std() or 1) * random.normal(size=value.shape))
    norms = norms_of(net)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    net(case.inputs(), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.moving_variance.assign(2 * norm.moving_variance)
    return net


def norms_of(net):
    return [x for x in net._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]


def predict(net, case, batch=3):
    return net(case.inputs(batch), training=False).numpy()


def assert_same(ours, wanted, tolerance):
    """Relative to the spread of the wanted values, or to what float32 can tell apart."""
    wanted = np.asarray(wanted, "float64")
    assert wanted.std() > 0
    atol = max(tolerance * np.ptp(wanted), 4 * np.finfo("float32").eps * abs(wanted).max())
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=atol)


# Completeness


def test_every_model_has_a_case():
    assert {case.model for case in MODELS} == set(registry.names())


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


@each_case_and_first_model
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


# Files


FRESH = """
import sys
from pathlib import Path

import keras
import numpy as np

from keras_salnet.models import load_model

folder, backend = Path(sys.argv[1]), keras.backend.backend()
compiled = lambda function: function
if backend == "jax":
    import jax

    jax.config.update("jax_disable_most_optimizations", True)  # compiles 3 times as fast
    compiled = jax.jit
for path in sorted(folder.glob("*.keras")):
    net = load_model(path)
    answer = compiled(lambda x: net(x, training=False))(np.load(path.with_suffix(".npy")))
    np.save(path.with_suffix(f".{backend}.npy"), keras.ops.convert_to_numpy(answer))
"""


@pytest.fixture(scope="module")
def fresh_answers(run_python, tmp_path_factory):
    """Backend → what the cases' models, saved, answer in a fresh process: {case: outputs}."""
    folder = tmp_path_factory.mktemp("saved")
    cases = [case for case in CASES if not case.slow]
    for number, case in enumerate(cases):
        trained(case).save(folder / f"{number}.keras")
        np.save(folder / f"{number}.npy", case.inputs())

    @functools.cache
    def answers(backend):
        run_python(FRESH, folder, backend=backend)
        return {case: np.load(folder / f"{n}.{backend}.npy") for n, case in enumerate(cases)}

    return answers


@each_quick_case
def test_saved_model_in_a_fresh_process(case, fresh_answers):
    assert_same(fresh_answers("tensorflow")[case], predict(trained(case), case), 1e-6)


@each_quick_case
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_saved_model_on_another_backend(case, backend, fresh_answers):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    assert_same(fresh_answers(backend)[case], predict(trained(case), case), 1e-4)


@each_case
def test_saved_model(case, tmp_path):
    net = trained(case)
    net.save(tmp_path / "model.keras")
    loaded = models.load_model(tmp_path / "model.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(net.get_config())
    np.testing.assert_array_equal(predict(loaded, case), predict(net, case))


@each_case
def test_saved_weights(case, tmp_path):
    net, other = trained(case), case.build()
    net.save_weights(tmp_path / "best.weights.h5")
    other.load_weights(tmp_path / "best.weights.h5")
    for ours, theirs in zip(net.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


@each(MODELS, FIRST[:1])  # TFLite files are made of SavedModels, of all models
def test_savedmodel(case, tmp_path):
    net = trained(case)
    export_savedmodel(net, tmp_path / "1")
    signatures = tf.saved_model.load(tmp_path / "1").signatures
    images, wanted = case.inputs(), predict(net, case)
    encoded = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]
    for name, inputs in {
        "serving_default": {"image": tf.constant(images)},
        "predict_uint8": {"image": tf.constant(images, "uint8")},
        "predict_image_bytes": {"image_bytes": tf.constant(encoded)},
    }.items():
        answer = signatures[name](**inputs)
        assert "saliency" in answer
        np.testing.assert_allclose(answer["saliency"], wanted, rtol=0, atol=1e-4, err_msg=name)


@each_case_and_first_model
def test_tflite(case, tmp_path):
    net = trained(case)
    export_tflite(net, tmp_path / "model.tflite")
    code = (tmp_path / "model.tflite").read_bytes()
    operators = schema.ModelT.InitFromObj(schema.Model.GetRootAs(code)).operatorCodes
    assert operators
    assert not [operator.customCode for operator in operators if operator.customCode]

    runner = Interpreter(model_content=code).get_signature_runner("serving_default")
    answers = [runner(image=image[None])["saliency"] for image in case.inputs()]
    assert_same(np.concatenate(answers), predict(net, case), 1e-4)


@each(LAYERS + FIRST)  # the conversion of wide models takes more than 10 GB
def test_onnx(case, tmp_path):
    """Through Keras's own export."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    net = trained(case)
    net.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (inputs,) = session.get_inputs()
    (outputs,) = session.run(None, {inputs.name: case.inputs()})
    assert_same(outputs, predict(net, case), 1e-4)


# Training


@each_first_model
def test_overfits_two_images(case):
    """Each its own blob, which its colours show; plain TensorFlow, for XLA compiles longer."""
    rows, columns = np.indices(case.shape[:2]) / np.reshape(case.shape[:2], (2, 1, 1))
    blobs = [np.exp(-8 * ((rows - at) ** 2 + (columns - at) ** 2)) for at in (0.3, 0.7)]
    density = np.stack(blobs)[..., None].astype("float32")
    images = 0.5 * case.inputs(2) + 127.5 * np.concatenate([density, 1 - density, density], -1)

    keras.utils.set_random_seed(0)
    net = case.build()
    for norm in norms_of(net):
        norm.momentum = 0.9  # MobileNetV2's averages would take thousands of steps to follow
    optimizer, loss = keras.optimizers.Adam(3e-4), losses.SaliencyLoss()
    optimizer.build(net.trainable_weights)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            objective = loss(density, net(images, training=True))
        weights = [weight.value for weight in net.trainable_weights]
        optimizer.apply(tape.gradient(objective, weights))

    for _ in range(20):
        for _ in range(10):
            step()
        maps = net(images, training=False).numpy()
        reached = [
            metrics.correlation_coefficient(ours[..., 0], wanted[..., 0])
            for ours, wanted in zip(maps, density, strict=True)
        ]
        if min(reached) > 0.95:
            return
    pytest.fail(f"after 200 steps, CC is {reached}")
