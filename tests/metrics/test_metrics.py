"""The metrics against pysaliency, against MIT's definitions as plain loops, and against theory."""

import doctest
import importlib.util
import itertools
import math
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.optimize import linprog

from keras_salnet.metrics import (
    _normalize,
    auc,
    auc_borji,
    auc_judd,
    correlation_coefficient,
    distribution,
    emd,
    information_gain,
    kl_divergence,
    location,
    nss,
    roc,
    shuffled_auc,
    similarity,
)

SHAPE = (48, 64)
EPS = 2.2204e-16
CONVENTIONS = ("mit", "pysaliency")
TO_DENSITY = (kl_divergence, correlation_coefficient, similarity)
TO_FIXATIONS = (nss, auc_judd)


def auc_whatever_the_convention(saliency, fixations, convention="mit"):
    return auc(saliency, fixations)


def auc_borji_whatever_the_convention(saliency, fixations, convention="mit"):
    return auc_borji(saliency, fixations)


def shuffled_auc_against_the_corner(saliency, fixations, convention="mit"):
    return shuffled_auc(saliency, fixations, [(0, 0)], convention=convention)


LOCATION_METRICS = (
    *TO_FIXATIONS,
    information_gain,
    auc_whatever_the_convention,
    auc_borji_whatever_the_convention,
    shuffled_auc_against_the_corner,
)

both_conventions = pytest.mark.parametrize("convention", CONVENTIONS)
each_to_density = pytest.mark.parametrize("metric", TO_DENSITY)
each_to_fixations = pytest.mark.parametrize("metric", TO_FIXATIONS)
each_location_metric = pytest.mark.parametrize("metric", LOCATION_METRICS)
each_metric = pytest.mark.parametrize("metric", TO_DENSITY + LOCATION_METRICS)
some_examples = settings(max_examples=50, deadline=None, derandomize=True, database=None)


def blob(shape, x, y, sigma):
    """A Gaussian around pixel (x, y), not normalized."""
    rows, columns = np.indices(shape)
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def prediction(kind, shape=SHAPE):
    random = np.random.default_rng(1)
    noise = random.random(shape)
    smooth = blob(shape, 30, 20, 9) + 0.6 * blob(shape, 10, 35, 6)
    return {
        "noise": noise,
        "smooth": smooth,
        "floor": smooth + 2,
        "sums to 1": smooth / smooth.sum(),
        "8-bit": np.uint8(255 * smooth / smooth.max()),
        "float32": np.float32(noise),
        "log density": np.log(smooth / smooth.sum() + 1e-9),
        "peaky": np.exp(20 * noise),
    }[kind]


KINDS = ("noise", "smooth", "floor", "sums to 1", "8-bit", "float32", "log density", "peaky")


@pytest.fixture
def density():
    return blob(SHAPE, 25, 22, 12) + 0.01


@pytest.fixture
def fixations():
    """60 points between pixels, then 10 of them again."""
    random = np.random.default_rng(2)
    points = random.random((60, 2)) * SHAPE[::-1]
    return np.concatenate([points, points[:10]])


@pytest.fixture
def other_fixations():
    """150 points nearer to the centre, then 10 of them again."""
    random = np.random.default_rng(7)
    points = random.beta(2, 2, (150, 2)) * SHAPE[::-1]
    return np.concatenate([points, points[:10]])


# Against pysaliency


def pysaliency_model(pysaliency, saliency, fixations):
    """The map as a model of pysaliency, with the one stimulus and the fixations to ask it about."""

    class Model(pysaliency.SaliencyMapModel):
        def _saliency_map(self, stimulus):
            return saliency

    points = np.asarray(fixations, float)
    return (
        Model(),
        pysaliency.Stimuli([np.zeros((*np.shape(saliency), 3), np.uint8)]),
        pysaliency.Fixations.create_without_history(
            x=points[:, 0], y=points[:, 1], n=np.zeros(len(points), int)
        ),
    )


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # pysaliency's own log(0)
@pytest.mark.parametrize("kind", KINDS)
def test_pysaliency_gives_the_same_distribution_metrics(pysaliency, kind, density):
    saliency = prediction(kind)
    oracle = pysaliency.metrics
    for metric, theirs in (
        (kl_divergence, oracle.MIT_KLDiv),
        (correlation_coefficient, oracle.CC),
        (similarity, oracle.SIM),
    ):
        expected = theirs(np.float64(saliency), density.copy())
        assert metric(saliency, density, convention="pysaliency") == pytest.approx(
            expected, abs=1e-6
        ), metric.__name__


@pytest.mark.parametrize("kind", KINDS)
def test_pysaliency_gives_the_same_location_metrics(pysaliency, kind, fixations):
    saliency = prediction(kind)
    model, stimuli, points = pysaliency_model(pysaliency, saliency, fixations)
    assert nss(saliency, fixations, convention="pysaliency") == pytest.approx(
        model.NSS(stimuli, points), abs=1e-6
    )
    assert auc_judd(saliency, fixations, convention="pysaliency") == pytest.approx(
        model.AUC_Judd(stimuli, points, jitter=False), abs=1e-6
    )
    assert auc(saliency, fixations) == pytest.approx(model.AUC(stimuli, points), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_pysaliency_gives_the_same_shuffled_auc(pysaliency, kind, fixations, other_fixations):
    saliency = prediction(kind)
    model, _, _ = pysaliency_model(pysaliency, saliency, fixations)
    stimuli = pysaliency.Stimuli([np.full((*SHAPE, 3), n, np.uint8) for n in range(2)])
    everywhere = np.concatenate([fixations, other_fixations])
    image = np.repeat([0, 1], [len(fixations), len(other_fixations)])
    points = pysaliency.Fixations.create_without_history(*everywhere.T, image)
    expected = model.AUCs(stimuli, points, nonfixations="shuffled")[image == 0].mean()
    assert shuffled_auc(
        saliency, fixations, other_fixations, convention="pysaliency"
    ) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "log density"])
def test_pysaliency_gives_the_same_information_gain(pysaliency, kind, density, fixations):
    class Model(pysaliency.Model):
        def __init__(self, density):
            super().__init__()
            self.density = np.float64(density) + (1 if kind == "8-bit" else 0)

        def _log_density(self, stimulus):
            return np.log(self.density / self.density.sum())

    saliency = Model(prediction(kind)).density
    _, stimuli, points = pysaliency_model(pysaliency, saliency, fixations)
    for model in (None, Model(density)):
        expected = Model(prediction(kind)).information_gain(stimuli, points, model)
        assert information_gain(
            saliency, fixations, model and model.density, convention="pysaliency"
        ) == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_pysaliency_treats_degenerate_predictions_alike(pysaliency, density, fixations):
    zero, constant = np.zeros(SHAPE), np.full(SHAPE, 0.25)
    score = partial(kl_divergence, density=density, convention="pysaliency")
    assert score(zero) == pytest.approx(pysaliency.metrics.MIT_KLDiv(zero, density), abs=1e-6)
    score = partial(similarity, density=density, convention="pysaliency")
    assert score(zero) == pytest.approx(pysaliency.metrics.SIM(np.zeros(SHAPE), density), abs=1e-6)
    assert pysaliency.metrics.CC(constant, density) == 0
    model, stimuli, points = pysaliency_model(pysaliency, constant, fixations)
    assert model.NSS(stimuli, points) == 0
    assert model.AUC_Judd(stimuli, points, jitter=False) == 0.5
    assert model.AUC(stimuli, points) == 0.5


