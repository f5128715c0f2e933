"""Streaming metrics: means over samples of functions of maps, equal to the pure metrics."""

import keras
import numpy as np
import pytest

from keras_salnet import metrics
from keras_salnet.losses import (
    FMeasure,
    MeanAbsoluteError,
    SaliencyLoss,
    StreamingMetric,
    functions,
    streaming_metrics,
)

SHAPE = (24, 32)
TO_DENSITY = {
    functions.kl_divergence: metrics.kl_divergence,
    functions.correlation_coefficient: metrics.correlation_coefficient,
    functions.similarity: metrics.similarity,
}
TO_MASK = {
    MeanAbsoluteError: metrics.mean_absolute_error,
    FMeasure: lambda pred, mask: metrics.f_measure(pred, mask, threshold="adaptive"),
}
KL = functions.kl_divergence

each_function = pytest.mark.parametrize("function", TO_DENSITY, ids=lambda f: f.__name__)


@pytest.fixture
def maps():
    """Densities and predictions (5, 24, 32, 1), of several scales."""
    random = np.random.default_rng(0)
    rows, columns = np.indices(SHAPE)
    y, x = random.uniform(0, 1, (2, 5, 1, 1)) * np.reshape(SHAPE, (2, 1, 1, 1))
    y_true = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 50)
    y_pred = random.random((5, *SHAPE)) ** 3
    y_pred[1] = 0.7 + 0.1 * y_pred[1]
    y_pred[3] *= 1e-6
    return y_true[..., None].astype("float32"), y_pred[..., None].astype("float32")


def oracle(function, y_true, y_pred):
    """The pure metric of each image, (B,)."""
    pairs = zip(y_true[..., 0].astype(float), y_pred[..., 0].astype(float), strict=True)
    return np.array([TO_DENSITY[function](pred, true) for true, pred in pairs])


@each_function
def test_uneven_batches(function, maps):
    y_true, y_pred = maps
    metric = StreamingMetric(function, name="metric", dtype="float64")
    for _ in range(2):
        for part in (slice(0, 3), slice(3, 4), slice(4, 5)):
            metric.update_state(y_true[part], y_pred[part])
        wanted = oracle(function, y_true, y_pred).mean()
        assert float(metric.result()) == pytest.approx(wanted, abs=1e-9)
        metric.reset_state()


def test_losses_are_averaged_over_samples(maps):
    y_true, y_pred = maps
    mask = np.zeros_like(y_true)
    mask[:, 4:20, :30] = 1
    loss = SaliencyLoss(1.0, 2.0, 3.0, dtype="float64")
    for masks in ((), (mask,)):
        metric = StreamingMetric(loss, name="loss", dtype="float64")
        for part in (slice(0, 4), slice(4, 5)):
            metric.update_state(y_true[part], y_pred[part], *(mask[part] for mask in masks))
        wanted = float(loss(y_true, y_pred, *masks))
        assert float(metric.result()) == pytest.approx(wanted, abs=1e-9)


def test_masks(maps):
    y_true, y_pred = maps
    mask = np.zeros_like(y_true)
    mask[:, 4:20, :30] = 1
    metric = StreamingMetric(KL, name="kl")
    metric.update_state(y_true[:2], y_pred[:2], mask[:2])
    metric.update_state(y_true[2:], y_pred[2:], mask[2:])
    wanted = oracle(KL, y_true[:, 4:20, :30], y_pred[:, 4:20, :30]).mean()
    assert float(metric.result()) == pytest.approx(wanted, abs=1e-5)


def test_sample_weights_weigh_the_mean(maps):
    y_true, y_pred = maps
    weights = np.array([0.0, 1.0, 2.0, 0.0, 3.0], "float32")
    metric = StreamingMetric(KL, name="kl")
    metric.update_state(y_true[:2], y_pred[:2], weights[:2])
    metric.update_state(y_true[2:], y_pred[2:], weights[2:])
    wanted = np.average(oracle(KL, y_true, y_pred), weights=weights)
    assert float(metric.result()) == pytest.approx(wanted, abs=1e-5)


