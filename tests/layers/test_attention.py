"""The attention layers against numpy, written from the equations of their papers."""

import importlib.util
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import correlate
from scipy.special import expit

from keras_salnet import layers, models

SHAPE = (5, 6, 12)
NAMES = [
    *("cbam_c", "cbam_cs", "cbam_s", "fc_c", "fc_parallel", "fc_s", "non_local", "none"),
    *("pfa_c", "pfa_s", "rga_c", "rga_cs", "rga_parallel", "rga_s", "rga_sc"),
    *("se", "self_attention"),
]
FIXED_SIZE = {"fc_s", "fc_parallel"}  # but for RGA, which has max_nodes
GATES = [name for name in NAMES if name not in ("non_local", "none", "self_attention")]
ORDERS = ["s", "c", "sc", "cs", "parallel"]
training_or_not = pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])


def inputs(shape=SHAPE, batch=3, dtype="float64"):
    return np.random.default_rng(1).normal(size=(batch, *shape)).astype(dtype)


def build(layer, shape=SHAPE):
    """The layer with random weights, batch statistics among them, and those by their names."""
    if not layer.built:
        layer.build((None, *shape))
    random = np.random.default_rng(0)
    weights = {}
    for weight in layer.weights:
        value = random.normal(size=weight.shape)
        if weight.name.endswith(("gamma", "variance")):
            value = 0.5 + random.random(weight.shape)
        weight.assign(value / np.sqrt(np.prod(weight.shape[:-1])))
        weights[weight.path.removeprefix(f"{layer.name}/")] = weight.numpy()
    return layer, weights


def create(name, **arguments):
    """A layer that is not dead on 64 channels, as a single hidden unit of RGA may be."""
    options = {"reduction": 2} if name.startswith("rga") else {}
    return layers.create_attention(name, **options, **arguments)


def assert_computes(layer, wanted, training=False):
    x = inputs()
    before = [weight.numpy() for weight in layer.weights]
    outputs = layer(x, training=training).numpy()
    assert np.abs(wanted - x).max() > 0.01
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-10)
    statistics_moved = any(
        not np.array_equal(weight.numpy(), value)
        for weight, value in zip(layer.weights, before, strict=True)
    )
    assert statistics_moved == (training and any("moving" in w.path for w in layer.weights))


def relu(x):
    return np.maximum(x, 0)


def batch_norm(x, weights, name, training):
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes) if training else weights[f"{name}/moving_mean"]
    variance = x.var(axes) if training else weights[f"{name}/moving_variance"]
    normal = (x - mean) / np.sqrt(variance + 1e-5)
    return normal * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


def convolve(x, kernel):
    """Of maps (B, H, W, C) with a kernel (h, w, C, F), both sizes odd, padded by zeros."""
    return np.stack(
        [
            sum(
                correlate(x[..., c], kernel[None, ..., c, f], mode="constant")
                for c in range(kernel.shape[2])
            )
            for f in range(kernel.shape[3])
        ],
        axis=-1,
    )


# Self-attention


