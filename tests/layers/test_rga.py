"""RGA against its direct form, which builds the N x N affinity matrix, and against vectors."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_salnet import losses
from keras_salnet.layers import RGA, ChannelRGA, SpatialRGA
from keras_salnet.models import VGGRGA

ORDERS = ("s", "c", "sc", "cs", "parallel")
SHAPE = (5, 6, 24)  # not square; 30 pixels and 24 channels
WIDTHS = {"ratio": 3, "reduction": 2}
PARTS = [
    pytest.param({"use_relation": True, "use_feature": True}, id="relation+feature"),
    pytest.param({"use_relation": True, "use_feature": False}, id="relation"),
    pytest.param({"use_relation": False, "use_feature": True}, id="feature"),
]
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


# The direct form: Zhang et al., CVPR 2020, Eq. 1-3, with nodes (B, N, D) and named weights


def direct_batch_norm(x, weights, name, training):
    """Over everything but the last axis."""
    axes = list(range(len(x.shape) - 1))
    if training:
        mean = ops.mean(x, axes)
        variance = ops.mean((x - mean) ** 2, axes)
    else:
        mean, variance = weights[f"{name}.bn.mean"], weights[f"{name}.bn.variance"]
    gamma, beta = weights[f"{name}.bn.gamma"], weights[f"{name}.bn.beta"]
    return (x - mean) / ops.sqrt(variance + 1e-5) * gamma + beta


def direct_convolution(x, weights, name, training):
    """1x1 convolution without bias, batch normalization."""
    return direct_batch_norm(ops.matmul(x, weights[f"{name}.kernel"]), weights, name, training)


def direct_logits(nodes, weights, training, averages=None):
    """One attention logit a node, (B, N, 1).

    `averages` (M, N) makes relations to M means of nodes of those to all N.
    """

    def embed(name, x):
        return ops.relu(direct_convolution(x, weights, name, training))

    parts = []
    if "g.kernel" in weights:
        parts.append(ops.mean(embed("g", nodes), axis=-1, keepdims=True))
    if "rel.kernel" in weights:
        affinity = ops.einsum("bpd,bqd->bpq", embed("theta", nodes), embed("phi", nodes))
        relations = [affinity, ops.swapaxes(affinity, 1, 2)]
        if averages is not None:
            relations = [ops.matmul(relation, averages.T) for relation in relations]
        both = ops.concatenate(relations, axis=-1)  # (B, N, 2N)
        parts.append(embed("rel", both))
    hidden = embed("w", ops.concatenate(parts, axis=-1))
    return direct_convolution(hidden, weights, "w2", training)


def direct_spatial(x, weights, training, averages=None):
    _, height, width, channels = x.shape
    pixels = ops.reshape(x, (-1, height * width, channels))
    logits = direct_logits(pixels, weights, training, averages)
    return ops.reshape(ops.sigmoid(logits), (-1, height, width, 1))


def direct_channel(x, weights, training, averages=None):
    _, height, width, channels = x.shape
    planes = ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (-1, channels, height * width))
    if averages is not None:
        planes = ops.matmul(planes, averages.T)
    logits = direct_logits(planes, weights, training)
    return ops.reshape(ops.sigmoid(logits), (-1, 1, 1, channels))


def direct_rga(x, weights, order, training, averages=None):
    def of(branch):
        start = f"{branch}."
        return {key[2:]: value for key, value in weights.items() if key.startswith(start)}

    def spatial(x):
        return x * direct_spatial(x, of("s"), training, averages)

    def channel(x):
        return x * direct_channel(x, of("c"), training, averages)

    return {
        "s": spatial,
        "c": channel,
        "sc": lambda x: channel(spatial(x)),
        "cs": lambda x: spatial(channel(x)),
        "parallel": lambda x: (spatial(x) + channel(x)) / 2,
    }[order](x)


# The layer under the names of the direct form and of the vectors


def weights_by_name(layer):
    """{"s.theta.kernel": variable, "s.theta.bn.gamma": variable, ...}"""
    names = {}
    for weight in layer.weights:
        _, branch, *parts = weight.path.replace("relation_", "rel/").split("/")
        parts = [part.removeprefix("moving_") for part in parts if part != "conv"]
        names[".".join([branch[0], *parts])] = weight
    return names


def build(order="sc", shape=SHAPE, **arguments):
    """A layer with random weights, batch statistics among them."""
    layer = RGA(order, **{**WIDTHS, **arguments}, name="rga")
    layer.build((None, *shape))
    random = np.random.default_rng(0)
    for name, weight in weights_by_name(layer).items():
        value = random.normal(size=weight.shape)
        if name.endswith(("gamma", "variance")):
            value = 0.5 + random.random(weight.shape)
        elif name.endswith("kernel"):
            value /= np.sqrt(len(value))
        weight.assign(value)
    return layer


def inputs(shape=SHAPE, batch=3, dtype="float64"):
    return np.random.default_rng(1).normal(size=(batch, *shape)).astype(dtype)


def assert_close(ours, expected, tolerance, name, floor=0.0):
    """Relative to the largest of the expected values, or to `floor` if that is larger."""
    ours, expected = np.asarray(ours, "float64"), np.asarray(expected, "float64")
    atol = tolerance * max(floor, np.abs(expected).max())
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol, err_msg=name)


# What the layer computes


def averages_over_grid(height, width, grid):
    """(grid², H·W): how much of each cell a pixel is, each cut into grid x grid."""
    pixels = np.eye(height * width).reshape(-1, height, width)
    cut = pixels.repeat(grid, axis=1).repeat(grid, axis=2)
    cells = cut.reshape(-1, grid, height, grid, width).mean((2, 4))
    return cells.reshape(-1, grid * grid).T


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("order", ORDERS)
def test_equals_the_direct_form(order, parts, dtype, training):
    assert_equals_the_direct_form(order, dtype, training, **parts)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("order", ["sc", "parallel"])
@pytest.mark.parametrize("max_nodes", [16, 24, 49])  # 4 x 4 twice, 7 x 7
def test_relates_to_pooled_nodes(order, training, max_nodes):
    averages = averages_over_grid(*SHAPE[:2], {16: 4, 24: 4, 49: 7}[max_nodes])
    assert_equals_the_direct_form(order, "float64", training, averages, max_nodes=max_nodes)


def assert_equals_the_direct_form(order, dtype, training, averages=None, **arguments):
    layer = build(order, dtype=dtype, **arguments)
    variables = weights_by_name(layer)
    x, upstream = inputs(), np.random.default_rng(2).normal(size=(3, *SHAPE))

    weights = {name: tf.constant(value.numpy(), "float64") for name, value in variables.items()}
    with tf.GradientTape() as tape:
        tape.watch([wanted_x := tf.constant(x), weights])
        wanted = direct_rga(wanted_x, weights, order, training, averages)
        objective = tf.reduce_sum(wanted * upstream)
    wanted_x, wanted_weights = tape.gradient(objective, [wanted_x, weights])

    x, upstream = tf.cast(x, dtype), tf.cast(upstream, dtype)
    trainable = {name: value for name, value in variables.items() if value.trainable}
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=training)
        objective = tf.reduce_sum(outputs * upstream)
    gradients = tape.gradient(objective, {"x": x, **{n: v.value for n, v in trainable.items()}})

    assert outputs.dtype == dtype
    assert_close(outputs, wanted, TOLERANCE[dtype], "output")
    assert_close(gradients.pop("x"), wanted_x, TOLERANCE[dtype], "gradient of the input")
    # What comes before a batch normalization has a gradient of almost 0 if it is one number.
    floor = 0.05 * max(np.abs(wanted_weights[name]).max() for name in gradients)
    for name, gradient in gradients.items():
        assert_close(gradient, wanted_weights[name], TOLERANCE[dtype], name, floor)


def test_equals_the_public_implementation(shared):
    vectors = np.load(shared("reference", "rga_vectors.npz"))
    layer = RGA("sc", dtype="float64", name="rga")
    layer.build(vectors["input"].shape)
    variables = weights_by_name(layer)
    assert set(variables) == {name for name in vectors if name[:2] in ("s.", "c.")}
    for name, weight in variables.items():
        weight.assign(vectors[name])

    x = tf.constant(vectors["input"])
    wanted = vectors["output_inference"]
    np.testing.assert_allclose(layer(x, training=False), wanted, rtol=0, atol=1e-9)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
        objective = tf.reduce_sum(outputs**2)
    np.testing.assert_allclose(outputs, vectors["output_training"], rtol=0, atol=1e-9)
    wanted = vectors["input_gradient_of_sum_of_squares_training"]
    np.testing.assert_allclose(tape.gradient(objective, x), wanted, rtol=0, atol=1e-9)


def test_moving_statistics_follow_the_batches():
    layer = build(dtype="float64")
    variables = weights_by_name(layer)
    x = inputs()
    before = variables["s.theta.bn.mean"].numpy()
    nodes = x.reshape(-1, SHAPE[-1]) @ variables["s.theta.kernel"].numpy()
    layer(x, training=True)
    wanted = 0.9 * before + 0.1 * nodes.mean(axis=0)
    np.testing.assert_allclose(variables["s.theta.bn.mean"], wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("cls", "attention_shape"),
    [(SpatialRGA, (3, *SHAPE[:2], 1)), (ChannelRGA, (3, 1, 1, SHAPE[-1]))],
)
def test_attention_is_what_the_input_is_multiplied_by(cls, attention_shape):
    layer = cls(**WIDTHS)
    x = inputs(dtype="float32")
    outputs = layer(x)
    attention = layer.attention(x).numpy()
    assert attention.shape == attention_shape
    assert attention.min() >= 0
    assert attention.max() <= 1
    assert attention.std() > 0.01
    np.testing.assert_allclose(outputs, x * attention, rtol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_a_grid_of_the_frames_own_size_is_the_exact_form(order):
    shape = (6, 6, 24)
    exact, pooled = (build(order, shape, dtype="float64", max_nodes=nodes) for nodes in (None, 48))
    x = inputs(shape)
    np.testing.assert_allclose(pooled(x), exact(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("order", "jit_compile"), [("s", False), ("c", False), ("parallel", False), ("sc", True)]
)
def test_weights_with_max_nodes_fit_any_frame(order, jit_compile):
    layer = build(order, (None, None, 24), max_nodes=20)
    call = tf.function(
        lambda x: layer(x, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 24))],
        jit_compile=jit_compile,
    )
    for shape in ((5, 6, 24), (3, 2, 24), (16, 12, 24)):
        fixed = build(order, shape, max_nodes=20)
        x = inputs(shape, dtype="float32")
        np.testing.assert_allclose(call(x), fixed(x), rtol=0, atol=1e-4)


# How large it is


@pytest.mark.parametrize(
    ("cls", "count"), [(RGA, 206_260), (SpatialRGA, 115_282), (ChannelRGA, 90_978)]
)
def test_has_the_parameters_of_the_paper(cls, count):
    layer = cls()
    layer.build((None, 16, 16, 512))
    assert sum(np.prod(weight.shape) for weight in layer.trainable_weights) == count
    for size in ((64, 48), (None, None)):
        pooled = cls(max_nodes=256)
        pooled.build((None, *size, 512))
        shapes = [weight.shape for weight in pooled.weights]
        assert shapes == [weight.shape for weight in layer.weights]


@pytest.mark.parametrize(
    ("order", "shape", "nodes", "features", "max_nodes"),
    [
        ("s", (32, 32, 16), 1024, 16, None),
        ("s", (32, 32, 16), 1024, 16, 256),
        ("c", (4, 4, 1024), 1024, 16, None),
        ("sc", (32, 32, 256), 1024, 256, None),
        ("sc", (32, 32, 256), 1024, 256, 512),
    ],
)
def test_never_holds_the_affinity_matrix(order, shape, nodes, features, max_nodes):
    """No tensor of a training step is larger than the nodes or what their relations become."""
    batch, ratio = 4, 16
    layer = build(order, shape, ratio=ratio, reduction=8, max_nodes=max_nodes)
    spec = tf.TensorSpec((batch, *shape), "float32")

    @tf.function(input_signature=[spec])
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            objective = tf.reduce_sum(layer(x, training=True) ** 2)
        return tape.gradient(objective, [x, *(weight.value for weight in layer.trainable_weights)])

    graph = step.get_concrete_function().graph
    assert not graph.as_graph_def().library.function  # whose tensors would be missed below
    sizes = {
        tensor.name: tensor.shape.num_elements() or 0
        for operation in graph.get_operations()
        for tensor in operation.outputs
    }
    assert sizes["x:0"] == batch * np.prod(shape)
    largest = max(sizes, key=sizes.get)
    related = (max_nodes or nodes) // ratio
    assert sizes[largest] <= batch * nodes * (1 + max(features, related)), largest


# On JAX

# argv: the file of the inputs and weights, the file to write, the frame of the model
JAX = """
import sys

