"""The metrics by hand, where conventions differ, and against theory."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from metric_cases import (
    CONVENTIONS,
    EPS,
    SHAPE,
    blob,
    both_conventions,
    each_location_metric,
    each_to_fixations,
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
