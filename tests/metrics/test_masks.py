"""The metrics of masks against pysodmetrics, against plain loops, by hand, and against theory."""

import doctest
import importlib.util
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from keras_salnet.metrics import (
    e_measure,
    e_measure_curve,
    f_measure,
    f_measure_curve,
    masks,
    mean_absolute_error,
    s_measure,
    weighted_f_measure,
)

THRESHOLDS = ("max", "mean", "adaptive")
METRICS = {
    "MAE": mean_absolute_error,
    **{f"F {name}": partial(f_measure, threshold=name) for name in THRESHOLDS},
    "weighted F": weighted_f_measure,
    "S": s_measure,
    **{f"E {name}": partial(e_measure, threshold=name) for name in THRESHOLDS},
}

each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
some_examples = settings(max_examples=50, deadline=None, derandomize=True, database=None)


def scene(seed, shape=(37, 52), dtype=np.uint8):
    """An imperfect prediction, 8-bit or of an odd scale, and blobs as the mask."""
    random = np.random.default_rng(seed)
    mask = gaussian_filter(random.random(shape), random.uniform(0.5, 4))
    mask = mask > np.quantile(mask, random.uniform(0.2, 0.95))
    saliency = random.random(shape) + random.uniform(0, 2) * mask
    saliency = gaussian_filter(saliency, random.uniform(0.3, 3))
    saliency = (saliency - saliency.min()) / np.ptp(saliency)
    if dtype == np.uint8:
        low, high = np.sort(random.choice(256, 2, replace=False))
        return np.uint8(low + np.round((high - low) * saliency)), mask
    return (saliency * random.uniform(0.01, 300) - random.uniform(0, 5)).astype(dtype), mask


# Against pysodmetrics

of_pysodmetrics = pytest.mark.filterwarnings("ignore:This class will be removed:UserWarning")


@pytest.fixture(scope="module")
def pysodmetrics():
    """Its scores of one image, by our names; its curves descend from threshold 255."""
    if importlib.util.find_spec("py_sod_metrics") is None:
        pytest.skip("pysodmetrics is not installed")
    import py_sod_metrics

    def scores(saliency, mask):
        sides = {
            "MAE": py_sod_metrics.MAE(),
            "F": py_sod_metrics.Fmeasure(),
            "weighted F": py_sod_metrics.WeightedFmeasure(),
            "S": py_sod_metrics.Smeasure(),
            "E": py_sod_metrics.Emeasure(),
        }
        for side in sides.values():
            side.step(saliency, np.uint8(255 * mask))
        results = {name: side.get_results() for name, side in sides.items()}
        f, e = results["F"]["fm"], results["E"]["em"]
        return {
            "MAE": results["MAE"]["mae"],
            "F max": f["curve"].max(),
            "F mean": f["curve"].mean(),
            "F adaptive": f["adp"],
            "weighted F": results["weighted F"]["wfm"],
            "S": results["S"]["sm"],
            "E max": e["curve"].max(),
            "E mean": e["curve"].mean(),
            "E adaptive": e["adp"],
            "F curve": f["curve"][::-1],
            "E curve": e["curve"][::-1],
        }

    return scores


def assert_alike(expected, saliency, mask):
    for name, metric in METRICS.items():
        assert metric(saliency, mask) == pytest.approx(expected[name], abs=1e-6), name
    for name, curve in (("F curve", f_measure_curve), ("E curve", e_measure_curve)):
        assert curve(saliency, mask) == pytest.approx(expected[name], abs=1e-6), name


@of_pysodmetrics
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.float32])
@pytest.mark.parametrize("seed", range(8))
def test_pysodmetrics_gives_the_same(pysodmetrics, seed, dtype):
    saliency, mask = scene(seed, dtype=dtype)
    assert_alike(pysodmetrics(np.float64(saliency), mask), saliency, mask)


@of_pysodmetrics
def test_pysodmetrics_treats_masks_of_one_value_alike(pysodmetrics):
    saliency, _ = scene(0)
    for mask in (np.zeros(saliency.shape, bool), np.ones(saliency.shape, bool)):
        assert_alike(pysodmetrics(saliency, mask), saliency, mask)


@of_pysodmetrics
@pytest.mark.parametrize("value", [0, 51, 255])
def test_pysodmetrics_treats_constant_8_bit_predictions_alike(pysodmetrics, value):
    _, mask = scene(0)
    saliency = np.full(mask.shape, value, np.uint8)
    assert_alike(pysodmetrics(saliency, mask), saliency, mask)


# Against the definitions, as plain loops


def slow_f(saliency, mask, threshold, beta2=0.3):
    chosen = saliency >= threshold
    hits = np.count_nonzero(chosen & mask)
    if not hits:
        return 0
    precision, recall = hits / np.count_nonzero(chosen), hits / np.count_nonzero(mask)
    return (1 + beta2) * precision * recall / (beta2 * precision + recall)