def attend_pixel_by_pixel(x, query, key, value):
    """Σ_j softmax_j(q_i · k_j) v_j, one pixel after the other."""
    batch, height, width, _ = x.shape
    sums = np.zeros((batch, height, width, value.shape[1]))
    for image, answer in zip(x, sums, strict=True):
        pixels = image.reshape(-1, image.shape[-1])
        for i, pixel in enumerate(pixels):
            scores = np.array([(pixel @ query) @ (other @ key) for other in pixels])
            shares = np.exp(scores) / np.exp(scores).sum()
            mean = sum(share * (other @ value) for share, other in zip(shares, pixels, strict=True))
            answer[i // width, i % width] = mean
    return sums


@pytest.mark.parametrize("value_ratio", [1, 4])
def test_self_attention(value_ratio):
    layer = layers.SelfAttention(ratio=2, value_ratio=value_ratio, dtype="float64")
    layer, weights = build(layer)
    x = inputs()
    kernels = [weights[f"{name}/kernel"] for name in ("query", "key", "value")]
    assert [kernel.shape[1] for kernel in kernels] == [6, 6, 12 // value_ratio]
    sums = attend_pixel_by_pixel(x, *kernels)
    if value_ratio > 1:
        sums = sums @ weights["expansion/kernel"]
    assert_computes(layer, x + weights["gamma"] * sums)


@training_or_not
def test_non_local(training):
    layer, weights = build(layers.NonLocal(ratio=3, dtype="float64"))
    x = inputs()
    sums = attend_pixel_by_pixel(x, *(weights[f"{name}/kernel"] for name in ("theta", "phi", "g")))
    wanted = x + batch_norm(sums @ weights["w/kernel"], weights, "bn", training)
    assert_computes(layer, wanted, training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cls", [layers.SelfAttention, layers.NonLocal])
def test_fresh_self_attention_changes_nothing_and_learns_gamma_first(cls, training):
    layer, x = cls(2), tf.constant(inputs())
    with tf.GradientTape() as tape:
        outputs = layer(x, training=training)
        objective = tf.reduce_sum(outputs**2)
    np.testing.assert_array_equal(outputs, tf.cast(x, "float32"))
    weights = {weight.path: weight.value for weight in layer.trainable_weights}
    gradients = tape.gradient(objective, weights)
    moving = {path.split("/")[-1] for path, value in gradients.items() if np.any(value)}
    assert moving == ({"gamma", "beta"} if cls is layers.NonLocal else {"gamma"})


@pytest.mark.parametrize("cls", [layers.SelfAttention, layers.NonLocal])
def test_softmax_does_not_overflow_in_float16(cls):
    layer = cls(dtype="mixed_float16")
    layer.build((None, 4, 4, 64))
    for weight in layer.trainable_weights:
        weight.assign(np.ones(weight.shape))
    x = inputs((4, 4, 64), dtype="float16") + 20
    outputs = layer(x).numpy()
    assert outputs.dtype == "float16"
    assert np.isfinite(outputs).all()


# Squeeze-and-excitation and CBAM


def test_squeeze_excitation():
    layer, weights = build(layers.SqueezeExcitation(ratio=3, dtype="float64"))
    x = inputs()
    hidden = relu(x.mean((1, 2)) @ weights["w1/kernel"])
    assert hidden.shape == (3, 4)
    gate = expit(hidden @ weights["w2/kernel"])
    assert_computes(layer, x * gate[:, None, None, :])


def combine(order, spatial, channel, x):
    """What the gates of an order make of x."""
    if order == "parallel":
        return (spatial(x) + channel(x)) / 2
    for letter in order:
        x = spatial(x) if letter == "s" else channel(x)
    return x


@training_or_not
@pytest.mark.parametrize("order", ORDERS)
def test_cbam(order, training):
    layer, weights = build(layers.CBAM(order, ratio=3, kernel_size=3, dtype="float64"))

    def channel(x):
        def mlp(vectors):
            return relu(vectors @ weights["channel/w1/kernel"]) @ weights["channel/w2/kernel"]

        gate = expit(mlp(x.mean((1, 2))) + mlp(x.max((1, 2))))
        return x * gate[:, None, None, :]

    def spatial(x):
        maps = np.stack([x.mean(-1), x.max(-1)], axis=-1)
        logits = convolve(maps, weights["spatial/conv/kernel"])
        return x * expit(batch_norm(logits, weights, "spatial/bn", training))

    assert_computes(layer, combine(order, spatial, channel, inputs()), training)


# Fully connected


@training_or_not
@pytest.mark.parametrize("order", ORDERS)
def test_fully_connected(order, training):
    layer, weights = build(layers.FullyConnectedAttention(order, ratio=3, dtype="float64"))

    def embed(x, gate):
        return relu(
            batch_norm(x @ weights[f"{gate}/embedding/kernel"], weights, f"{gate}/bn", training)
        )

    def dense(x, name):
        return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    def spatial(x):
        pixels = embed(x, "spatial").mean(-1).reshape(3, 30)
        logits = dense(relu(dense(pixels, "spatial/w1")), "spatial/w2")
        return x * expit(logits).reshape(3, 5, 6, 1)

    def channel(x):
        means = embed(x, "channel").mean((1, 2))
        return x * expit(dense(means, "channel/w"))[:, None, None, :]

    assert_computes(layer, combine(order, spatial, channel, inputs()), training)


# PFA


def test_pfa_channel():
    layer, weights = build(layers.PFAChannelAttention(ratio=3, penalty=0.5, dtype="float64"))
    x = inputs()
    hidden = relu(x.mean((1, 2)) @ weights["w1/kernel"] + weights["w1/bias"])
    assert hidden.shape == (3, 4)
    gate = expit(hidden @ weights["w2/kernel"] + weights["w2/bias"])
    assert_computes(layer, x * gate[:, None, None, :])
    np.testing.assert_allclose(layer.losses, [0.5 * gate.mean()], rtol=1e-6)


def test_penalty_is_part_of_the_loss():
    x, losses = inputs(dtype="float32"), {}
    for penalty in (0.0, 3.0):
        keras.utils.set_random_seed(0)
        images = keras.Input(SHAPE)
        layer = layers.PFAChannelAttention(penalty=penalty)
        net = keras.Model(images, layer(images))
        net.compile(loss="mse")
        losses[penalty] = net.evaluate(x, x, verbose=0)
        gate = layer.attention(x).numpy()
    assert losses[3.0] - losses[0.0] == pytest.approx(3 * gate.mean(), rel=1e-4)


@training_or_not
def test_pfa_spatial(training):
    layer, weights = build(layers.PFASpatialAttention(kernel_size=3, dtype="float64"))
    x, logits = inputs(), 0
    sizes = []
    for pair in ("pair1", "pair2"):
        hidden = x
        for step in ("conv1", "conv2"):
            kernel = weights[f"{pair}_{step}/kernel"]
            sizes.append(kernel.shape)
            hidden = convolve(hidden, kernel)
            hidden = relu(batch_norm(hidden, weights, f"{pair}_{step}_bn", training))
        logits = logits + hidden
    assert sizes == [(1, 3, 12, 6), (3, 1, 6, 1), (3, 1, 12, 6), (1, 3, 6, 1)]
    assert_computes(layer, x * expit(logits), training)


def test_pfa_spatial_weighs_one_feature_by_another(tmp_path):
    low, high = keras.Input((5, 6, 4)), keras.Input((5, 6, 12))
    layer = layers.PFASpatialAttention()
    net = keras.Model([low, high], layer(low, guide=high))
    assert net.output_shape == (None, 5, 6, 4)
    given = [inputs((5, 6, 4), dtype="float32"), inputs((5, 6, 12), dtype="float32")]
    answer = net(given).numpy()
    np.testing.assert_allclose(answer, given[0] * layer.attention(given[1]), rtol=1e-6)
    net.save(tmp_path / "model.keras")
    loaded = models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(given), answer)


# All of them


def test_names():
    assert layers.attention_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_two_of_a_kind_stand_in_one_graph(name, tmp_path):
    images = keras.Input((8, 8, 64))
    x = layers.create_attention(name)(layers.create_attention(name)(images))
    net = keras.Model(images, x)
    paths = {weight.path for weight in net.weights}
    assert len(paths) == len(net.weights)
    net.save(tmp_path / "model.keras")
    given = inputs((8, 8, 64), dtype="float32")
    answer = models.load_model(tmp_path / "model.keras")(given)
    np.testing.assert_array_equal(answer, net(given))


@pytest.mark.parametrize("name", GATES)
def test_gate_is_the_input_times_its_attention(name):
    x = inputs((8, 8, 64))
    layer, _ = build(create(name, dtype="float64"), (8, 8, 64))
    attention = layer.attention(x).numpy()
    assert attention.min() >= 0
    assert attention.max() <= 1
    assert attention.std() > 1e-3
    one = attention.shape[1:]
    assert all(size in (1, full) for size, full in zip(one, (8, 8, 64), strict=True))
    assert (one == (8, 8, 1)) == name.endswith("_s")
    assert (one == (1, 1, 64)) == (name.endswith("_c") or name == "se")
    np.testing.assert_allclose(layer(x), x * attention, rtol=1e-12)


# (16, 16, 512) → trainable parameters, by the widths in the papers
COUNTS = {
    "cbam_c": 2 * 512 * 32,
    "cbam_cs": 2 * 512 * 32 + 7 * 7 * 2 + 2,
    "cbam_s": 7 * 7 * 2 + 2,
    "fc_c": 512 * 64 + 2 * 64 + 64 * 512 + 512,
    "fc_parallel": 2 * (512 * 64 + 2 * 64) + 64 * 512 + 512 + 2 * 256 * 32 + 32 + 256,
    "fc_s": 512 * 64 + 2 * 64 + 2 * 256 * 32 + 32 + 256,
    "non_local": 4 * 512 * 256 + 2 * 512,
    "none": 0,
    "pfa_c": 2 * 512 * 128 + 128 + 512,
    "pfa_s": 2 * (9 * 512 * 256 + 2 * 256 + 9 * 256 + 2),
    "rga_c": 90_978,
    "rga_cs": 206_260,
    "rga_parallel": 206_260,
    "rga_s": 115_282,
    "rga_sc": 206_260,
    "se": 2 * 512**2 // 16,
    "self_attention": 4 * 512 * 64 + 1,
}


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name):
    layer = layers.create_attention(name)
    layer.build((None, 16, 16, 512))
    assert sum(np.prod(weight.shape) for weight in layer.trainable_weights) == COUNTS[name]


def test_the_table_of_the_documentation():
    root = Path(__file__).parents[2]
    table = runpy.run_path(str(root / "tools" / "attention_table.py"))["table"]()
    assert len(table) == len(NAMES) + 2
    assert "\n".join(table) in (root / "docs" / "attention.md").read_text()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FIXED_SIZE])