def test_jitter_agrees_with_pysaliency_on_a_map_in_0_1(pysaliency, fixations):
    # Different noise, so not to 1e-6: half of this map is one tie, which jitter alone resolves.
    saliency = np.maximum(prediction("noise"), 0.5)
    model, stimuli, points = pysaliency_model(pysaliency, saliency, fixations)
    expected = model.AUC_Judd(stimuli, points, jitter=True)
    for seed in range(3):
        jittered = auc_judd(saliency, fixations, convention="pysaliency", jitter=True, seed=seed)
        assert jittered == pytest.approx(expected, abs=0.03)


# Against MIT's definitions, as plain loops


def mit_fixated(fixations):
    return {(math.floor(x), math.floor(y)) for x, y in fixations}


def mit_kl(saliency, density):
    p_sum, g_sum = math.fsum(saliency.flat), math.fsum(density.flat)
    terms = []
    for p, g in zip(saliency.flat, density.flat, strict=True):
        terms.append(g / g_sum * math.log(EPS + g / g_sum / (p / p_sum + EPS)))
    return math.fsum(terms)


def mit_similarity(saliency, density):
    stretched = []
    for values in (list(saliency.flat), list(density.flat)):
        low, high = min(values), max(values)
        values = [(value - low) / (high - low) for value in values]
        stretched.append([value / math.fsum(values) for value in values])
    return math.fsum(map(min, *stretched))


def mit_correlation(saliency, density):
    p, g = list(saliency.flat), list(density.flat)
    p_mean, g_mean = math.fsum(p) / len(p), math.fsum(g) / len(g)
    covariance = math.fsum((a - p_mean) * (b - g_mean) for a, b in zip(p, g, strict=True))
    p_square = math.fsum((a - p_mean) ** 2 for a in p)
    g_square = math.fsum((b - g_mean) ** 2 for b in g)
    return covariance / math.sqrt(p_square * g_square)


def mit_nss(saliency, fixations):
    values = list(saliency.flat)
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    scores = [(saliency[y, x] - mean) / std for x, y in mit_fixated(fixations)]
    return math.fsum(scores) / len(scores)


def mit_auc_judd(saliency, fixations):
    fixated = mit_fixated(fixations)
    thresholds = sorted((saliency[y, x] for x, y in fixated), reverse=True)
    assert len(set(thresholds)) == len(thresholds), "MIT breaks ties by jitter: not defined here"
    curve = [(0.0, 0.0)]
    for i, threshold in enumerate(thresholds, start=1):
        above = sum(1 for value in saliency.flat if value >= threshold)
        curve.append(((above - i) / (saliency.size - len(fixated)), i / len(fixated)))
    curve.append((1.0, 1.0))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        area += (x1 - x0) * (y0 + y1) / 2
    return area


def mit_area(saliency, fixated, draws):
    """The mean over `draws`, lists of pixels (x, y), of the area with thresholds 0, 0.1, ..."""
    low, high = min(saliency.flat), max(saliency.flat)

    def stretched(pixels):
        return [(saliency[y, x] - low) / (high - low) for x, y in pixels]

    areas = []
    for drawn in map(stretched, draws):
        values = stretched(fixated)
        curve = [(0.0, 0.0)]
        for step in reversed(range(1 + math.floor(10 * max(values + drawn)))):
            hits = sum(value >= step / 10 for value in values) / len(values)
            alarms = sum(value >= step / 10 for value in drawn) / len(drawn)
            curve.append((alarms, hits))
        curve.append((1.0, 1.0))
        steps = itertools.pairwise(curve)
        areas.append(math.fsum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in steps))
    return math.fsum(areas) / len(areas)


def mit_information_gain(saliency, fixations, baseline):
    def probability(values):
        low = min(values.flat)
        total = math.fsum(value - low for value in values.flat)
        return lambda x, y: (values[y, x] - low) / total

    p, b = probability(saliency), probability(baseline)
    fixated = mit_fixated(fixations)
    gains = [math.log2(EPS + p(x, y)) - math.log2(EPS + b(x, y)) for x, y in fixated]
    return math.fsum(gains) / len(gains)