@each_function
def test_float32_under_mixed_precision(function, maps):
    y_true, y_pred = maps[0], maps[1].astype("float16")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        metric = StreamingMetric(function, name="metric")
        metric.update_state(y_true, keras.ops.convert_to_tensor(y_pred))
        result = metric.result()
    finally:
        keras.config.set_dtype_policy("float32")
    assert result.dtype == "float32"
    assert float(result) == pytest.approx(oracle(function, y_true, y_pred).mean(), abs=1e-4)


def test_streaming_metrics_of_densities(maps):
    streaming = streaming_metrics()
    assert [metric.name for metric in streaming] == ["kl", "cc", "sim"]
    for metric, function in zip(streaming, TO_DENSITY, strict=True):
        metric.update_state(*maps)
        wanted = oracle(function, *maps).mean()
        assert float(metric.result()) == pytest.approx(wanted, abs=1e-5)


def test_streaming_metrics_of_masks():
    streaming = streaming_metrics(masks=True)
    assert [(metric.name, type(metric)) for metric in streaming] == [
        ("mae", MeanAbsoluteError),
        ("f", FMeasure),
    ]


@pytest.mark.parametrize("cls", TO_MASK)
def test_metrics_of_masks(cls, maps):
    """With masks of any scale, padding, constant predictions and empty masks."""
    y_true, y_pred = maps
    objects = y_true >= y_true.max(axis=(1, 2, 3), keepdims=True) / 2
    y_pred[4] = 0.3
    objects[3] = False
    wanted = [
        TO_MASK[cls](pred, mask) for pred, mask in zip(y_pred[..., 0], objects[..., 0], strict=True)
    ]
    given = (0.01 * objects).astype("float32")

    def samplewise(y_true, y_pred, *mask):
        images = zip(*((*values[:, None],) for values in (y_true, y_pred, *mask)), strict=True)
        return [float(cls()(*image)) for image in images]

    np.testing.assert_allclose(samplewise(given, y_pred), wanted, rtol=1e-5)
    assert float(cls()(given, y_pred)) == pytest.approx(np.mean(wanted), rel=1e-5)
    assert len(set(wanted)) >= 4

    mask = np.zeros_like(y_pred)
    mask[:, 4:20, :30] = 1
    padded = np.where(mask, given, 9), np.where(mask, y_pred, 9)
    cropped = samplewise(given[:, 4:20, :30], y_pred[:, 4:20, :30])
    np.testing.assert_allclose(samplewise(*padded, mask), cropped, rtol=1e-5)

    y_pred[0, 3, 4] = np.nan
    assert np.isnan(samplewise(given, y_pred)).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    "metric",
    [
        StreamingMetric(fn, name="mine", dtype="float64")
        for fn in (functions.similarity, SaliencyLoss(1.0, 2.0, 3.0, dtype="float64"))
    ]
    + [cls(name="mine", dtype="float64") for cls in TO_MASK],
    ids=lambda metric: type(metric).__name__,
)
def test_config_round_trip(metric, maps):
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(copy) is type(metric)
    assert copy.get_config() == metric.get_config()
    assert copy.name == "mine"
    for each in (metric, copy):
        each.update_state(*maps)
    assert float(copy.result()) == float(metric.result())


def test_fit_shows_the_terms_of_the_loss(maps):
    """Compiled into a model, with a mask as the weights."""
    y_true, y_pred = maps
    mask = np.zeros_like(y_true)
    mask[:, 4:] = 1
    net = keras.Sequential([keras.Input((*SHAPE, 1)), keras.layers.Identity()])
    net.compile(loss=SaliencyLoss(), weighted_metrics=streaming_metrics())
    logs = net.evaluate(
        y_pred, y_true, sample_weight=mask, batch_size=2, verbose=0, return_dict=True
    )
    assert logs["loss"] == pytest.approx(10 * logs["kl"] - logs["cc"] - logs["sim"], rel=1e-4)
    wanted = oracle(KL, y_true[:, 4:], y_pred[:, 4:]).mean()
    assert logs["kl"] == pytest.approx(wanted, abs=1e-5)