def test_size_may_vary(name):
    options = {"max_nodes": 64} if name.startswith("rga") else {}
    images = keras.Input((None, None, 64))
    layer = create(name, **options)
    net = keras.Model(images, layer(images))
    if name != "none":
        build(layer)
    assert net.output_shape == (None, None, None, 64)
    compiled = tf.function(net, input_signature=[tf.TensorSpec((None, None, None, 64))])
    for batch, shape in ((2, (8, 12, 64)), (1, (5, 3, 64))):
        fixed = create(name, **options)
        fixed.build((None, *shape))
        fixed.set_weights(layer.get_weights())
        x = inputs(shape, batch, "float32")
        np.testing.assert_allclose(compiled(x), fixed(x), rtol=0, atol=1e-5)


BACKEND = """
import sys
from pathlib import Path

import keras
import numpy as np

from keras_salnet.models import load_model

assert keras.backend.backend() == sys.argv[2]
compiled = lambda function: function
if sys.argv[2] == "jax":
    import jax

    jax.config.update("jax_disable_most_optimizations", True)  # compiles 3 times as fast
    compiled = jax.jit
for path in Path(sys.argv[1]).glob("*.keras"):
    net, given = load_model(path), np.load(path.with_suffix(".npz"))
    call = compiled(lambda x: net(x, training=False))
    answers = {name: keras.ops.convert_to_numpy(call(x)) for name, x in given.items()}
    np.savez(path.with_suffix(".answers.npz"), **answers)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_compute_the_same(backend, run_python, tmp_path):
    """Of any size, where the layer takes it; and a model of any size."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    arguments = {"num_rga": 1, "filters": 8, "max_nodes": 64, "backbone_weights": None}
    nets = {"vggrga": models.VGGRGA(input_shape=(None, None, 3), **arguments)}
    for name in NAMES:
        options = {"max_nodes": 64} if name.startswith("rga") else {}
        images = keras.Input((8, 12, 64) if name in FIXED_SIZE else (None, None, 64))
        layer = create(name, **options)
        net = keras.Model(images, layer(images))
        if name != "none":
            build(layer, images.shape[1:])
        nets[name] = net
    wanted = {}
    for name, net in nets.items():
        sizes = [(32, 48), (16, 64)] if name == "vggrga" else [(8, 12), (5, 3)]
        channels = net.input_shape[-1]
        given = {
            str(size): inputs((*size, channels), 2, "float32")
            for size in sizes[: 1 if name in FIXED_SIZE else None]
        }
        net.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", **given)
        wanted[name] = {size: net(x).numpy() for size, x in given.items()}
    run_python(BACKEND, tmp_path, backend, backend=backend)
    for name, outputs in wanted.items():
        answers = np.load(tmp_path / f"{name}.answers.npz")
        for size, output in outputs.items():
            message = f"{name} {size}"
            np.testing.assert_allclose(answers[size], output, rtol=0, atol=1e-4, err_msg=message)


