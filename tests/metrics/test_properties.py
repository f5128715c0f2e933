"""Properties of the metrics on any maps, and degenerate input that has an answer."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from metric_cases import (
    EPS,
    LOCATION_METRICS,
    SHAPE,
    TO_DENSITY,
    both_conventions,
    each_metric,
    prediction,
    some_examples,
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