@pytest.mark.parametrize("kind", ["noise", "smooth", "floor", "sums to 1", "peaky", "8-bit"])
def test_mit_information_gain_is_its_definition(kind, density, fixations):
    saliency = np.float64(prediction(kind))
    fixations = np.concatenate([fixations, [np.argwhere(saliency == saliency.min())[0][::-1]]])
    expected = mit_information_gain(saliency, fixations, density)
    assert information_gain(saliency, fixations, density) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_mit_auc_borji_is_its_definition(kind, fixations):
    saliency = np.float64(prediction(kind))
    fixated = mit_fixated(fixations)
    # The same draws: 100 times as many pixels as there are fixated ones, with replacement.
    drawn = np.random.default_rng(3).integers(saliency.size, size=(100, len(fixated)))
    draws = [[(pixel % SHAPE[1], pixel // SHAPE[1]) for pixel in pixels] for pixels in drawn]
    assert auc_borji(saliency, fixations, seed=3) == pytest.approx(
        mit_area(saliency, fixated, draws), abs=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_mit_shuffled_auc_is_its_definition(kind, fixations, other_fixations):
    saliency = np.float64(prediction(kind))
    fixated, others = mit_fixated(fixations), mit_fixated(other_fixations)
    # With no more others than fixations, all of them are drawn.
    few = other_fixations[:40]
    assert shuffled_auc(saliency, fixations, few) == pytest.approx(
        mit_area(saliency, fixated, [mit_fixated(few)]), abs=1e-12
    )
    # Otherwise the draws differ, and so do the values, by about 0.03 / √60 / √20.
    random = np.random.default_rng(8)
    draws = [random.permutation(list(others))[: len(fixated)] for _ in range(500)]
    scores = [shuffled_auc(saliency, fixations, other_fixations, seed=s) for s in range(20)]
    assert np.mean(scores) == pytest.approx(mit_area(saliency, fixated, draws), abs=0.006)
    assert 0 < np.std(scores) < 0.01


@pytest.mark.parametrize("kind", ["noise", "smooth", "floor", "sums to 1", "peaky"])
def test_mit_convention_is_its_definition(kind, density, fixations):
    saliency = prediction(kind)
    for metric, definition, truth in (
        (kl_divergence, mit_kl, density),
        (correlation_coefficient, mit_correlation, density),
        (similarity, mit_similarity, density),
        (nss, mit_nss, fixations),
    ):
        expected = definition(saliency, truth)
        assert metric(saliency, truth) == pytest.approx(expected, abs=1e-9), metric.__name__


@pytest.mark.parametrize("offset", [0, 1, -1e6])
@pytest.mark.parametrize("power", [1, 4])
def test_mit_auc_judd_is_its_definition(offset, power, fixations):
    # More pixels than one block of the fast count; with an offset or a power, crowded buckets.
    saliency = np.random.default_rng(3).random((190, 200)) ** power + offset
    points = fixations * (200 / 64, 190 / 48)
    assert auc_judd(saliency, points) == pytest.approx(mit_auc_judd(saliency, points), abs=1e-12)


# Earth mover's distance


def matlab_imresize(array, factor):
    """imresize(array, 1 / factor), bicubic, as plain loops over rows, then over columns."""

    def cubic(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0

    def along_rows(array):
        size = len(array)
        mirrored = [*range(size), *reversed(range(size))]
        rows = []
        for place in range(1, math.ceil(size / factor) + 1):
            center = place * factor + 0.5 * (1 - factor)
            taps = range(math.floor(center - 2 * factor), math.floor(center + 2 * factor) + 2)
            weights = [cubic((center - tap) / factor) for tap in taps]
            values = [array[mirrored[(tap - 1) % (2 * size)]] for tap in taps]
            row = sum(w * value for w, value in zip(weights, values, strict=True))
            rows.append(row / sum(weights))
        return np.array(rows)

    return along_rows(along_rows(array).T).T


def emd_by_linear_programming(p, g):
    p, g = p / p.sum(), g / g.sum()
    places = list(np.ndindex(p.shape))
    cost = [math.dist(a, b) for a in places for b in places]
    n = len(places)
    leaves, arrives = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    solution = linprog(cost, A_eq=np.concatenate([leaves, arrives]), b_eq=[*p.flat, *g.flat])
    assert solution.success
    return solution.fun


@pytest.fixture(scope="module")
def _pot():
    if importlib.util.find_spec("ot") is None:
        pytest.skip("POT is not installed")


needs_pot = pytest.mark.usefixtures("_pot")


@needs_pot
@pytest.mark.parametrize(("shape", "factor"), [((4, 5), 1), ((70, 96), 32), ((47, 30), 11)])
def test_emd_is_its_definition(shape, factor):
    random = np.random.default_rng(9)
    for _ in range(3):
        saliency, density = random.random((2, *shape)) ** 500  # peaks, which undershoot
        p, g = (np.maximum(matlab_imresize(m, factor), 0) for m in (saliency, density))
        assert emd(saliency, density, factor=factor) == pytest.approx(
            emd_by_linear_programming(p, g), abs=1e-6
        )


@pytest.mark.parametrize("shape", [(480, 640), (479, 641), (100, 30)])
def test_shrinking_is_matlabs(shape):
    array = np.random.default_rng(10).random(shape)
    small = _normalize.shrink(array, 32)
    assert small.shape == (math.ceil(shape[0] / 32), math.ceil(shape[1] / 32))
    assert small == pytest.approx(matlab_imresize(array, 32), abs=1e-12)
    assert _normalize.shrink(np.ones(shape), 32) == pytest.approx(1)


def test_shrinking_is_pillows_away_from_the_border():
    array = np.random.default_rng(11).random((480, 640), np.float32)
    theirs = Image.fromarray(array).resize((20, 15), Image.Resampling.BICUBIC)
    inside = np.s_[2:-2, 2:-2]  # at the border Pillow drops taps, where MATLAB mirrors
    assert _normalize.shrink(array, 32)[inside] == pytest.approx(np.array(theirs)[inside], abs=1e-5)


@needs_pot
def test_emd_of_a_shifted_map_is_the_shift():
    density = np.zeros((12, 15))
    density[2:6, 3:8] = np.random.default_rng(12).random((4, 5))
    shifted = np.roll(density, (3, 4), axis=(0, 1))
    assert emd(shifted, density, factor=1) == pytest.approx(5)
    # One reduced pixel is 32 pixels, wherever the mass lies within it.
    big = np.zeros((320, 320))
    big[130:150, 100:120] = 1
    shifted = np.roll(big, 96, axis=1)
    assert emd(shifted, big) == pytest.approx(3)


@needs_pot
def test_emd_is_a_distance():
    random = np.random.default_rng(13)
    a, b, c = random.random((3, 5, 6)) ** 4
    distance = partial(emd, factor=1)
    assert distance(a, a) == pytest.approx(0, abs=1e-12)
    assert distance(a, b) == pytest.approx(distance(b, a))
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    for other in (7 * a, a * 1e-9):
        assert distance(other, b) == pytest.approx(distance(a, b))
    assert distance(a[:, ::-1], b[:, ::-1]) == pytest.approx(distance(a, b))
    assert distance(a.T, b.T) == pytest.approx(distance(a, b))


@needs_pot
def test_emd_of_degenerate_maps():
    density = np.zeros((64, 96))
    density[40:50, 60:70] = 1
    uniform = emd(np.ones((64, 96)), density)
    for constant in (0, 0.1, -3.7, 1e308):
        assert emd(np.full((64, 96), constant), density) == pytest.approx(uniform)
    assert emd(np.zeros((64, 96)), np.zeros((64, 96))) == pytest.approx(0, abs=1e-12)
    assert emd([[5.0]], [[2.0]]) == 0  # everything falls into one reduced pixel
    assert emd(density - 7, density) == pytest.approx(0, abs=1e-12)
    assert type(uniform) is float


def test_emd_names_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"emd needs the package POT.*keras-salnet\[emd\]"):
        emd(np.ones((2, 2)), np.ones((2, 2)))


@pytest.mark.parametrize("factor", [0, -1, 1.5])
def test_emd_refuses_another_factor(factor):
    with pytest.raises(ValueError, match=rf"factor is {factor}; it must be a whole number"):
        emd(np.ones((2, 2)), np.ones((2, 2)), factor=factor)


@needs_pot
def test_emd_loads_no_deep_learning_library(run_python):
    run_python(
        """
import os, sys
from keras_salnet.metrics import emd
before = dict(os.environ)
assert emd([[1, 0]], [[0, 1]], factor=1) == 1
assert dict(os.environ) == before
assert not {"torch", "jax", "tensorflow", "keras"} & set(sys.modules)
"""
    )


# By hand


def test_kl_by_hand():
    # p = (1/4, 1/2, 1/4, 0), g = (1/4, 3/4, 0, 0)
    assert kl_divergence([[1, 2], [1, 0]], [[1, 3], [0, 0]]) == pytest.approx(0.75 * math.log(1.5))
    # No overlap: ln(1 / eps), whatever the maps are otherwise.
    assert kl_divergence([[1, 0]], [[0, 1]]) == pytest.approx(-math.log(EPS))


def test_similarity_by_hand():
    saliency, density = [[5, 3], [1, 1]], [[3, 1], [1, 1]]
    # MIT: (4, 2, 0, 0) / 6 and (2, 0, 0, 0) / 2.
    # pysaliency: (5, 3, 1, 1) / 10 and (3, 1, 1, 1) / 6.
    assert similarity(saliency, density) == pytest.approx(4 / 6)
    assert similarity(saliency, density, convention="pysaliency") == pytest.approx(
        0.5 + 1 / 6 + 0.2
    )


def test_correlation_by_hand():
    assert correlation_coefficient([[1, 2], [1, 0]], [[1, 3], [0, 0]]) == pytest.approx(
        3 / math.sqrt(12)
    )


def test_nss_by_hand():
    # Mean 1, squared deviations 8; the fixated values are 3, 2 and 2 again.
    saliency, fixations = [[0, 1, 2], [0, 0, 3]], [(2, 1), (2, 0), (2, 0)]
    assert nss(saliency, fixations) == pytest.approx((2 + 1) / 2 / math.sqrt(8 / 5))
    assert nss(saliency, fixations, convention="pysaliency") == pytest.approx(
        (2 + 1 + 1) / 3 / math.sqrt(8 / 6)
    )
    assert nss(saliency, fixations, ddof=0) == pytest.approx(1.5 / math.sqrt(8 / 6))
    assert nss(saliency, fixations, convention="pysaliency", ddof=1) == pytest.approx(
        4 / 3 / math.sqrt(8 / 5)
    )


def test_auc_judd_by_hand():
    # Thresholds 3 and 1: (0, 1/2) and (1/4, 1), since of the pixels 0, 2, 0, 0 one reaches 1.
    saliency = [[0, 1, 2], [0, 0, 3]]
    assert auc_judd(saliency, [(2, 1), (1, 0)]) == 15 / 16
    assert auc_judd(saliency, [(2, 1), (1, 0), (1, 0)]) == 15 / 16
    # Fixated twice, the pixel of 1 lowers the first point to (0, 1/3).
    assert auc_judd(saliency, [(2, 1), (1, 0), (1, 0)], convention="pysaliency") == pytest.approx(
        1 / 4 * (1 / 3 + 1) / 2 + 3 / 4
    )


def test_auc_by_hand():
    # Of six pixels, the fixation on 3 beats five and ties with itself; that on 1 beats three.
    saliency = [[0, 1, 2], [0, 0, 3]]
    assert auc(saliency, [(2, 1), (1, 0)]) == (5.5 + 3.5) / 2 / 6
    assert auc(saliency, [(2, 1), (1, 0), (1, 0)]) == 12.5 / 18
    assert auc(saliency, [(0, 0)]) == 1.5 / 6


def test_auc_borji_by_hand():
    # The fixated pixel is the only one that reaches a threshold above 0: (r, 1) is the one point
    # besides the corners, r the share of draws that hit it, and the area 1 - r / 2.
    drawn = np.random.default_rng(5).integers(4, size=100)
    assert auc_borji([[0, 0], [0, 7]], [(1, 1), (1, 1)], seed=5) == pytest.approx(
        1 - np.mean(drawn == 3) / 2
    )


def test_shuffled_auc_by_hand():
    saliency = [[0.0, 0.15, 0.3], [0.35, 0.75, 1.0]]
    fixations, others = [(2, 1), (0, 1), (0, 1)], [(1, 1), (2, 0), (2, 0)]
    # 1 beats both of 0.75 and 0.3, and 0.35 only 0.3 ...
    assert shuffled_auc(saliency, fixations, others, convention="pysaliency") == pytest.approx(
        (3 + 2 + 2) / 9
    )
    # ... but with thresholds 0.1 apart, 0.35 and 0.3 are equal: (0, 1/2), (1/2, 1/2), (1, 1).
    assert shuffled_auc(saliency, fixations, others) == pytest.approx(1 / 4 + 3 / 8)
    # A threshold is reached by what equals it, as 153 of 255 does 0.6.
    assert shuffled_auc([[0, 153, 152, 255]], [(1, 0)], [(2, 0)]) == 1


def test_information_gain_by_hand():
    saliency, baseline = [[5, 3], [1, 1]], [[2, 1], [1, 1]]
    fixations = [(0, 0), (1, 0), (1, 0), (0, 1)]
    # MIT: (4, 2, 0) / 6 against (1, 0, 0) / 1.
    gains = [math.log2(4 / 6), math.log2(2 / 6 / EPS), 0]
    assert information_gain(saliency, fixations, baseline) == pytest.approx(sum(gains) / 3)
    # pysaliency: (5, 3, 3, 1) / 10 against (2, 1, 1, 1) / 5.
    gains = [math.log2(5 / 4), math.log2(3 / 2), math.log2(3 / 2), math.log2(1 / 2)]
    assert information_gain(
        saliency, fixations, baseline, convention="pysaliency"
    ) == pytest.approx(sum(gains) / 4)
    # Against the uniform density, 1/4.
    assert information_gain(saliency, [(0, 0)]) == pytest.approx(math.log2(4 / 6 * 4))
    assert information_gain(saliency, [(0, 0)], convention="pysaliency") == pytest.approx(1)


@both_conventions
def test_auc_judd_takes_a_tie_as_one_point(convention):
    # Tied below all other pixels, the fixations are at chance: the curve has no point but (1, 1).
    assert auc_judd([[0, 0], [1, 2]], [(0, 0), (1, 0)], convention=convention) == 0.5
    # The tied 1s, two fixated and one not, are the point (1/2, 1): the area is 1/4 + 1/2.
    assert auc_judd([[1, 1], [1, 0]], [(0, 0), (1, 0)], convention=convention) == 0.75


def test_a_fixation_is_rounded_down_to_its_pixel():
    saliency = np.zeros((3, 4))
    saliency[1, 3] = 1
    inside = nss(saliency, [(3, 1)])
    assert inside > 0
    assert nss(saliency, [(3.999, 1.0)]) == nss(saliency, [(3.0, 1.999)]) == inside
    assert nss(saliency, [(2.999, 1)]) < 0 > nss(saliency, [(3, 0.999)])


@each_location_metric
@both_conventions
def test_the_border_belongs_to_the_frame(metric, convention):
    saliency = 1 + np.random.default_rng(14).permutation(35).reshape(5, 7)
    for x, y in itertools.product((0, 6), (0, 4)):
        near = [(min(x + 0.99, 6.99), min(y + 0.99, 4.99))]
        assert metric(saliency, near, convention=convention) == metric(
            saliency, [(x, y)], convention=convention
        )
    for x, y in ((7, 4), (6, 5), (-0.01, 0), (0, -0.01)):
        with pytest.raises(ValueError, match="fixations has 1 of 1 points outside the 7 x 5 frame"):
            metric(saliency, [(x, y)], convention=convention)


# Where the conventions differ, and by how much


def test_conventions_differ_on_a_floor_only_in_similarity(density):
    saliency = prediction("floor")
    for metric in (kl_divergence, correlation_coefficient):
        assert metric(saliency, density) == metric(saliency, density, convention="pysaliency")
    gap = similarity(saliency, density) - similarity(saliency, density, convention="pysaliency")
    assert abs(gap) > 1e-2


def test_conventions_differ_by_the_degree_of_freedom_in_nss():
    saliency = prediction("smooth", (480, 640))
    ratio = nss(saliency, [(30, 20)], convention="pysaliency") / nss(saliency, [(30, 20)])
    assert ratio == pytest.approx(1 + 1 / (2 * 480 * 640), abs=1e-10)


@each_to_fixations
def test_mit_counts_a_pixel_once_and_pysaliency_every_fixation(metric, fixations):
    saliency = prediction("noise")
    repeated = np.concatenate([fixations, fixations[:5].repeat(9, axis=0)])
    assert metric(saliency, repeated) == metric(saliency, fixations)
    score = partial(metric, saliency, convention="pysaliency")
    assert abs(score(repeated) - score(fixations)) > 1e-3


def test_where_there_is_one_convention_it_decides_what_a_repeated_fixation_counts(fixations):
    saliency = prediction("noise")
    repeated = np.concatenate([fixations, fixations[:5].repeat(9, axis=0)])
    assert auc_borji(saliency, repeated) == auc_borji(saliency, fixations)
    assert abs(auc(saliency, repeated) - auc(saliency, fixations)) > 1e-3


def test_conventions_of_shuffled_auc_and_information_gain_differ(
    density, fixations, other_fixations
):
    saliency = prediction("noise")
    repeated = np.concatenate([fixations, fixations[:5].repeat(9, axis=0)])
    for metric, truth in ((shuffled_auc, other_fixations), (information_gain, density)):
        assert metric(saliency, repeated, truth) == metric(saliency, fixations, truth)
        score = partial(metric, saliency, convention="pysaliency")
        assert abs(score(repeated, truth) - score(fixations, truth)) > 1e-3
    again = np.concatenate([other_fixations, other_fixations[:5].repeat(9, axis=0)])
    score = partial(shuffled_auc, saliency, fixations)
    assert score(again) == score(other_fixations)
    score = partial(score, convention="pysaliency")
    assert abs(score(again) - score(other_fixations)) > 1e-3
    # A floor that MIT's code takes away, and that costs pysaliency's bits nothing.
    floor = prediction("floor")
    score = partial(information_gain, floor, fixations)
    assert abs(score() - score(convention="pysaliency")) > 0.1


def test_kl_shifts_negative_predictions_under_pysaliency_only(density):
    saliency = prediction("log density")
    with pytest.raises(ValueError, match=r"saliency has 3072 negative values, the lowest -.*pysal"):
        kl_divergence(saliency, density)
    assert kl_divergence(saliency, density, convention="pysaliency") == pytest.approx(
        kl_divergence(saliency - saliency.min(), density)
    )


# Theory


@both_conventions
def test_kl_of_a_uniform_prediction_is_the_missing_entropy(convention, density):
    g = density / density.sum()
    entropy = -(g * np.log(g)).sum()
    for uniform in (np.ones(SHAPE), np.zeros(SHAPE)):
        assert kl_divergence(uniform, density, convention=convention) == pytest.approx(
            math.log(g.size) - entropy
        )


def test_kl_of_shifted_gaussians_is_half_their_squared_distance():
    shape = (96, 96)
    assert kl_divergence(blob(shape, 51, 46, 8), blob(shape, 47, 43, 8)) == pytest.approx(
        (4**2 + 3**2) / (2 * 8**2), rel=1e-4
    )


def test_a_negated_density_correlates_at_minus_one(density):
    assert correlation_coefficient(-density, density) == pytest.approx(-1, abs=1e-12)
    assert correlation_coefficient(-density, density) >= -1


def test_disjoint_maps_have_no_similarity():
    assert similarity([[1, 0, 0]], [[0, 2, 1]]) == 0


def test_nss_of_a_single_hot_pixel():
    saliency = np.zeros(SHAPE)
    saliency[20, 30] = 7
    n = saliency.size
    assert nss(saliency, [(30, 20)], ddof=0) == pytest.approx(math.sqrt(n - 1))
    assert nss(saliency, [(30, 20)], ddof=1) == pytest.approx((n - 1) / math.sqrt(n))


@pytest.mark.parametrize("rank", [0, 17, 500, 999])
@both_conventions
def test_auc_judd_of_one_fixation_is_set_by_its_rank(rank, convention):
    # `rank` of 999 other pixels are more salient: one point (rank / 999, 1).
    order = np.random.default_rng(4).permutation(1000)
    row, column = np.argwhere(order.reshape(20, 50) == 999 - rank)[0]
    assert auc_judd(order.reshape(20, 50), [(column, row)], convention=convention) == pytest.approx(
        1 - rank / 999 / 2
    )


@pytest.mark.parametrize("rank", [0, 17, 500, 999])
def test_auc_of_one_fixation_is_set_by_its_rank(rank):
    # It beats the less salient ones of 1000 pixels, and ties with itself.
    order = np.random.default_rng(4).permutation(1000)
    row, column = np.argwhere(order.reshape(20, 50) == 999 - rank)[0]
    assert auc(order.reshape(20, 50), [(column, row)]) == (999 - rank + 0.5) / 1000


def test_auc_of_all_pixels_is_one_half(fixations):
    everywhere = np.stack([axis.ravel() for axis in np.indices(SHAPE)[::-1]], axis=1)
    for kind in ("noise", "8-bit"):
        assert auc(prediction(kind), everywhere) == 0.5
        assert shuffled_auc(
            prediction(kind), fixations, fixations, convention="pysaliency"
        ) == pytest.approx(0.5)


def test_auc_borji_is_on_average_against_all_pixels(fixations):
    saliency = prediction("smooth")
    every_pixel = [(x, y) for y in range(SHAPE[0]) for x in range(SHAPE[1])]
    expected = mit_area(saliency, mit_fixated(fixations), [every_pixel])
    scores = [auc_borji(saliency, fixations, seed=seed) for seed in range(200)]
    assert np.mean(scores) == pytest.approx(expected, abs=0.001)
    # The spread that its docstring tells, on a map whose steps are equally frequent.
    scores = [auc_borji(prediction("noise"), fixations, seed=seed) for seed in range(200)]
    assert np.std(scores) == pytest.approx(0.03 / math.sqrt(60), rel=0.2)


def test_a_map_of_the_centre_bias_is_at_chance_in_shuffled_auc():
    random = np.random.default_rng(15)
    centre = blob((480, 640), 320, 240, 100)
    fixations, others = random.uniform(0, 1, (2, 2000, 4, 2)).mean(axis=2) * (640, 480)
    assert auc(centre, fixations) > 0.7
    for convention in CONVENTIONS:
        score = shuffled_auc(centre, fixations, others, convention=convention)
        assert score == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("base", [1, 7])
def test_information_gain_of_the_truth_is_its_missing_entropy(base):
    # Each pixel is fixated as often as the density says.
    counts = np.random.default_rng(16).integers(base, base + 9, (6, 8))
    fixations = np.repeat(np.argwhere(counts)[:, ::-1], counts.ravel(), axis=0)
    p = counts / counts.sum()
    missing = math.log2(p.size) + (p * np.log2(p)).sum()
    gain = partial(information_gain, fixations=fixations, convention="pysaliency")
    assert gain(counts) == pytest.approx(missing)
    # No other density gains more, and against itself there is nothing to gain.
    noise = np.random.default_rng(17).random(p.shape)
    assert gain(p + 0.01 * noise) < gain(p)
    assert gain(counts, baseline=7 * p) == pytest.approx(0, abs=1e-12)
    assert gain(noise, baseline=p) < 0


def test_auc_judd_at_chance_exceeds_one_half_by_what_its_docstring_says():
    random = np.random.default_rng(5)
    n = 4
    scores = []
    for _ in range(2000):
        pixels = random.choice(400, n, replace=False)
        fixations = np.stack([pixels % 20, pixels // 20], axis=1)
        scores.append(auc_judd(random.random((20, 20)), fixations))
    assert np.mean(scores) == pytest.approx(0.5 + 1 / (2 * n + 2), abs=0.01)


@both_conventions
def test_the_best_prediction_attains_the_best_value(convention, density, fixations):
    assert abs(kl_divergence(density, density, convention=convention)) < density.size * EPS
    assert similarity(density, density, convention=convention) == pytest.approx(1, abs=1e-12)
    assert correlation_coefficient(density, density, convention=convention) == pytest.approx(
        1, abs=1e-12
    )
    fixated = np.zeros(SHAPE)
    for x, y in np.floor(fixations).astype(int):
        fixated[y, x] = 1
    assert auc_judd(fixated, fixations, convention=convention) == 1
    assert shuffled_auc(fixated, fixations, [(0, 0), (63, 47)], convention=convention) == 1
    assert auc(fixated, fixations) == 1 - np.count_nonzero(fixated) / (2 * fixated.size)
    drawn = np.random.default_rng(0).integers(fixated.size, size=(100, fixated.sum().astype(int)))
    assert auc_borji(fixated, fixations) == pytest.approx(1 - fixated.take(drawn).mean() / 2)
    # Of all maps, those constant on and off the fixations have the highest NSS.
    best = nss(fixated, fixations)
    assert nss(fixated + 0.1 * prediction("noise"), fixations) < best


# Properties


@st.composite
def levels(draw, low=0, high=255):
    """A map of integers as floats: exact under shifts and scalings, and with ties."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(2, 7)))
    return draw(arrays(np.float64, shape, elements=st.integers(low, high).map(float)))


@st.composite
def two_maps(draw, elements):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 7)))
    saliency = draw(arrays(np.float64, shape, elements=elements))
    return saliency, np.abs(draw(arrays(np.float64, shape, elements=elements)))


@st.composite
def points_on(draw, saliency):
    height, width = saliency.shape
    point = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    return np.array(draw(st.lists(point, min_size=1, max_size=12)))


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@both_conventions
@some_examples
@given(data=st.data())
def test_density_metrics_ignore_scale_and_mirroring(convention, data):
    saliency, density = data.draw(two_maps(st.integers(0, 255).map(float)))
    scale = data.draw(st.sampled_from([1e-8, 0.3, 1e9]))
    for metric in TO_DENSITY:
        score = partial(metric, convention=convention)
        value = score(saliency, density)
        assert score(scale * saliency, density) == close(value)
        assert score(saliency, scale * density) == close(value)
        assert score(saliency[:, ::-1], density[:, ::-1]) == close(value)
        assert score(saliency[::-1].T, density[::-1].T) == close(value)


@both_conventions
@some_examples
@given(data=st.data())
def test_location_metrics_ignore_scale_offset_mirroring_and_order(convention, data):
    saliency = data.draw(levels())
    fixations = data.draw(points_on(saliency))
    scale = data.draw(st.sampled_from([2.0**-30, 3.0, 1e9]))
    offset = data.draw(st.sampled_from([-1e5, 0.0, 7.0]))
    others, baseline = data.draw(points_on(saliency)), saliency[::-1, ::-1] + 1
    shuffled = fixations[data.draw(st.permutations(range(len(fixations))))]
    twice = np.tile(fixations, (2, 1))

    def mirrored(points):
        return np.stack([saliency.shape[1] - 1 - points[:, 0], points[:, 1]], axis=1)

    scores = partial(location_scores, convention=convention)
    values = scores(saliency, fixations, others, baseline)
    assert scores(scale * (saliency + offset), fixations, others, baseline) == close(values)
    assert scores(saliency, shuffled, others[::-1], baseline) == close(values)
    assert scores(
        saliency[:, ::-1], mirrored(fixations), mirrored(others), baseline[:, ::-1]
    ) == close(values)
    assert scores(saliency.T, fixations[:, ::-1], others[:, ::-1], baseline.T) == close(values)
    assert scores(saliency, twice, others, baseline) == close(values)


def location_scores(saliency, fixations, others, baseline, convention):
    """All that are free of chance in where pixels lie, by name."""
    options = {"convention": convention}
    # pysaliency's information gain knows no offset.
    p = saliency if convention == "mit" else saliency - saliency.min() + np.ptp(saliency)
    return {
        "nss": nss(saliency, fixations, **options),
        "auc": auc(saliency, fixations),
        "auc_judd": auc_judd(saliency, fixations, **options),
        "shuffled_auc": shuffled_auc(saliency, fixations, others, **options),
        "information_gain": information_gain(p, fixations, baseline, **options),
    }


@both_conventions
@some_examples
@given(data=st.data())
def test_information_gain_ignores_the_scale_of_both_maps(convention, data):
    saliency = data.draw(levels(1, 255))
    fixations, scale = data.draw(points_on(saliency)), data.draw(st.sampled_from([1e-8, 0.3, 1e9]))
    baseline = data.draw(arrays(np.float64, saliency.shape, elements=st.integers(1, 9).map(float)))
    score = partial(information_gain, fixations=fixations, convention=convention)
    value = score(saliency, baseline=baseline)
    assert score(scale * saliency, baseline=baseline) == close(value)
    assert score(saliency, baseline=scale * baseline) == close(value)
    assert score(baseline, baseline=saliency) == close(-value)


@both_conventions
@some_examples
@given(data=st.data())
def test_exact_aucs_see_the_order_of_values_only(convention, data):
    saliency = data.draw(levels(-50, 50))
    fixations = data.draw(points_on(saliency))
    others = data.draw(points_on(saliency))
    judd = partial(auc_judd, fixations=fixations, convention=convention)
    shuffled = partial(shuffled_auc, fixations=fixations, other_fixations=others)
    shuffled = partial(shuffled, convention="pysaliency")
    for transform in (lambda v: v**3, lambda v: np.exp(v / 3), np.arctan):
        for score in (judd, shuffled, partial(auc, fixations=fixations)):
            assert score(transform(saliency)) == score(saliency)


@both_conventions
@some_examples
@given(maps=two_maps(st.floats(0, 1e6)))
def test_cc_and_sim_are_symmetric(convention, maps):
    for metric in (correlation_coefficient, similarity):
        assert metric(*maps, convention=convention) == close(
            metric(*maps[::-1], convention=convention)
        )


@both_conventions
@some_examples
@given(data=st.data())
def test_every_finite_map_gives_a_value_in_range(convention, data):
    saliency, density = data.draw(two_maps(st.floats(allow_nan=False, allow_infinity=False)))
    fixations = data.draw(points_on(saliency))
    root = math.sqrt(saliency.size)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        kl = kl_divergence(np.abs(saliency), density, convention=convention)
        cc = correlation_coefficient(saliency, density, convention=convention)
        sim = similarity(saliency, density, convention=convention)
        score = nss(saliency, fixations, convention=convention)
        judd = auc_judd(saliency, fixations, convention=convention)
        jittered = auc_judd(saliency, fixations, convention=convention, jitter=True)
        against_all = auc(saliency, fixations)
        borji = auc_borji(saliency, fixations)
        others = fixations // 2
        shuffled = shuffled_auc(saliency, fixations, others, convention=convention)
        gain = information_gain(np.abs(saliency), fixations, convention=convention)
    assert -saliency.size * EPS <= kl <= -math.log(EPS) + 1e-9
    assert -1 <= cc <= 1
    assert 0 <= sim <= 1 + 1e-12
    assert -root <= score <= root
    assert 0 <= judd <= 1 + 1e-12
    assert 0 <= jittered <= 1 + 1e-12
    assert 0 <= against_all <= 1
    assert 0 <= borji <= 1 + 1e-12
    assert 0 <= shuffled <= 1 + 1e-12
    assert (-52.1 if convention == "mit" else -np.inf) <= gain <= 52.1
    values = (kl, cc, sim, score, judd, jittered, against_all, borji, shuffled, gain)
    assert all(type(value) is float for value in values)


@some_examples
@given(data=st.data())
def test_without_repeated_pixels_both_conventions_give_one_auc(data):
    saliency = data.draw(levels())
    fixations = np.unique(data.draw(points_on(saliency)), axis=0)
    assert auc_judd(saliency, fixations) == auc_judd(saliency, fixations, convention="pysaliency")


# Degenerate input that has an answer


@both_conventions
@pytest.mark.parametrize("value", [0, 0.1, 1, -3.7, 1e308, 5e-324])
def test_a_constant_prediction_is_worth_nothing(value, convention, density, fixations):
    constant = np.full(SHAPE, value)
    assert correlation_coefficient(constant, density, convention=convention) == 0
    assert nss(constant, fixations, convention=convention) == 0
    for jitter in (False, True):
        assert auc_judd(constant, fixations, convention=convention, jitter=jitter) == 0.5
    assert auc(constant, fixations) == auc_borji(constant, fixations) == 0.5
    assert shuffled_auc(constant, fixations, [(0, 0)], convention=convention) == 0.5
    if convention == "mit":
        assert information_gain(constant, fixations) == close(0)
    elif value >= 0:
        assert information_gain(constant, fixations, convention=convention) == close(0)
    assert similarity(constant, density, convention=convention) == close(
        similarity(np.ones(SHAPE), density, convention=convention)
    )


@pytest.mark.parametrize("scale", [2.0**1020, 2.0**-1074])
def test_values_at_the_limits_of_float64_neither_overflow_nor_vanish(scale):
    saliency = 2 * np.arange(12.0).reshape(3, 4) - 11  # times 2^1020, max - min overflows
    density, fixations = saliency[::-1] ** 2, [(0, 0), (3, 2), (3, 2), (2, 2)]
    for metric in TO_DENSITY:
        score = partial(metric, density=density, convention="pysaliency")
        assert score(scale * saliency) == close(score(saliency)), metric.__name__
    assert similarity(scale * saliency, density) == close(similarity(saliency, density))
    for metric in LOCATION_METRICS:
        assert metric(scale * saliency, fixations) == close(metric(saliency, fixations))
    assert kl_divergence(density, scale * np.abs(saliency)) == close(
        kl_divergence(density, np.abs(saliency))
    )


@both_conventions
def test_an_empty_density_counts_as_uniform(convention):
    saliency, empty, uniform = prediction("smooth"), np.zeros(SHAPE), np.ones(SHAPE)
    for metric in (kl_divergence, similarity):
        assert metric(saliency, empty, convention=convention) == metric(
            saliency, uniform, convention=convention
        )
    assert correlation_coefficient(saliency, empty, convention=convention) == 0


def test_information_gain_of_what_was_thought_impossible(density, fixations):
    x, y = np.floor(fixations[3]).astype(int)
    saliency = prediction("smooth")
    impossible = saliency.copy()
    impossible[y, x] = 0
    gain = partial(information_gain, fixations=fixations, convention="pysaliency")
    assert gain(impossible) == -np.inf
    assert information_gain(impossible, fixations) < -0.5  # one of 60 gains less than -50 bits
    with pytest.raises(ValueError, match=r"baseline is 0 at 2 of 70 fixations; it must be pos"):
        gain(saliency, baseline=impossible)
    with pytest.raises(ValueError, match=r"saliency has 3072 negative values.*a log density"):
        gain(prediction("log density"))
    with pytest.raises(ValueError, match=r"baseline has 3072 negative values.*a log density"):
        gain(saliency, baseline=prediction("log density"))
    with pytest.raises(
        ValueError, match=r"baseline has shape \(2, 2\) but saliency has \(48, 64\)"
    ):
        gain(saliency, baseline=np.ones((2, 2)))


def test_one_fixation_has_an_auc_borji(fixations):
    # MIT's code gives NaN.
    assert 0 < auc_borji(prediction("noise"), fixations[:1]) < 1


def test_draws_are_reproducible(fixations, other_fixations):
    saliency = prediction("noise")
    borji = partial(auc_borji, saliency, fixations)
    shuffled = partial(shuffled_auc, saliency, fixations, other_fixations)
    for score in (borji, shuffled):
        assert score() == score(seed=0) != score(seed=1)
    exact = partial(shuffled, convention="pysaliency")
    assert exact() == exact(seed=1)


def test_auc_of_crowded_values():
    # All values but one fall into one bucket of the fast count, and so do all thresholds.
    random = np.random.default_rng(18)
    for values in (random.random(40_000) ** 40, random.integers(0, 4, 40_000) * 1e-9):
        values[7] = 1e4
        saliency = values.reshape(200, 200)
        points = random.integers(0, 200, (60, 2))
        fixated = saliency[points[:, 1], points[:, 0]]
        below = np.array([np.mean(values < v) + np.mean(values == v) / 2 for v in fixated])
        assert auc(saliency, points) == pytest.approx(below.mean(), abs=1e-12)


def test_auc_judd_has_no_opinion_where_every_pixel_is_fixated():
    assert auc_judd([[0, 1]], [(0, 0), (1, 0)]) == 0.5


def test_jitter_breaks_ties_reproducibly_and_nothing_else(fixations):
    tied = np.round(prediction("noise"), 1)
    score = partial(auc_judd, tied, fixations, jitter=True)
    assert score(seed=1) == score(seed=1) != score(seed=2)
    assert score() == pytest.approx(auc_judd(tied, fixations), abs=0.05)
    # Steps of 1e-5 stay in order, however small the map's own scale is.
    ordered = np.random.default_rng(6).permutation(SHAPE[0] * SHAPE[1]).reshape(SHAPE) * 1e-12
    assert auc_judd(ordered, fixations, jitter=True) == auc_judd(ordered, fixations)


@each_metric
def test_inputs_are_left_alone(metric, density, fixations):
    saliency = prediction("smooth")
    truth = density if metric in TO_DENSITY else fixations
    before = saliency.copy(), truth.copy()
    metric(saliency, truth)
    assert np.array_equal(saliency, before[0])
    assert np.array_equal(truth, before[1])


# Bad input

GOOD = np.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD[None], r"{name} has shape \(1, 3, 4\); it must be a map \(H, W\)"),
        (GOOD[0], r"{name} has shape \(4,\); it must be a map \(H, W\)"),
        (np.zeros((0, 4)), r"{name} has shape \(0, 4\).*at least one pixel"),
        (np.where(GOOD < 2, np.nan, GOOD), r"{name} has 2 of 12 values that are NaN or infinite"),
        (np.where(GOOD < 1, np.inf, GOOD), r"{name} has 1 of 12 values that are NaN or infinite"),
        (GOOD + 1j, r"{name} must be an array of real numbers"),
        ([["a", "b"]], r"{name} must be an array of real numbers"),
        ([[1, 2], [3]], r"{name} must be an array of real numbers"),
        (None, r"{name} must be an array of real numbers"),
    ],
)
def test_bad_maps_are_refused(bad, message):
    for metric in TO_DENSITY:
        with pytest.raises(ValueError, match=message.format(name="saliency")):
            metric(bad, GOOD)
        with pytest.raises(ValueError, match=message.format(name="density")):
            metric(GOOD, bad)
    with pytest.raises(ValueError, match=message.format(name="saliency")):
        emd(bad, GOOD)
    with pytest.raises(ValueError, match=message.format(name="density")):
        emd(GOOD, bad)
    for metric in LOCATION_METRICS:
        with pytest.raises(ValueError, match=message.format(name="saliency")):
            metric(bad, [(0, 0)])
    if bad is not None:
        with pytest.raises(ValueError, match=message.format(name="baseline")):
            information_gain(GOOD, [(0, 0)], bad)


@each_to_density
@both_conventions
def test_a_negative_density_is_refused(metric, convention):
    with pytest.raises(ValueError, match=r"density has 3 negative values, the lowest -3; a dens"):
        metric(GOOD, GOOD - 3, convention=convention)


@each_to_density
def test_maps_of_two_sizes_are_refused(metric):
    message = r"saliency has shape \(4, 3\) but density has \(3, 4\); resize saliency"
    with pytest.raises(ValueError, match=message):
        metric(GOOD.T, GOOD)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], r"fixations is empty.*at least one"),
        (np.empty((0, 2)), "fixations is empty.*at least one"),
        ((1, 2), r"fixations has shape \(2,\); it must be \(n, 2\)"),
        ([(1, 2, 3)], r"fixations has shape \(1, 3\); it must be \(n, 2\)"),
        ([(1, np.nan)], "fixations has 1 of 2 values that are NaN or infinite"),
        ([(4, 0), (0, 0)], "fixations has 1 of 2 points outside the 4 x 3 frame"),
        ([(0, 3), (-1, 0), (0, -0.1), (3, 2)], "fixations has 3 of 4 points outside"),
        ([(1e300, 0)], "fixations has 1 of 1 points outside"),
        ("ab", "fixations must be an array of real numbers"),
    ],
)
@each_location_metric
@both_conventions
def test_bad_fixations_are_refused(metric, convention, bad, message):
    with pytest.raises(ValueError, match=message):
        metric(GOOD, bad, convention=convention)
    if metric is shuffled_auc_against_the_corner:
        with pytest.raises(ValueError, match=message.replace("fixations", "other_fixations")):
            shuffled_auc(GOOD, [(0, 0)], bad, convention=convention)


@pytest.mark.parametrize(
    "metric",
    [*TO_DENSITY, *TO_FIXATIONS, information_gain, shuffled_auc_against_the_corner],
)
def test_unknown_conventions_are_refused(metric):
    truth = GOOD if metric in TO_DENSITY else [(0, 0)]
    with pytest.raises(ValueError, match=r"convention is 'MIT'; it must be one of \('mit', 'pysal"):
        metric(GOOD, truth, convention="MIT")


def test_another_ddof_is_refused():
    with pytest.raises(ValueError, match="ddof is 2; it must be 0, 1 or None"):
        nss(GOOD, [(0, 0)], ddof=2)


@pytest.mark.parametrize(
    "module", [distribution, location, roc], ids=lambda module: module.__name__
)
def test_the_docstrings_examples_run(module):
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed
