"""Losses against the pure metrics, on good maps and on degenerate ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from keras_salnet import metrics
from keras_salnet.losses import (
    CorrelationCoefficient,
    CrossEntropy,
    EdgeHoldLoss,
    KLDivergence,
    NormalizedScanpathSaliency,
    SaliencyLoss,
    Similarity,
)

SHAPE = (24, 32)
TO_DENSITY = {
    KLDivergence: metrics.kl_divergence,
    CorrelationCoefficient: metrics.correlation_coefficient,
    Similarity: metrics.similarity,
}
OF_METRICS = (*TO_DENSITY, NormalizedScanpathSaliency, SaliencyLoss)
LOSSES = (*OF_METRICS, CrossEntropy, EdgeHoldLoss)
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}

each_loss = pytest.mark.parametrize("loss", LOSSES)
each_of_metrics = pytest.mark.parametrize("loss", OF_METRICS)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def cross_entropy(true, pred, positive_weight=1):
    pred = np.clip(pred, 2**-23, 1 - 2**-23)
    return -np.mean(positive_weight * true * np.log(pred) + (1 - true) * np.log(1 - pred))


def edge_hold(true, pred, alpha):
    """As PFA's authors have it, of one image."""

    def edges(image):
        around = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])
        return np.maximum(np.tanh(ndimage.correlate(image, around, mode="constant")), 0)

    pixels = cross_entropy(true, pred, 1.12)
    return alpha * pixels + (1 - alpha) * cross_entropy(edges(true), edges(pred))


def oracle(loss, y_true, y_pred):
    """The pure metric, or a cross-entropy in numpy, of each image, (B,)."""

    def of_image(true, pred):
        true, pred = (value.astype("float64") for value in (true, pred))
        if loss in (CrossEntropy, EdgeHoldLoss):
            true = true / true.max() if true.any() else true
            return cross_entropy(true, pred) if loss is CrossEntropy else edge_hold(true, pred, 0.7)
        if loss is SaliencyLoss:
            kl, cc, sim = (metric(pred, true) for metric in TO_DENSITY.values())
            return 10 * kl - cc - sim
        if loss is NormalizedScanpathSaliency:
            return metrics.nss(pred, np.argwhere(true)[:, ::-1])
        return TO_DENSITY[loss](pred, true)

    return np.array(list(map(of_image, y_true[..., 0], y_pred[..., 0])))


def maps(loss):
    """Ground truth, density or fixations by what the loss takes, and predictions of all kinds."""
    random = np.random.default_rng(0)
    rows, columns = np.indices(SHAPE)
    y, x = random.uniform(0, 1, (2, 5, 1, 1)) * np.reshape(SHAPE, (2, 1, 1, 1))
    y_true = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 50)
    y_true[1] /= y_true[1].sum()
    y_true[2] = np.round(255 * y_true[2])
    if loss is NormalizedScanpathSaliency:
        y_true = random.random((5, *SHAPE)) > 0.98
    y_pred = random.random((5, *SHAPE)) ** 3
    y_pred[1] = 0.7 + 0.1 * y_pred[1]
    y_pred[2] = 0.5 * y_pred[2] + 0.5 * y_true[2] / y_true[2].max()
    y_pred[3] *= 1e-6
    return y_true[..., None].astype("float32"), y_pred[..., None].astype("float32")


def samplewise(loss, **arguments):
    return loss(reduction=None, **arguments)


# Against the metrics


@each_dtype
@each_loss
def test_each_image_equals_the_metric(loss, dtype):
    y_true, y_pred = maps(loss)
    values = samplewise(loss, dtype=dtype)(y_true, y_pred)
    assert values.dtype == dtype
    scale = 10 if loss in (SaliencyLoss, EdgeHoldLoss) else 1  # float32's 1 - tanh is coarse
    wanted = oracle(loss, y_true, y_pred)
    np.testing.assert_allclose(values, wanted, rtol=0, atol=scale * TOLERANCE[dtype])


@each_loss
def test_reduces_to_the_mean(loss):
    y_true, y_pred = maps(loss)
    wanted = oracle(loss, y_true, y_pred).mean()
    assert float(loss(dtype="float64")(y_true, y_pred)) == pytest.approx(wanted, abs=1e-9)