def slow_e(saliency, mask, threshold):
    chosen = np.float64(saliency >= threshold)
    a, b = chosen - chosen.mean(), mask - mask.mean()
    alignment = 2 * a * b / (a**2 + b**2)
    return ((alignment + 1) ** 2 / 4).sum() / (mask.size - 1)


@pytest.mark.parametrize("seed", range(3))
def test_thresholded_measures_are_their_definitions(seed):
    saliency, mask = scene(seed, dtype=np.float64)
    stretched = (saliency - saliency.min()) / np.ptp(saliency)
    for slow, fast, curve in ((slow_f, f_measure, f_measure_curve), (slow_e, e_measure, None)):
        curve = curve or e_measure_curve
        expected = [slow(stretched, mask, level / 255) for level in range(256)]
        assert curve(saliency, mask) == pytest.approx(expected, abs=1e-12)
        assert fast(saliency, mask) == pytest.approx(max(expected), abs=1e-12)
        assert fast(saliency, mask, threshold="mean") == pytest.approx(np.mean(expected))
        assert fast(saliency, mask, threshold="adaptive") == pytest.approx(
            slow(stretched, mask, min(2 * stretched.mean(), 1)), abs=1e-12
        )


def slow_weighted_f(saliency, mask):
    objects = list(map(tuple, np.argwhere(mask)))
    nearest = {p: min(objects, key=partial(math.dist, p)) for p in np.ndindex(mask.shape)}
    error = {p: abs(saliency[p] - mask[p]) for p in np.ndindex(mask.shape)}
    window = [(i, j) for i in range(-3, 4) for j in range(-3, 4)]
    weight = {(i, j): math.exp(-(i**2 + j**2) / 50) for i, j in window}
    missed, false = [], []
    for row, column in np.ndindex(mask.shape):
        own = error[row, column]
        if mask[row, column]:
            around = 0
            for i, j in window:
                neighbour = nearest.get((row + i, column + j))
                around += weight[i, j] * error[neighbour] if neighbour else 0
            missed.append(min(own, around / sum(weight.values())))
        else:
            distance = math.dist((row, column), nearest[row, column])
            false.append(own * (2 - 0.5 ** (distance / 5)))
    hits = len(missed) - sum(missed)
    precision, recall = hits / (hits + sum(false)), hits / len(missed)
    return 2 * precision * recall / (precision + recall)


def test_weighted_f_is_its_definition():
    random = np.random.default_rng(0)
    mask = np.zeros((14, 17), bool)
    mask[3:9, 4:11] = True  # to a rectangle, every pixel has one nearest
    for _ in range(3):
        saliency = random.random(mask.shape) + 0.5 * mask
        saliency = (saliency - saliency.min()) / np.ptp(saliency)
        assert weighted_f_measure(saliency, mask) == pytest.approx(slow_weighted_f(saliency, mask))


# By hand


def test_mean_absolute_error_by_hand():
    assert mean_absolute_error([[0, 1], [2, 4]], [[0, 0], [1, 1]]) == (0 + 1 / 4 + 1 / 2 + 0) / 4


def test_f_measure_by_hand():
    saliency, mask = [[0, 1, 2], [3, 4, 8]], [[0, 0, 1], [0, 1, 1]]
    # Best cut at 4 of 8, when both chosen pixels are right and one of three is missed, or at 2
    # if recall counts as much, when three of four are right and none is missed ...
    assert f_measure(saliency, mask) == pytest.approx(1.3 * (2 / 3) / (0.3 + 2 / 3))
    assert f_measure(saliency, mask, beta2=1) == pytest.approx(2 * 0.75 / 1.75)
    # ... and cut at twice the mean, 6 of 8, when 1 of 1 is right and 2 are missed.
    assert f_measure(saliency, mask, threshold="adaptive") == pytest.approx(1.3 / 3 / (0.3 + 1 / 3))


def test_e_measure_by_hand():
    # Cut at 7/8 of the range, one of two is found: means 1/4 and 1/2. The pixel found has
    # 2 · 3/4 · 1/2 / (9/16 + 1/4) = 12/13, the one missed -4/5, the two others 4/5.
    expected = ((25 / 13) ** 2 + (1 / 5) ** 2 + 2 * (9 / 5) ** 2) / 4 / 3
    score = e_measure([[0, 1], [2, 4]], [[0, 0], [1, 1]], threshold="adaptive")
    assert score == pytest.approx(expected)


