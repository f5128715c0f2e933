"""Densities of fixations against scipy's filter, against direct sums, and in the pipeline."""

import itertools
import math

import cv2
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_salnet.data import Sample
from keras_salnet.data.density import fixation_density
from keras_salnet.images.geometry import MODES, Placement

some_examples = settings(max_examples=100, deadline=None, derandomize=True, database=None)

SIZE = (30, 41)


def filtered(fixations, size, sigma):
    """Bin whole fixations and blur them: the usual way; beyond the frame there is nothing."""
    counts = np.zeros(size)
    for x, y in fixations:
        counts[y, x] += 1
    sigma_x, sigma_y = np.broadcast_to(sigma, 2)
    blurred = scipy.ndimage.gaussian_filter(
        counts, (sigma_y, sigma_x), mode="constant", truncate=40
    )
    return blurred / blurred.sum()


def summed(fixations, size, sigma):
    """The definition: at each pixel, a Gaussian of its distance to each fixation."""
    total = np.zeros(size)
    for row, column in itertools.product(*map(range, size)):
        for x, y in fixations:
            total[row, column] += math.exp(
                -((column - x) ** 2) / (2 * sigma[0] ** 2) - (row - y) ** 2 / (2 * sigma[1] ** 2)
            )
    return total / total.sum()


@pytest.fixture
def whole_fixations():
    """40 fixations on pixel centres, some at the border, the first ten twice."""
    points = np.random.default_rng(0).integers(0, SIZE[::-1], (40, 2))
    corners = [(0, 0), (SIZE[1] - 1, SIZE[0] - 1), (0, SIZE[0] - 1)]
    return np.concatenate([points, points[:10], corners])


@pytest.mark.parametrize("sigma", [1.5, 4.0, 19.0, (2.0, 5.0), (9.0, 1.0)])
def test_it_is_scipys_filter_on_whole_positions(sigma, whole_fixations):
    # scipy samples its kernel and divides by its sum, which the division by the total undoes.
    np.testing.assert_allclose(
        fixation_density(whole_fixations, SIZE, sigma),
        filtered(whole_fixations, SIZE, sigma),
        rtol=1e-9,
        atol=1e-15,
    )


@pytest.mark.parametrize("sigma", [(3.0, 3.0), (2.0, 5.0)])
def test_between_pixels_and_outside_the_frame_it_is_its_definition(sigma):
    fixations = [(3.25, 7.5), (0.001, 28.9), (-4.2, 10.0), (44.0, -2.5)]
    np.testing.assert_allclose(
        fixation_density(fixations, SIZE, sigma), summed(fixations, SIZE, sigma), rtol=1e-9
    )


def test_a_point_between_two_pixels_belongs_to_both():
    row = fixation_density([(2.5, 0)], (1, 6), 1.0)[0]
    np.testing.assert_allclose(row, row[::-1])
    assert row[2] == row[3] == row.max()


def test_a_repeated_fixation_counts_again():
    once, other = (fixation_density([p], SIZE, 3) for p in ((10, 15), (30, 15)))
    twice = fixation_density([(10, 15), (30, 15), (10, 15)], SIZE, 3)
    np.testing.assert_allclose(twice, (2 * once + other) / 3, rtol=1e-6)


@some_examples
@given(
    points=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 12)), max_size=6),
    sigma=st.floats(0.5, 50),
)
def test_every_density_is_positive_and_sums_to_1(points, sigma):
    result = fixation_density(points, (12, 20), sigma)
    assert result.shape == (12, 20)
    assert result.dtype == np.float64
    assert result.min() >= 0
    assert result.sum() == pytest.approx(1)


def test_nobody_looking_is_uniform():
    for nobody in ([], np.zeros((0, 2))):
        assert np.array_equal(fixation_density(nobody, (4, 5), 2), np.full((4, 5), 1 / 20))
    # Too far away for float64 to see.
    assert np.array_equal(fixation_density([(1e6, 0)], (4, 5), 2), np.full((4, 5), 1 / 20))


@pytest.mark.parametrize("sigma", [0, -1.0, (3, 0), math.nan])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma must be positive, not"):
        fixation_density([(1, 1)], (4, 5), sigma)


def test_fixations_are_left_alone():
    fixations = np.array([[1.0, 2.0]])
    fixation_density(fixations, (4, 5), 1)
    assert np.array_equal(fixations, [[1, 2]])


# In the frame


@pytest.mark.parametrize("size", [(60, 80), (90, 31), (17, 120)])
@pytest.mark.parametrize("resize", MODES)
def test_in_the_frame_it_is_the_images_own_density_resampled(tmp_path, resize, size):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
    points = np.random.default_rng(1).uniform(0, 1, (12, 2)) * (size[1] - 1, size[0] - 1)
    sample = Sample(path, fixations=points, sigma=8.0)
    input_size = (48, 48)
    made = sample.read_density_in(input_size, resize)
    assert made.shape == input_size
    assert made.sum() == pytest.approx(1)

    # The same by way of a map on disk.
    own = sample.read_density(size)
    assert own.shape == size
    map_path = tmp_path / "map.png"
    cv2.imwrite(str(map_path), np.round(own / own.max() * 65535).astype(np.uint16))
    by_map = Sample(path, density=map_path).read_density_in(input_size, resize)
    assert by_map.sum() == pytest.approx(1)
    padding = Placement(size, input_size, resize).mask()[..., 0] == 0
    assert not made[padding].any()
    assert not by_map[padding].any()
    assert np.abs(by_map - made).max() < 0.1 * made.max()
    assert np.abs(by_map - made).sum() < 0.05


@pytest.mark.parametrize("size", [(60, 80), (90, 31), (8, 9)])
@pytest.mark.parametrize("resize", MODES)
def test_the_pipelines_density_is_the_same(tmp_path, resize, size):
    pytest.importorskip("tensorflow", exc_type=ImportError)
    from keras_salnet.data.pipeline import validation_batches

    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
    points = np.random.default_rng(1).uniform(0, 1, (30, 2)) * (size[1] - 1, size[0] - 1)
    fixation_map = np.zeros(size, np.uint8)
    fixation_map[2, 3] = fixation_map[5, 1] = 255
    cv2.imwrite(str(tmp_path / "fixations.png"), fixation_map)
    samples = [
        Sample(path, fixations=points, sigma=6.0),
        Sample(path, fixations=points[:1], sigma=1.5),
        Sample(path, fixations=tmp_path / "fixations.png", sigma=4.0),
    ]
    input_size = (40, 56)
    (batch,) = validation_batches(samples, input_size, resize=resize, batch_size=3)
    for sample, made in zip(samples, batch["density"].numpy()[..., 0], strict=True):
        expected = sample.read_density_in(input_size, resize)
        assert np.abs(made - expected).max() < 1e-4 * expected.max()
        assert made.sum() == pytest.approx(1, abs=1e-5)
        assert not made[expected == 0].any()