def test_gradient_is_that_of_the_metrics():
    """As a difference quotient of the pure functions."""
    for cls in (SaliencyLoss, NormalizedScanpathSaliency, EdgeHoldLoss):
        loss = cls(dtype="float64")
        y_true, y_pred = (value[:1].astype("float64") for value in maps(cls))
        pred = tf.constant(y_pred)
        with tf.GradientTape() as tape:
            tape.watch(pred)
            value = loss(y_true, pred)
        gradient = tape.gradient(value, pred).numpy()
        direction = np.random.default_rng(1).normal(size=y_pred.shape) * y_pred
        step = 1e-7
        up, down = (oracle(cls, y_true, y_pred + s * direction) for s in (step, -step))
        wanted = (up - down).item() / (2 * step)
        assert (gradient * direction).sum() == pytest.approx(wanted, rel=1e-5)


@each_of_metrics
def test_scale_of_either_map_does_not_matter(loss):
    y_true, y_pred = maps(loss)
    wanted = samplewise(loss)(y_true, y_pred)
    for factor in (1e-20, 1e-3, 255, 1e20):
        true = y_true if loss is NormalizedScanpathSaliency else y_true * np.float32(factor)
        values = samplewise(loss)(true, y_pred * np.float32(factor))
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-4)


def test_saliency_loss_is_the_weighted_sum():
    y_true, y_pred = maps(SaliencyLoss)
    kl, cc, sim = (samplewise(loss)(y_true, y_pred) for loss in TO_DENSITY)
    values = samplewise(SaliencyLoss, kl=2.0, cc=-3.0, sim=0.5)(y_true, y_pred)
    np.testing.assert_allclose(values, 2 * kl - 3 * cc + 0.5 * sim, atol=1e-5)
    only_kl = samplewise(SaliencyLoss, kl=1.0, cc=0.0, sim=0.0)(y_true, y_pred)
    np.testing.assert_allclose(only_kl, kl, atol=1e-6)


def test_saliency_loss_of_nothing():
    with pytest.raises(ValueError, match="weigh at least one"):
        SaliencyLoss(0.0, 0.0, 0.0)


# Cross-entropies


@pytest.mark.parametrize("loss", [CrossEntropy, EdgeHoldLoss])
def test_scale_of_the_truth_does_not_matter(loss):
    """So that densities that sum to 1 will do, as training has them."""
    y_true, y_pred = maps(loss)
    wanted = samplewise(loss)(y_true, y_pred)
    for factor in (1e-20, 1e-3, 255, 1e20):
        values = samplewise(loss)(y_true * np.float32(factor), y_pred)
        np.testing.assert_allclose(values, wanted, rtol=1e-5)


def object_and_logits():
    random = np.random.default_rng(0)
    y_true = np.zeros((3, *SHAPE, 1), "float32")
    y_true[0, 5:15, 8:20] = 1
    y_true[1, 3, 4] = 1  # and nothing in the last
    return y_true, random.normal(0, 4, y_true.shape).astype("float32")


def test_cross_entropy_of_a_mask_is_tensorflows():
    y_true, logits = object_and_logits()
    wanted = tf.nn.sigmoid_cross_entropy_with_logits(y_true, logits).numpy().mean((1, 2, 3))
    values = samplewise(CrossEntropy)(y_true, tf.sigmoid(logits))
    np.testing.assert_allclose(values, wanted, rtol=1e-5)