import jax
import keras
import numpy as np

from keras_salnet.layers import RGA
from keras_salnet.losses import SaliencyLoss
from keras_salnet.models import VGGRGA

jax.config.update("jax_disable_most_optimizations", True)  # compiles 3 times as fast
given, answers = dict(np.load(sys.argv[1])), {}


def answer(name, model, objective):
    trainable = [given[f"{name}/{weight.path}"] for weight in model.trainable_variables]
    rest = [given[f"{name}/{weight.path}"] for weight in model.non_trainable_variables]

    def run(trainable, x):
        outputs, _ = model.stateless_call(trainable, rest, x, training=True)
        return objective(outputs), outputs

    step = jax.jit(jax.grad(run, argnums=(0, 1), has_aux=True))
    (gradients, answers[f"{name}/x"]), answers[f"{name}/outputs"] = step(trainable, given[name])
    for weight, gradient in zip(model.trainable_variables, gradients):
        answers[f"{name}/{weight.path}"] = gradient


for order in ("sc", "parallel"):
    layer = RGA(order, ratio=3, reduction=2, name="rga")
    x = keras.Input(given[order].shape[1:])
    answer(order, keras.Model(x, layer(x)), lambda y: (y * given["upstream"]).sum())

net = VGGRGA(1, input_shape=given["net"].shape[1:], backbone_weights=None, filters=8)
answer("net", net, lambda y: SaliencyLoss()(given["density"], y))
np.savez(sys.argv[2], **answers)
"""


@pytest.mark.slow
def test_jax_computes_the_same(run_python, tmp_path):
    """RGA, and the gradient of VGGRGA's loss: the whole way on another backend."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    random = np.random.default_rng(3)
    upstream = random.normal(size=(3, *SHAPE)).astype("float32")
    input_size = (2, 112, 128, 3)
    density = random.random((*input_size[:3], 1)).astype("float32") ** 8
    net = VGGRGA(1, input_shape=input_size[1:], backbone_weights=None, filters=8)
    given, wanted = {"upstream": upstream, "density": density}, {}

    def answer(name, model, x, objective):
        given[name] = x
        given.update({f"{name}/{weight.path}": weight.numpy() for weight in model.weights})
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x, training=True)
            value = objective(outputs)
        variables = {weight.path: weight.value for weight in model.trainable_weights}
        gradients = tape.gradient(value, {"x": x, **variables})
        wanted[f"{name}/outputs"] = outputs
        wanted.update({f"{name}/{path}": gradient for path, gradient in gradients.items()})

    for order in ("sc", "parallel"):
        layer = build(order)
        answer(order, layer, inputs(dtype="float32"), lambda y: tf.reduce_sum(y * upstream))
    images = random.uniform(0, 255, input_size).astype("float32")
    answer("net", net, images, lambda y: losses.SaliencyLoss()(density, y))

    np.savez(tmp_path / "given.npz", **given)
    run_python(JAX, tmp_path / "given.npz", tmp_path / "answers.npz", backend="jax")
    answers = np.load(tmp_path / "answers.npz")
    assert set(answers) == set(wanted)
    norms = {name: np.linalg.norm(value) for name, value in wanted.items()}
    floor = 0.1 * np.median([norm for name, norm in norms.items() if name.startswith("net/")])
    for name, value in wanted.items():
        if name.endswith("outputs"):  # of a whole network, two dozen convolutions round
            assert_close(answers[name], value, 1e-4 if name == "net/outputs" else 1e-5, name)
        elif not name.startswith("net"):
            assert_close(answers[name], value, 1e-4, name)
        else:  # rounding switches some of a million ReLUs: float64 itself differs by 3 %
            error = np.linalg.norm(answers[name] - value.numpy())
            assert error < 0.1 * max(norms[name], floor), name


