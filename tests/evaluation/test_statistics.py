"""Intervals and tests against scipy's, against brute force and against theory."""

import itertools

import numpy as np
import pytest
from scipy import stats

from keras_salnet.evaluation.statistics import bootstrap, interval, permutation_p


def skewed(count, columns=1, seed=0):
    return np.random.default_rng(seed).exponential(size=(count, columns))


# Bootstrap


@pytest.mark.parametrize("count", [15, 60])
def test_intervals_are_those_of_scipy_s_bootstrap(count):
    scores = skewed(count)
    expected = stats.bootstrap(
        (scores[:, 0],), np.mean, method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    means, resampled = bootstrap(scores)
    assert means == pytest.approx(scores.mean())
    # A quantile of 10,000 resamples has an error of 0.027 standard errors of the mean.
    tolerance = 5 * np.sqrt(2) * 0.027 * scores.std() / np.sqrt(count)
    assert interval(resampled[:, 0]) == pytest.approx(expected, abs=tolerance)


def test_intervals_of_many_scores_are_the_normal_ones():
    scores = skewed(400)
    standard_error = scores.std(ddof=1) / 20
    expected = scores.mean() + standard_error * np.array([-1.96, 1.96])
    _, resampled = bootstrap(scores)
    assert resampled.shape == (10_000, 1)
    assert interval(resampled[:, 0]) == pytest.approx(expected, abs=0.2 * standard_error)


def test_all_columns_are_resampled_by_the_same_images():
    first, second = skewed(50, 2).T
    _, resampled = bootstrap(np.stack([first, first + 3, second], axis=1))
    low, high = interval(resampled[:, 1] - resampled[:, 0])
    assert low == pytest.approx(3, abs=1e-12)
    assert high == pytest.approx(3, abs=1e-12)
    low, high = interval(resampled[:, 2] - resampled[:, 0])
    assert high - low > 0.3


def test_a_missing_score_is_left_out_of_its_own_column_only():
    scores = skewed(200, 2)
    some = scores.copy()
    some[:120, 1] = np.nan
    means, resampled = bootstrap(some)
    whole_means, whole = bootstrap(scores)
    assert means == pytest.approx([scores[:, 0].mean(), scores[120:, 1].mean()])
    assert np.array_equal(resampled[:, 0], whole[:, 0])
    assert whole_means[1] != means[1]
    expected = scores[120:, 1].std() / np.sqrt(80)
    assert resampled[:, 1].std() == pytest.approx(expected, rel=0.05)
    assert scores[120:, 1].min() < resampled[:, 1].min()


def test_an_infinite_score_makes_means_infinite_and_none_nan():
    scores = skewed(30, 3)
    scores[4, 1] = -np.inf
    scores[:, 2] = -np.inf
    with np.errstate(all="raise"):
        means, resampled = bootstrap(scores)
        intervals = [interval(column) for column in resampled.T]
    assert means.tolist() == [pytest.approx(scores[:, 0].mean()), -np.inf, -np.inf]
    assert not np.isnan(resampled).any()
    # Image 4 is among the images drawn as often as in 1 - (29 / 30)^30 of all resamples.
    assert np.isinf(resampled[:, 1]).mean() == pytest.approx(0.638, abs=0.025)
    low, high = intervals[1]
    assert low == -np.inf < high < np.inf
    assert intervals[2] == pytest.approx((-np.inf, -np.inf))
    above, _ = bootstrap(-scores)
    assert above[1] == np.inf


def test_a_single_image_has_no_width():
    means, resampled = bootstrap(np.array([[0.3, -2.0]]))
    assert means.tolist() == [0.3, -2.0]
    for column, value in zip(resampled.T, means, strict=True):
        assert interval(column) == pytest.approx((value, value))


def test_where_nothing_has_a_score_the_interval_is_nan():
    assert np.isnan(interval(np.full(10_000, np.nan))).all()
    assert interval(np.array([np.nan, 2.0, np.nan])) == pytest.approx((2, 2))


def test_the_bootstrap_follows_from_its_seed():
    scores = skewed(20)
    (_, first), (_, again), (_, other) = (bootstrap(scores, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# Permutation test


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_p_is_the_share_of_signs_that_differ_as_much(count):
    differences = np.random.default_rng(count).normal(0.5, 1, count)
    signs = np.array(list(itertools.product([-1, 1], repeat=count)))
    means = np.abs((signs * differences).mean(axis=1))
    expected = np.mean(means >= abs(differences.mean()) - 1e-12)
    assert permutation_p(differences) == pytest.approx(expected)
    assert permutation_p(-differences) == pytest.approx(expected)


def test_p_is_uniform_where_neither_side_is_better():
    random = np.random.default_rng(2)
    found = [permutation_p(random.standard_t(5, 25), seed) for seed in range(100)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_p_is_tiny_where_one_side_is_better_and_never_0():
    differences = np.random.default_rng(3).normal(1, 0.5, 60)
    assert permutation_p(differences) == pytest.approx(2 / 10_000)
    assert permutation_p(differences, seed=5) == permutation_p(differences, seed=5)


@pytest.mark.parametrize("differences", [[], [0.0], [0.0] * 50])
def test_p_is_1_where_nothing_differs(differences):
    assert permutation_p(np.array(differences)) == 1


def test_p_agrees_with_the_t_test_on_normal_differences():
    differences = np.random.default_rng(4).normal(0.25, 1, 80)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert 0.001 < expected < 0.2
    assert permutation_p(differences) == pytest.approx(expected, rel=0.25)


# Summary, fractions and comparisons of an evaluation


def test_the_summary_has_means_intervals_and_numbers_of_images(make_evaluation):
    random = np.random.default_rng(5)
    values = random.normal(2, 1, 100)
    values[:20] = np.nan
    summary = make_evaluation({"model": {"NSS": values, "KL": random.random(100)}}).summary
    found = summary["model"]["NSS"]
    assert found["mean"] == pytest.approx(np.nanmean(values))
    assert found["n"] == 80
    assert summary["model"]["KL"]["n"] == 100
    half = 1.96 * np.nanstd(values) / np.sqrt(80)
    assert found["high"] - found["mean"] == pytest.approx(half, rel=0.1)
    assert found["mean"] - found["low"] == pytest.approx(half, rel=0.1)


def reference_rows(**better):
    """The centre bias' and split-half humans's scores; `better` by so much on average."""
    random = np.random.default_rng(6)
    bias = {metric: random.normal(1, 0.3, 50) for metric in better}
    halves = {metric: bias[metric] + random.normal(gap, 0.3, 50) for metric, gap in better.items()}
    return {"split-half humans": halves, "centre bias": bias}


def test_the_way_starts_at_the_centre_bias_and_ends_at_half_against_half(make_evaluation):
    rows = reference_rows(KL=-0.8, NSS=2.0)
    bias, halves = rows["centre bias"], rows["split-half humans"]
    middle = {metric: (bias[metric] + halves[metric]) / 2 for metric in bias}
    beyond = {metric: 1.5 * halves[metric] - 0.5 * bias[metric] for metric in bias}
    models = {"none": bias, "all": halves, "middle": middle, "beyond": beyond}
    fractions = make_evaluation({**models, **rows}, tuple(models)).fractions
    for model, expected in (("none", 0), ("all", 1), ("middle", 0.5), ("beyond", 1.5)):
        for metric in ("KL", "NSS"):
            assert fractions[model][metric] == pytest.approx(
                {"fraction": expected, "low": expected, "high": expected}, abs=1e-9
            )


def test_a_worse_model_has_a_negative_fraction_by_every_metric(make_evaluation):
    rows = reference_rows(KL=-0.8, NSS=2.0, EMD=-1.0)
    worse = {
        metric: rows["centre bias"][metric] + gap
        for metric, gap in (("KL", 0.4), ("NSS", -1), ("EMD", 0.5))
    }
    fractions = make_evaluation({"model": worse, **rows}).fractions["model"]
    for metric, fraction in fractions.items():
        assert fraction["low"] < fraction["fraction"] < fraction["high"] < 0, metric
    assert fractions.keys() == worse.keys()


def test_the_interval_of_a_fraction_is_that_of_resampled_images(make_evaluation):
    rows = reference_rows(NSS=2.0)
    model = np.random.default_rng(7).normal(2, 0.5, 50)
    bias, halves = rows["centre bias"]["NSS"], rows["split-half humans"]["NSS"]
    found = make_evaluation({"model": {"NSS": model}, **rows}).fractions["model"]["NSS"]

    def fraction(model, bias, halves, axis=-1):
        start = bias.mean(axis)
        return (model.mean(axis) - start) / (halves.mean(axis) - start)

    expected = stats.bootstrap(
        (model, bias, halves), fraction, paired=True, method="percentile", n_resamples=10_000, rng=2
    ).confidence_interval
    assert found["fraction"] == pytest.approx(fraction(model, bias, halves))
    width = expected.high - expected.low
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected), abs=0.05 * width)


def test_there_is_no_way_where_half_against_half_is_no_better(make_evaluation):
    rows = reference_rows(KL=0.8, NSS=-1.0, CC=1.0)
    model = {metric: np.ones(50) for metric in ("KL", "NSS", "CC", "SIM")}
    assert make_evaluation({"model": model, **rows}).fractions["model"].keys() == {"CC"}
    assert make_evaluation({"model": model, "centre bias": model}).fractions == {}
    equal = {"model": model, "centre bias": model, "split-half humans": model}
    assert make_evaluation(equal).fractions == {}


def test_there_is_no_way_that_may_be_chance(make_evaluation):
    bias = np.random.default_rng(13).normal(1, 0.3, 50)
    for gap, expected in ((0.1, set()), (0.6, {"NSS", "KL"})):
        steps = np.tile([1 + gap, -1 + gap], 25)  # ± 0.28
        rows = {
            "model": {"NSS": bias, "KL": bias},
            "split-half humans": {"NSS": bias + steps, "KL": bias - steps},
            "centre bias": {"NSS": bias, "KL": bias},
        }
        fractions = make_evaluation(rows).fractions
        assert set(fractions.get("model", {})) == expected


def test_there_is_no_fraction_of_infinity(make_evaluation):
    rows = reference_rows(IG=2.0)
    model = {"IG": np.where(np.arange(50) == 3, -np.inf, 1.0)}
    assert make_evaluation({"model": model, **rows}).fractions == {}


def test_comparisons_change_their_sign_with_the_order(make_evaluation):
    random = np.random.default_rng(8)
    scores = {
        "a": {"NSS": random.normal(1, 1, 40), "KL": random.normal(1, 1, 40)},
        "b": {"NSS": random.normal(1.4, 1, 40), "KL": random.normal(0.5, 1, 40)},
    }
    ((pair, there),) = make_evaluation(scores, ("a", "b")).comparisons.items()
    ((riap, back),) = make_evaluation(scores, ("b", "a")).comparisons.items()
    assert pair == ("a", "b")
    assert riap == ("b", "a")
    for metric in ("NSS", "KL"):
        one, other = there[metric], back[metric]
        difference = np.mean(scores["a"][metric] - scores["b"][metric])
        assert one["difference"] == pytest.approx(difference)
        assert other["difference"] == pytest.approx(-difference)
        assert one["p"] == other["p"]
        width = one["high"] - one["low"]
        mirrored = [-other["high"], -other["low"]]
        assert [one["low"], one["high"]] == pytest.approx(mirrored, abs=0.01 * width)


def test_comparisons_are_paired(make_evaluation):
    # Images differ widely, and the models by 0.1 on each of them.
    images = np.random.default_rng(9).normal(0, 5, 60)
    scores = {"a": {"NSS": images + 0.1}, "b": {"NSS": images}}
    found = make_evaluation(scores, ("a", "b")).comparisons["a", "b"]["NSS"]
    assert found["low"] == pytest.approx(0.1)
    assert found["high"] == pytest.approx(0.1)
    assert found["p"] < 0.001


def test_each_pair_of_models_is_compared_once(make_evaluation):
    scores = {name: {"CC": np.random.default_rng(n).random(9)} for n, name in enumerate("abcd")}
    evaluation = make_evaluation(scores, ("a", "b", "c"))
    assert list(evaluation.comparisons) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_a_model_compared_with_itself_does_not_differ(make_evaluation):
    column = {"CC": np.random.default_rng(10).random(20)}
    evaluation = make_evaluation({"a": column, "b": column}, ("a", "b"))
    expected = {"difference": 0, "low": 0, "high": 0, "p": 1}
    assert evaluation.comparisons["a", "b"]["CC"] == expected


def test_images_without_a_score_are_left_out_of_the_comparison(make_evaluation):
    values = np.random.default_rng(11).normal(0, 1, (2, 20))
    values[:, 12:] = np.nan
    scores = {"a": {"NSS": values[0]}, "b": {"NSS": values[1]}}
    found = make_evaluation(scores, ("a", "b")).comparisons["a", "b"]["NSS"]
    few = {"a": {"NSS": values[0, :12]}, "b": {"NSS": values[1, :12]}}
    expected = make_evaluation(few, ("a", "b")).comparisons["a", "b"]["NSS"]
    assert found["difference"] == pytest.approx(expected["difference"])
    assert found["p"] == expected["p"]


@pytest.mark.parametrize("infinite", [slice(0, 1), slice(None)])
def test_where_differences_are_infinite_there_is_no_p(make_evaluation, infinite):
    values = np.random.default_rng(12).normal(0, 1, (3, 20))
    values[:2, infinite] = -np.inf
    scores = dict(zip("abc", ({"IG": column} for column in values), strict=True))
    found = make_evaluation(scores, ("a", "b", "c")).comparisons
    assert np.isnan(found["a", "b"]["IG"]["difference"])
    assert found["a", "c"]["IG"]["difference"] == -np.inf
    for pair in (("a", "b"), ("a", "c"), ("b", "c")):
        assert found[pair]["IG"]["p"] is None
