"""The rows beside the models, against their definitions written out, and on published figures."""

import dataclasses
from itertools import islice

import cv2
import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from keras_salnet.data import Sample, load_dataset
from keras_salnet.data.sample import Gaze
from keras_salnet.evaluation.references import (
    HALVES,
    ONE_HUMAN,
    CentreBias,
    gaussian_centre,
    people,
)
from keras_salnet.evaluation.scores import resized
from keras_salnet.images.files import image_size
from keras_salnet.metrics import nss

FRAME = (96, 128)
UNIFORM = np.full(FRAME, 1 / (96 * 128))


def blurred(points, size, sigma):
    """A Gaussian around each point, pixel by pixel, as a density."""
    rows, columns = np.indices(size)
    sigma_x, sigma_y = np.broadcast_to(sigma, 2)
    density = np.zeros(size)
    for x, y in points:
        density += np.exp(-(((columns - x) / sigma_x) ** 2 + ((rows - y) / sigma_y) ** 2) / 2)
    return density / density.sum()


def framed(sample, size):
    """The density of a sample without a map, its image stretched to the frame."""
    scale = np.divide(FRAME, size)[::-1]
    return blurred((sample.fixations + 0.5) * scale - 0.5, FRAME, sample.sigma * scale)


def bias_of(samples, **options):
    return CentreBias([CentreBias.small_density(sample) for sample in samples], **options)


# Centre bias


def test_the_centre_bias_is_the_mean_of_the_training_densities_and_a_uniform_one(write_samples):
    samples = write_samples(4)
    expected = UNIFORM.copy()
    for sample in samples:
        expected += framed(sample, image_size(sample.image))
    bias = bias_of(samples)
    for sample in (samples[0], write_samples(5)[4]):  # whoever is asked for
        np.testing.assert_allclose(bias(sample), expected / 5, rtol=1e-9)


def test_maps_are_stretched_into_the_centre_bias(write_sample):
    random = np.random.default_rng(1)
    density = random.integers(1, 256, (192, 256)).astype(np.uint8)
    sample = write_sample("mapped", (40, 60), density=density)
    shrunk = density.reshape(96, 2, 128, 2).mean(axis=(1, 3))
    expected = (shrunk / shrunk.sum() + UNIFORM) / 2
    np.testing.assert_allclose(bias_of([sample])(sample), expected, rtol=1e-5)


def test_of_the_scored_images_each_is_left_out_of_its_own_centre_bias(write_samples):
    samples = write_samples(4)
    densities = [framed(sample, image_size(sample.image)) for sample in samples]
    bias = bias_of(samples, leave_out=True)
    for number, sample in enumerate(samples):
        others = densities[:number] + densities[number + 1 :]
        expected = (sum(others) + UNIFORM) / 4
        np.testing.assert_allclose(bias(sample), expected, rtol=1e-6)


def test_nobody_s_fixations_bear_on_the_centre_bias_of_their_own_image(write_samples):
    before = write_samples(4)
    moved = dataclasses.replace(before[1], fixations=before[1].fixations[::-1] * 0.5)
    after = [before[0], moved, *before[2:]]
    with_before, with_after = (bias_of(samples, leave_out=True) for samples in (before, after))
    np.testing.assert_allclose(with_after(after[1]), with_before(before[1]), rtol=1e-9)
    for number in (0, 2, 3):
        change = with_after(after[number]) - with_before(before[number])
        assert np.abs(change).sum() > 0.1


def test_a_single_image_has_a_uniform_centre_bias(write_samples):
    (sample,) = write_samples(1)
    bias = bias_of([sample], leave_out=True)(sample)
    np.testing.assert_allclose(bias, UNIFORM, rtol=1e-9)


def test_the_centre_bias_calls_nothing_impossible(write_sample):
    corners = [(0, 0), (59, 0), (0, 39), (59, 39)]
    samples = [write_sample(n, points=[corners[n % 4]], sigma=0.5) for n in range(12)]
    for leave_out in (False, True):
        bias = bias_of(samples, leave_out=leave_out)
        for sample in samples:
            assert bias(sample).sum() == pytest.approx(1)
            assert bias(sample).min() == pytest.approx(1 / (96 * 128) / (13 - leave_out))


# Gaussian centre


@pytest.mark.parametrize("size", [(60, 80), (61, 30), (1, 7)])
def test_the_gaussian_centre_is_as_wide_as_a_quarter_of_the_sides(size):
    density = gaussian_centre(size)
    assert density.shape == size
    assert density.sum() == pytest.approx(1)
    np.testing.assert_allclose(density, density[::-1, ::-1], rtol=1e-9)
    for axis, side in enumerate(size):
        pixels = np.arange(side) - (side - 1) / 2
        variance = density.sum(axis=1 - axis) @ pixels**2
        if side > 20:
            expected = stats.truncnorm(-2, 2, scale=side / 4).var()
            assert variance == pytest.approx(expected, rel=0.01)


# People

SIZE = (40, 60)
SIGMA = 4.0
BIAS = gaussian_centre(SIZE)


def gaze_of(observer):
    """A random fixation for each of these observers, not ordered by them."""
    points = np.random.default_rng(2).random((len(observer), 2)) * SIZE[::-1]
    return Gaze(points, np.asarray(observer), 0)