def test_edge_hold_loss_of_pixels_is_tensorflows():
    y_true, logits = object_and_logits()
    wanted = tf.nn.weighted_cross_entropy_with_logits(y_true, logits, 1.12).numpy()
    values = samplewise(EdgeHoldLoss, alpha=1.0)(y_true, tf.sigmoid(logits))
    np.testing.assert_allclose(values, wanted.mean((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("alpha", [0, 0.25, 0.7, 1])
def test_edge_hold_loss_weighs_pixels_and_edges(alpha):
    y_true, logits = object_and_logits()
    y_pred = tf.sigmoid(logits).numpy()
    wanted = [
        edge_hold(true, pred, alpha)
        for true, pred in zip(
            y_true[..., 0].astype("float64"), y_pred[..., 0].astype("float64"), strict=True
        )
    ]
    values = samplewise(EdgeHoldLoss, alpha=alpha, dtype="float64")(y_true, y_pred)
    np.testing.assert_allclose(values, wanted, rtol=1e-9)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_edge_hold_loss_refuses(alpha):
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], not"):
        EdgeHoldLoss(alpha)


@pytest.mark.parametrize("loss", [CrossEntropy, EdgeHoldLoss])
def test_cross_entropies_of_what_is_certain(loss):
    """Right or wrong, and where there is no object."""
    y_true, _ = object_and_logits()
    for y_pred in (y_true, 1 - y_true, np.zeros_like(y_true), np.ones_like(y_true)):
        value, gradient = value_and_gradient(loss(), y_true, y_pred)
        assert value == pytest.approx(oracle(loss, y_true, y_pred).mean(), rel=1e-3, abs=1e-6)
        assert np.isfinite(gradient).all()
    assert float(loss()(y_true, y_true)) < 1e-3
    assert np.isnan(float(loss()(y_true, np.full_like(y_true, np.nan))))


# Masks and weights


@each_dtype
@each_loss
def test_mask_equals_cropping(loss, dtype):
    y_true, y_pred = maps(loss)
    mask = np.zeros_like(y_true)
    box = (slice(None), slice(3, 20), slice(5, 29))
    mask[box] = 1
    # Outside, extremes, mass and fixations that must not be seen.
    y_true, y_pred = np.where(mask, y_true, 9), np.where(mask, y_pred, 9)
    masked = samplewise(loss, dtype=dtype)(y_true, y_pred, mask)
    cropped = samplewise(loss, dtype=dtype)(y_true[box], y_pred[box])
    np.testing.assert_allclose(masked, cropped, rtol=0, atol=10 * TOLERANCE[dtype])
    assert not np.allclose(masked, samplewise(loss, dtype=dtype)(y_true, y_pred), atol=1e-3)


@pytest.mark.parametrize("loss", [*OF_METRICS, CrossEntropy])
def test_masks_of_their_own(loss):
    """Each image has its own mask, of any form."""
    y_true, y_pred = (value[:3] for value in maps(loss))
    mask = np.random.default_rng(1).random(y_true.shape) < [[[[0.2]]], [[[0.5]]], [[[1.0]]]]
    masked = samplewise(loss, dtype="float64")(y_true, y_pred, mask.astype("float32"))
    # The metrics want a frame; one row of the unmasked pixels is one.
    wanted = [
        oracle(loss, true[inside].reshape(1, 1, -1, 1), pred[inside].reshape(1, 1, -1, 1)).item()
        for true, pred, inside in zip(y_true, y_pred, mask, strict=True)
    ]
    np.testing.assert_allclose(masked, wanted, rtol=0, atol=1e-8)


@each_loss
def test_mask_has_no_gradient_outside(loss):
    y_true, y_pred = maps(loss)
    mask = np.ones_like(y_true)
    mask[:, :, :7] = 0
    pred = tf.constant(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(pred)
        value = loss()(y_true, pred, mask)
    gradient = tape.gradient(value, pred).numpy()
    assert np.any(gradient[:, :, 7:])
    np.testing.assert_array_equal(gradient[:, :, :7], 0)


@each_loss
def test_a_mask_of_ones_changes_nothing(loss):
    y_true, y_pred = maps(loss)
    np.testing.assert_array_equal(
        samplewise(loss)(y_true, y_pred, np.ones_like(y_true)), samplewise(loss)(y_true, y_pred)
    )


@each_loss
def test_sample_weights(loss):
    y_true, y_pred = maps(loss)
    weights = np.array([0.0, 1.0, 2.0, 0.5, 3.0], "float32")
    wanted = oracle(loss, y_true, y_pred) * weights
    np.testing.assert_allclose(samplewise(loss)(y_true, y_pred, weights), wanted, atol=3e-4)
    assert float(loss()(y_true, y_pred, weights)) == pytest.approx(wanted.mean(), abs=1e-4)


# Degenerate maps

DEGENERATE = ("noise", "zero", "third", "tenth", "one", "tiny", "huge", "one pixel", "last pixel")


def degenerate(kind):
    """A large map, on which float32 rounds the mean of a constant."""
    value = np.random.default_rng(0).random((1, 96, 128, 1))
    if kind in ("one pixel", "last pixel"):
        value[...] = 0
        value[0, *((5, 7) if kind == "one pixel" else (-1, -1)), 0] = 1
    elif kind != "noise":
        constants = {"zero": 0, "third": 1 / 3, "tenth": 0.1, "one": 1, "tiny": 1e-20, "huge": 1e20}
        value[...] = constants[kind]
    return value.astype("float32")


def value_and_gradient(loss, y_true, y_pred, mask=None):
    pred = tf.constant(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(pred)
        value = loss(y_true, pred, mask)
    return float(value), tape.gradient(value, pred).numpy()


@each_of_metrics
@pytest.mark.parametrize("true", DEGENERATE)
def test_degenerate_maps(loss, true):
    """Finite, and equal to the metric: exactly 0 where a constant map makes CC or NSS 0."""
    y_true = degenerate(true)
    if loss is NormalizedScanpathSaliency:
        y_true = np.float32(y_true > 0.5)
    for pred in DEGENERATE:
        y_pred = degenerate(pred)
        value, gradient = value_and_gradient(loss(), y_true, y_pred)
        assert np.isfinite(gradient).all(), pred
        if loss is NormalizedScanpathSaliency and not y_true.any():
            assert value == 0, pred  # the metric refuses to be without fixations
        else:
            wanted = oracle(loss, y_true, y_pred).item()
            assert value == pytest.approx(wanted, rel=1e-5, abs=1e-4), pred
        if loss in (CorrelationCoefficient, NormalizedScanpathSaliency) and np.ptp(y_pred) == 0:
            assert value == 0, pred
            np.testing.assert_array_equal(gradient, 0, err_msg=pred)


@each_loss
@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("left", [0, 1, 500], ids=["nothing left", "one pixel left", "a part left"])
def test_degenerate_masks(loss, kind, left):
    y_true, y_pred = degenerate("noise"), degenerate(kind)
    mask = np.zeros_like(y_true)
    mask.flat[:left] = 1
    for pair in ((y_true, y_pred), (y_pred, y_true)):
        value, gradient = value_and_gradient(loss(), *pair, mask)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        if left == 0:
            assert value == 0
            np.testing.assert_array_equal(gradient, 0)


@each_loss
def test_one_bad_image_leaves_the_others_alone(loss):
    y_true, y_pred = maps(loss)
    wanted = samplewise(loss)(y_true, y_pred).numpy()
    y_pred[2] = 0
    values = samplewise(loss)(y_true, y_pred).numpy()
    np.testing.assert_array_equal(np.delete(values, 2), np.delete(wanted, 2))


# Precision, compilation, configuration


@each_loss
def test_float32_under_mixed_precision(loss):
    y_true, y_pred = maps(loss)
    y_pred = y_pred.astype("float16")
    wanted = oracle(loss, y_true, y_pred)
    mask = np.ones_like(y_pred)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        plain, masked = (
            samplewise(loss)(y_true, tf.constant(y_pred), *weight) for weight in ((), (mask,))
        )
    finally:
        keras.config.set_dtype_policy("float32")
    for values in (plain, masked):
        assert values.dtype == "float32"
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-4)


@each_loss
def test_xla_computes_the_same(loss):
    y_true, y_pred = maps(loss)
    y_pred[4] = 0.1
    mask = np.ones_like(y_true)
    mask[:, 20:] = 0

    def run(y_true, y_pred, mask):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            plain = samplewise(loss)(y_true, y_pred)
            masked = samplewise(loss)(y_true, y_pred, mask)
        return plain, masked, tape.gradient((plain, masked), y_pred)

    inputs = [tf.constant(value) for value in (y_true, y_pred, mask)]
    for ours, wanted in zip(tf.function(run, jit_compile=True)(*inputs), run(*inputs), strict=True):
        assert np.isfinite(ours).all()
        atol = 1e-4 * max(1, np.abs(wanted).max())
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "loss",
    [
        *(cls(name="mine", reduction="sum", dtype="float64") for cls in LOSSES),
        SaliencyLoss(1.0, -2.0, 3.0),
        EdgeHoldLoss(0.25),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_config_round_trip(loss):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    y_true, y_pred = maps(type(loss))
    value, wanted = copy(y_true, y_pred), loss(y_true, y_pred)
    assert value.dtype == wanted.dtype
    assert float(value) == float(wanted)


@each_of_metrics
def test_nan_is_not_taken_for_an_empty_map(loss):
    maps = np.random.default_rng(0).random((2, 6, 7, 1)).astype("float32")
    broken = maps.copy()
    broken[0, 2, 3] = np.nan
    assert np.isnan(float(loss()(maps, broken)))
    assert np.isnan(float(loss()(maps, np.full_like(maps, np.nan))))
