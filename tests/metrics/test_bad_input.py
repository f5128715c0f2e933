"""Bad input is refused with the name of the argument."""

import doctest

import numpy as np
import pytest
from metric_cases import (
    LOCATION_METRICS,
    TO_DENSITY,
    TO_FIXATIONS,
    both_conventions,
    each_location_metric,
    each_to_density,
    shuffled_auc_against_the_corner,
)

from keras_salnet.metrics import (
    distribution,
    emd,
    information_gain,
    location,
    nss,
    roc,
    shuffled_auc,
)

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