def predictions(gaze, row):
    return [(p, rest) for name, p, rest in people(gaze, SIZE, SIGMA, BIAS) if name == row]


def by_hand(gaze, seen):
    """Prediction of these observers, and the fixations of those they predict."""
    some = np.isin(gaze.observer, seen)
    count = some.sum()
    prediction = (count * blurred(gaze.points[some], SIZE, SIGMA) + BIAS) / (count + 1)
    return prediction, gaze.points[~some]


def assert_equal_predictions(found, expected):
    assert len(found) == len(expected)
    for (prediction, rest), (expected_prediction, expected_rest) in zip(
        found, expected, strict=True
    ):
        np.testing.assert_allclose(prediction, expected_prediction, rtol=1e-9)
        assert np.array_equal(rest, expected_rest)


def test_each_half_of_the_observers_predicts_the_other():
    gaze = gaze_of([7, 3, 3, 9, 8, 7, 4, 3])  # 3 7 9 | 4 8
    expected = [by_hand(gaze, (4, 8)), by_hand(gaze, (3, 7, 9))]
    assert_equal_predictions(predictions(gaze, HALVES), expected)


def test_each_observer_predicts_all_others():
    gaze = gaze_of([7, 3, 3, 9, 8, 7, 4, 3])
    expected = [by_hand(gaze, one) for one in (3, 4, 7, 8, 9)]
    assert_equal_predictions(predictions(gaze, ONE_HUMAN), expected)


def test_the_centre_bias_weighs_as_much_as_one_fixation():
    gaze = Gaze(np.array([[5.0, 5], [5, 5], [5, 5], [50, 30]]), np.array([0, 0, 0, 1]), 0)
    (first, _), (second, _) = predictions(gaze, ONE_HUMAN)
    far = (39, 59)  # from where the first looked
    assert first[far] == pytest.approx(BIAS[far] / 4, rel=1e-6)
    assert second[0, 0] == pytest.approx(BIAS[0, 0] / 2, rel=1e-6)


def test_predictions_of_people_are_densities():
    for row in (HALVES, ONE_HUMAN):
        for prediction, _ in predictions(gaze_of(np.arange(9) % 4), row):
            assert prediction.sum() == pytest.approx(1)
            assert prediction.min() > 0


def test_observers_without_a_fixation_are_nobody():
    with_gaps = gaze_of([0, 2, 2, 5, 5, 2])
    without = with_gaps._replace(observer=np.array([0, 1, 1, 2, 2, 1]))
    for row in (HALVES, ONE_HUMAN):
        assert_equal_predictions(predictions(with_gaps, row), predictions(without, row))


@pytest.mark.parametrize(
    ("gaze", "sigma"),
    [
        (gaze_of([0, 1, 2])._replace(observer=None), SIGMA),
        (gaze_of([4, 4, 4]), SIGMA),
        (gaze_of([4]), SIGMA),
        (gaze_of([]), SIGMA),
        (gaze_of([0, 1, 2]), None),
    ],
    ids=["unknown observers", "one observer", "one fixation", "no fixation", "no sigma"],
)
def test_nobody_predicts_where_nobody_else_is_known(gaze, sigma):
    assert list(people(gaze, SIZE, sigma, BIAS)) == []


# Published figures


@threadpool_limits.wrap(1, "blas")  # on a busy machine threads wait ten times longer than they work
@pytest.mark.parametrize(
    ("name", "halves", "another", "mean"),
    [
        ("osie", 3.16, 0.33, 0.89),
        ("eyecrowd", 2.02, 0.58, 1.03),
        ("scene500", 1.92, 0.76, 1.31),
    ],
)
def test_people_reach_the_published_scores(shared_data, tmp_path, name, halves, another, mean):
    # NSS with fixations in 64 x 64 cells and a Gaussian of 3 cells; every fixation counts.
    grid = (64, 64)
    assert cv2.imwrite(str(tmp_path / "grid.png"), np.zeros(grid, np.uint8))
    samples = []
    for sample in load_dataset(shared_data / name)["all"]:
        scale = np.divide(grid, image_size(sample.image))[::-1]
        cells = np.floor(sample.fixations * scale)
        samples.append(Sample(tmp_path / "grid.png", None, cells, sample.observer, sigma=3.0))
    bias = bias_of(samples, leave_out=True)
    neighbours = dict(zip(samples, np.roll(samples, 1), strict=True))

    def scores(sample):
        """Of half of the observers, another image's density, and the mean of all others'."""
        prior = resized(bias(sample), grid)
        both = islice(people(sample.read_gaze(), grid, 3.0, prior / prior.sum()), 2)
        elsewhere = neighbours[sample].read_density(grid)
        yield np.mean([nss(p, rest, convention="pysaliency") for _, p, rest in both])
        yield nss(elsewhere, sample.fixations, convention="pysaliency")
        yield nss(prior, sample.fixations, convention="pysaliency")

    found = np.mean([list(scores(sample)) for sample in samples], axis=0)
    assert found[0] == pytest.approx(halves, rel=0.05)
    assert found[1] == pytest.approx(another, rel=0.12)
    assert found[2] == pytest.approx(mean, rel=0.12)