# What they refuse


def test_unknown_name():
    with pytest.raises(
        ValueError, match=r"unknown attention 'cbma'; known are: cbam_c, .*self_att"
    ):
        layers.create_attention("cbma")


@pytest.mark.parametrize(
    ("cls", "least"),
    [
        (layers.SelfAttention, 8),
        (layers.NonLocal, 2),
        (layers.SqueezeExcitation, 16),
        (layers.CBAM, 16),
        (layers.FullyConnectedAttention, 8),
        (layers.PFAChannelAttention, 4),
        (layers.PFASpatialAttention, 2),
    ],
)
def test_too_few_channels(cls, least):
    cls().build((None, 8, 8, least))
    with pytest.raises(ValueError, match=f"{least - 1} channels .* use at least {least}"):
        cls().build((None, 8, 8, least - 1))
    with pytest.raises(ValueError, match=r"needs inputs \(B, H, W, C\) of known .*channels"):
        cls().build((None, 8, 8, None))
    with pytest.raises(ValueError, match=r"needs inputs \(B, H, W, C\)"):
        cls().build((None, 64, 64))


def test_fully_connected_needs_the_size():
    with pytest.raises(ValueError, match=r"7 pixels .* use at least 8"):
        layers.FullyConnectedAttention("s").build((None, 1, 7, 64))
    with pytest.raises(ValueError, match="known height, width and channels"):
        layers.FullyConnectedAttention("s").build((None, None, 8, 64))


@pytest.mark.parametrize("cls", [layers.CBAM, layers.FullyConnectedAttention])
def test_unknown_order(cls):
    with pytest.raises(ValueError, match="order must be one of s, c, sc, cs, parallel, not 'x'"):
        cls("x")


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (layers.SelfAttention, "ratio"),
        (layers.SelfAttention, "value_ratio"),
        (layers.NonLocal, "ratio"),
        (layers.SqueezeExcitation, "ratio"),
        (layers.CBAM, "ratio"),
        (layers.CBAM, "kernel_size"),
        (layers.FullyConnectedAttention, "ratio"),
        (layers.PFAChannelAttention, "ratio"),
        (layers.PFASpatialAttention, "kernel_size"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None, True])
def test_bad_ratio(cls, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer"):
        cls(**{name: value})


def test_bad_penalty():
    with pytest.raises(ValueError, match="penalty must be at least 0, not -1"):
        layers.PFAChannelAttention(penalty=-1)