def test_s_measure_by_hand():
    # Foreground 1/2 and 1, of mean 3/4 and deviation √2/4; one less the background 1 and 3/4.
    fore = 2 * 3 / 4 / (9 / 16 + 1 + math.sqrt(2) / 4)
    back = 2 * 7 / 8 / (49 / 64 + 1 + math.sqrt(2) / 8)
    saliency, mask = [[0, 1], [2, 4]], [[0, 0], [1, 1]]
    assert s_measure(saliency, mask, alpha=1) == pytest.approx((fore + back) / 2)
    # The centroid (1, 1/2), rounded to even, is pixel (1, 0): its column is the left half, of
    # values 0, 1/2 and mask 0, 1; the right half has 1/4, 1 and the same mask.
    left = 4 * (1 / 4) * (1 / 2) * (1 / 4) / ((1 / 16 + 1 / 4) * (1 / 8 + 1 / 2))
    right = 4 * (5 / 8) * (1 / 2) * (3 / 8) / ((25 / 64 + 1 / 4) * (9 / 32 + 1 / 2))
    assert s_measure(saliency, mask, alpha=0) == pytest.approx((left + right) / 2)
    assert s_measure(saliency, mask) == pytest.approx((fore + back + left + right) / 4)


def test_a_false_alarm_weighs_more_far_from_the_object():
    mask = np.zeros((9, 40), bool)
    mask[4, 4] = True
    scores = []
    for column in (5, 9, 39):
        saliency = np.float64(mask)
        saliency[4, column] = 1
        scores.append(weighted_f_measure(saliency, mask))
    # The one false pixel counts 2 - 2^(-d / 5), precision is 1 / (1 + that) and recall 1.
    expected = [2 / (3 - 2 ** (-d / 5) + 1) for d in (1, 5, 35)]
    assert scores == pytest.approx(expected)


# Theory and properties


def best_of(name, mask):
    if name == "MAE":
        return 0
    return mask.size / (mask.size - 1) if name in ("E max", "E adaptive") else 1


@pytest.mark.parametrize("seed", range(3))
def test_the_ideal_prediction_attains_the_best_value(seed):
    saliency, mask = scene(seed)
    for name in METRICS.keys() - {"F mean", "E mean"}:
        metric, best = METRICS[name], best_of(name, mask)
        assert metric(mask, mask) == pytest.approx(best, abs=1e-12), name
        assert metric(np.uint8(255 * mask), mask) == pytest.approx(best, abs=1e-12), name
        worse = metric(saliency, mask)
        assert worse > 0.01 if name == "MAE" else worse < best - 0.01, name
    # Threshold 0 keeps everything; all others are as good as can be.
    assert f_measure_curve(mask, mask)[1:] == pytest.approx(1)
    assert e_measure_curve(mask, mask)[1:] == pytest.approx(mask.size / (mask.size - 1))


def test_a_mask_of_one_value_is_scored():
    saliency = np.linspace(0, 1, 12).reshape(3, 4)
    nothing, all_of_it = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    assert mean_absolute_error(saliency, nothing) == pytest.approx(0.5)
    assert s_measure(saliency, nothing) == pytest.approx(0.5)
    assert s_measure(saliency**2, all_of_it) == pytest.approx((saliency**2).mean())
    for threshold in THRESHOLDS:
        assert f_measure(saliency, nothing, threshold=threshold) == 0
    assert weighted_f_measure(saliency, nothing) == 0
    assert e_measure(saliency, nothing) == pytest.approx(11 / 11)  # all but one below 1
    assert e_measure(saliency, all_of_it) == pytest.approx(12 / 11)  # all reach 0
    # A constant prediction counts as it is: right everywhere, or wrong everywhere.
    for mask in (nothing, all_of_it):
        assert mean_absolute_error(mask, mask) == 0
        assert mean_absolute_error(~mask, mask) == 1
        assert s_measure(mask, mask) == 1
        assert s_measure(~mask, mask) == 0
    assert f_measure(all_of_it, all_of_it) == pytest.approx(1)
    assert weighted_f_measure(all_of_it, all_of_it) == pytest.approx(1)
    assert mean_absolute_error(np.full((3, 4), 7.5), all_of_it) == 0  # clipped to 1
    assert mean_absolute_error(np.full((3, 4), -7.5), all_of_it) == 1
    assert mean_absolute_error(np.full((3, 4), 51, np.uint8), nothing) == pytest.approx(0.2)


@pytest.mark.parametrize("edge", [np.s_[-1, :], np.s_[:, -1], np.s_[-1, -1], np.s_[0, 0]])
def test_objects_on_the_border_have_an_s_measure(edge):
    # The centroid is on the border: quadrants beyond it are empty.
    saliency, _ = scene(1)
    mask = np.zeros(saliency.shape, bool)
    mask[edge] = True
    assert 0 < s_measure(saliency, mask) < 1
    assert s_measure(mask, mask) == pytest.approx(1)