# What it refuses


@pytest.mark.parametrize("use_feature", [True, False])
@pytest.mark.parametrize(("ratio", "reduction"), [(8, 8), (3, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("cls", [SpatialRGA, ChannelRGA])
def test_too_few_nodes(cls, ratio, reduction, use_feature):
    """The number in the message is the least that works."""

    def build(nodes):
        layer = cls(ratio, reduction, use_feature=use_feature)
        layer.build((None, 1, nodes, 64) if cls is SpatialRGA else (None, 8, 8, nodes))
        return layer

    least = ratio * max(1, reduction - use_feature)
    build(least)
    if least > 1:
        with pytest.raises(ValueError, match=f"{cls.__name__}.* at least {least} are needed"):
            build(least - 1)


def test_least_nodes_with_the_ratios_of_the_paper():
    for use_feature, few, enough in ((True, (5, 11), (7, 8)), (False, (7, 9), (8, 8))):
        with pytest.raises(ValueError, match=f"{enough[0] * enough[1]} are needed"):
            SpatialRGA(use_feature=use_feature).build((None, *few, 64))
        SpatialRGA(use_feature=use_feature).build((None, *enough, 64))


@pytest.mark.parametrize("cls", [SpatialRGA, ChannelRGA])
def test_too_few_features(cls):
    shape = (None, 8, 8, 7) if cls is SpatialRGA else (None, 1, 7, 64)
    with pytest.raises(ValueError, match=r"7 features .* at least 8"):
        cls().build(shape)


def test_without_relations_any_number_of_nodes_will_do():
    layer = SpatialRGA(use_relation=False)
    assert layer(np.ones((1, 1, 2, 8), "float32")).shape == (1, 1, 2, 8)


@pytest.mark.parametrize("cls", [RGA, SpatialRGA, ChannelRGA])
@pytest.mark.parametrize("shape", [(None, None, 64), (8, None, 64), (8, 8, None)])
def test_unknown_size(cls, shape):
    with pytest.raises(ValueError, match=r"known height, width and channels.*or max_nodes"):
        cls()(keras.Input(shape))


@pytest.mark.parametrize("cls", [RGA, SpatialRGA, ChannelRGA])
@pytest.mark.parametrize("max_nodes", [0, -1, 64.0, "64", True])
def test_bad_max_nodes(cls, max_nodes):
    with pytest.raises(ValueError, match="max_nodes must be a positive integer"):
        cls(max_nodes=max_nodes)


def test_too_small_a_grid():
    with pytest.raises(ValueError, match=r"SpatialRGA: 49 cells of the grid .*at least 56"):
        SpatialRGA(max_nodes=63).build((None, 32, 32, 64))
    SpatialRGA(max_nodes=64).build((None, 32, 32, 64))
    with pytest.raises(ValueError, match=r"ChannelRGA: 4 features .*at least 8"):
        ChannelRGA(max_nodes=8).build((None, 32, 32, 64))
    ChannelRGA(max_nodes=9).build((None, 32, 32, 64))
    with pytest.raises(ValueError, match=r"known height, width and channels"):
        SpatialRGA(max_nodes=64).build((None, 32, 32, None))


def test_not_an_image():
    with pytest.raises(ValueError, match=r"known height, width and channels"):
        SpatialRGA()(np.ones((2, 64, 64), "float32"))


@pytest.mark.parametrize("order", ["", "ss", "SC", "scs", None, 1])
def test_unknown_order(order):
    with pytest.raises(ValueError, match="order must be one of s, c, sc, cs, parallel"):
        RGA(order)


@pytest.mark.parametrize("cls", [RGA, SpatialRGA, ChannelRGA])
@pytest.mark.parametrize("name", ["ratio", "reduction"])
@pytest.mark.parametrize("value", [0, -8, 8.0, "8", None])
def test_bad_ratio(cls, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer"):
        cls(**{name: value})


@pytest.mark.parametrize("cls", [RGA, SpatialRGA, ChannelRGA])
def test_nothing_to_attend_by(cls):
    with pytest.raises(ValueError, match="use_relation and use_feature are both False"):
        cls(use_relation=False, use_feature=False)
