"""The metrics against pysaliency, and against MIT's definitions as plain loops."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from metric_cases import (
    EPS,
    KINDS,
    SHAPE,
    mit_area,
    mit_fixated,
    prediction,
)

from keras_salnet.metrics import (
    auc,
    auc_borji,
    auc_judd,
    correlation_coefficient,
    information_gain,
    kl_divergence,
    nss,
    shuffled_auc,
    similarity,
)

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