whole_numbers = st.integers(0, 255).map(float)


@st.composite
def cases(draw, elements):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 7)))
    return draw(arrays(np.float64, shape, elements=elements)), draw(arrays(bool, shape))


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@some_examples
@given(
    case=cases(whole_numbers),
    scale=st.sampled_from([2.0**-30, 2.0, 2.0**20]),
    offset=st.integers(-99, 99),
)
def test_only_the_shape_of_a_prediction_counts(case, scale, offset):
    saliency, mask = case
    if saliency.min() == saliency.max():
        return
    for name, metric in METRICS.items():
        value = metric(saliency, mask)
        assert metric(scale * saliency + scale * offset, mask) == close(value), name


def at_adaptive_threshold(saliency):
    """Whether a pixel is at twice the mean, but for rounding."""
    stretched = (saliency - saliency.min()) / (np.ptp(saliency) or 1)
    return np.isclose(stretched, 2 * stretched.mean(), rtol=0, atol=1e-9).any()


@some_examples
@given(case=cases(whole_numbers))
def test_mirrored_input_gives_the_same(case):
    saliency, mask = case
    for name, metric in METRICS.items():
        if name.endswith("adaptive") and at_adaptive_threshold(saliency):
            continue  # the mean is rounded otherwise in another order
        value = metric(saliency, mask)
        if name == "weighted F":  # to a rectangle, every pixel has one nearest
            mask = np.zeros_like(mask)
            mask[: 1 + len(mask) // 2, len(mask.T) // 2 :] = True
            value = metric(saliency, mask)
        assert metric(saliency.T, mask.T) == close(value), name
        if name != "S":
            assert metric(saliency[:, ::-1], mask[:, ::-1]) == close(value), name
            assert metric(saliency[::-1], mask[::-1]) == close(value), name
    # The centroid's own pixel belongs to the upper left quadrant.
    assert s_measure(saliency[:, ::-1], mask[:, ::-1], alpha=1) == close(
        s_measure(saliency, mask, alpha=1)
    )


@some_examples
@given(case=cases(st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_map_gives_a_value_in_range(case):
    saliency, mask = case
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        values = {name: metric(saliency, mask) for name, metric in METRICS.items()}
    for name, value in values.items():
        limit = mask.size / max(mask.size - 1, 1) if name.startswith("E") else 1
        assert -1e-12 <= value <= limit + 1e-12, name
        assert type(value) is float, name


@each_metric
def test_inputs_are_left_alone(metric):
    saliency, mask = scene(2, dtype=np.float64)
    before = saliency.copy(), mask.copy()
    metric(saliency, mask)
    assert np.array_equal(saliency, before[0])
    assert np.array_equal(mask, before[1])


# Bad input

GOOD = np.arange(12.0).reshape(3, 4)


@each_metric
def test_bad_input_is_refused(metric):
    mask = GOOD > 5
    for bad, message in (
        (GOOD[None], r"{name} has shape \(1, 3, 4\); it must be a map \(H, W\)"),
        (np.zeros((0, 4)), r"{name} has shape \(0, 4\).*at least one pixel"),
        (np.where(GOOD < 2, np.nan, GOOD), r"{name} has 2 of 12 values that are NaN or infinite"),
        ([["a", "b"]], r"{name} must be an array of real numbers"),
    ):
        with pytest.raises(ValueError, match=message.format(name="saliency")):
            metric(bad, mask)
        with pytest.raises(ValueError, match=message.format(name="mask")):
            metric(GOOD, bad)
    message = r"saliency has shape \(4, 3\) but mask has \(3, 4\); resize saliency to the shape"
    with pytest.raises(ValueError, match=message):
        metric(GOOD.T, mask)
    message = r"mask has 6 of 12 values other than 0 and 1, the highest 255; make it boolean"
    with pytest.raises(ValueError, match=message):
        metric(GOOD, np.uint8(255 * mask))


def test_other_options_are_refused():
    mask = GOOD > 5
    for metric in (f_measure, e_measure):
        with pytest.raises(ValueError, match=r"threshold is 0\.5; it must be 'max', 'mean' or"):
            metric(GOOD, mask, threshold=0.5)
    for metric in (f_measure, f_measure_curve, weighted_f_measure):
        for beta2 in (0, -1, math.nan, math.inf):
            with pytest.raises(ValueError, match=rf"beta2 is {beta2}; it must be a number above"):
                metric(GOOD, mask, beta2=beta2)
    for alpha in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"alpha is {alpha}; it must be from 0 to 1"):
            s_measure(GOOD, mask, alpha=alpha)


def test_the_docstrings_examples_run():
    results = doctest.testmod(masks)
    assert results.attempted
    assert not results.failed
