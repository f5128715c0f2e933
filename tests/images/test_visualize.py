"""Maps as pictures."""

import cv2
import matplotlib
import numpy as np
import pytest

from keras_salnet.visualize import (
    COLORMAPS,
    difference,
    heatmap,
    overlay,
    to_grey,
    write_picture,
)


@pytest.fixture
def saliency():
    return np.float32(np.random.default_rng(0).random((12, 16)))


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (12, 16, 3)).astype(np.uint8)


# Grey


def test_the_maximum_is_white_and_zero_black(saliency):
    saliency[3, 4] = 0
    saliency[5, 6] = 7.5
    grey = to_grey(saliency)
    assert grey.shape == saliency.shape
    assert grey.dtype == np.uint8
    assert grey[5, 6] == 255
    assert grey[3, 4] == 0
    assert np.array_equal(grey, to_grey(1e-9 * saliency)), "whatever the scale, a density's too"


def test_levels_are_rounded_to_the_nearest():
    # Cutting off would turn 0.9 of a level into 0, and every level but the last down by one.
    levels = np.array([[0.4, 0.6, 0.9, 1.4, 254.4, 254.6, 255.0]])
    assert to_grey(levels / 255).tolist() == [[0, 1, 1, 1, 254, 255, 255]]
    exact = np.arange(256.0).reshape(16, 16)
    for dtype in (np.float16, np.float32, np.float64, np.uint8):
        assert np.array_equal(to_grey(exact.astype(dtype)), exact)


def test_a_map_of_zeros_is_black():
    assert not to_grey(np.zeros((3, 4))).any()
    assert to_grey(np.zeros((3, 4))).dtype == np.uint8
    assert (to_grey(np.full((3, 4), 1e-30)) == 255).all()


# Colours


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_a_heat_map_is_rgb(colormap, saliency):
    colours = heatmap(saliency, colormap)
    assert colours.shape == (12, 16, 3)
    assert colours.dtype == np.uint8
    ramp = heatmap(np.arange(256.0)[None], colormap)[0].astype(int)
    assert len(np.unique(ramp, axis=0)) > 200
    # Roughly matplotlib's map of that name, and in the order RGB.
    expected = 255 * matplotlib.colormaps[colormap](np.arange(256))[:, :3]
    assert np.abs(ramp - expected).mean() < 12


def test_unknown_colour_maps_are_refused(saliency, image):
    message = r"colormap must be one of inferno, .*, not 'rainbow'"
    with pytest.raises(ValueError, match=message):
        heatmap(saliency, "rainbow")
    with pytest.raises(ValueError, match=message):
        overlay(image, saliency, colormap="rainbow")


# Overlays


def test_an_overlay_is_clear_where_nobody_looks(saliency, image):
    saliency[:6] = 0
    picture = overlay(image, saliency)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    assert np.array_equal(picture[:6], image[:6])
    assert np.array_equal(overlay(image, np.zeros((12, 16))), image)


def test_an_overlay_is_as_opaque_as_asked_at_the_maximum(saliency, image):
    y, x = np.unravel_index(saliency.argmax(), saliency.shape)
    hot = heatmap(saliency, "viridis")[y, x].astype(float)
    for opacity in (0, 0.25, 1):
        expected = opacity * hot + (1 - opacity) * image[y, x]
        picture = overlay(image, saliency, "viridis", opacity)
        assert np.abs(picture[y, x] - expected).max() <= 0.5
    assert np.array_equal(overlay(image, saliency, opacity=0), image)


def test_an_overlay_grows_with_saliency(image):
    ramp = np.linspace(0, 1, 16)[None].repeat(12, axis=0)
    black = np.zeros_like(image)
    brightness = overlay(black, ramp)[0].astype(int).sum(axis=-1)
    assert np.all(np.diff(brightness) >= 0)


def test_an_overlay_has_no_contours_where_few_look():
    ramp = np.linspace(0, 1, 256)[None]
    picture = overlay(np.full((1, 256, 3), 255, np.uint8), ramp)
    assert np.abs(np.diff(picture[0, :20].astype(int), axis=0)).max() <= 3


def test_inputs_are_left_alone(saliency, image):
    before = saliency.copy(), image.copy()
    overlay(image, saliency)
    assert np.array_equal(saliency, before[0])
    assert np.array_equal(image, before[1])


@pytest.mark.parametrize("size", [(16, 12), (6, 8), (12, 16, 1)])
def test_sizes_must_agree(image, size):
    with pytest.raises(ValueError, match=r"saliency \(.*\) must have the image's size \(12, 16\)"):
        overlay(image, np.ones(size))


# Differences


def redness(picture):
    return picture[..., 0].astype(int) - picture[..., 2]


def test_too_much_is_red_too_little_blue_and_what_fits_white(saliency):
    density = saliency.copy()
    density[2, 3], density[8, 9] = 0, density[2, 3] + density[8, 9]  # the sum is the same
    picture = difference(saliency, density)
    assert picture.shape == (12, 16, 3)
    assert picture.dtype == np.uint8
    assert redness(picture)[2, 3] > 50
    assert redness(picture)[8, 9] < -50
    fits = density == saliency
    assert np.count_nonzero(fits) == 12 * 16 - 2
    assert (picture[fits] == (247, 246, 246)).all()
    assert (difference(saliency, saliency) == (247, 246, 246)).all()


def test_differences_are_those_of_densities_whatever_their_scales(saliency):
    density = saliency[::-1]
    expected = difference(saliency, density)
    assert len(np.unique(redness(expected))) > 30
    for scaled in (4 * saliency, saliency / 1024):
        assert np.array_equal(difference(scaled, density), expected)
        assert np.array_equal(difference(density[::-1], scaled[::-1]), expected)
    grey = to_grey(saliency), to_grey(density)
    for dtype in (np.uint8, np.float16):  # which do not hold the sums
        found = difference(*(levels.astype(dtype) for levels in grey))
        assert np.array_equal(found, difference(*map(np.float64, grey)))


def test_the_higher_peak_of_the_two_has_the_strongest_colour_and_a_quarter_half_of_it():
    higher = np.array([[8, 2, 0, 5, 5, 0]])
    lower = np.array([[0, 0, 2, 6, 6, 6]])
    colours = matplotlib.colormaps["RdBu_r"]
    for pair, places in (((higher, lower), (1, 0.75, 0.25)), ((lower, higher), (0, 0.25, 0.75))):
        expected = colours(places, bytes=True)[:, :3]
        assert np.array_equal(difference(*pair)[0, :3], expected)


def test_a_map_of_zeros_is_compared_as_a_uniform_one(saliency):
    zeros, uniform = np.zeros((12, 16)), np.ones((12, 16))
    assert np.array_equal(difference(saliency, zeros), difference(saliency, uniform))
    assert np.array_equal(difference(zeros, saliency), difference(uniform, saliency))
    assert (difference(zeros, zeros) == (247, 246, 246)).all()


def test_maps_to_compare_are_left_alone(saliency):
    density = saliency[::-1].astype(np.float64)
    before = saliency.copy(), density.copy()
    difference(saliency, density)
    assert np.array_equal(saliency, before[0])
    assert np.array_equal(density, before[1])


@pytest.mark.parametrize("size", [(16, 12), (1, 16), (16,), (12, 16, 1)])
def test_maps_to_compare_have_one_size(saliency, size):
    # Those of one row or column would otherwise be broadcast.
    with pytest.raises(ValueError, match=r"saliency \(.*\) must have density's size \(12, 16\)"):
        difference(np.ones(size), saliency)


# Files


@pytest.mark.parametrize("name", ["map.png", "Überblick 见 .PNG", "a.b.c.png"])
def test_pictures_are_read_back(tmp_path, name, saliency, image):
    path = tmp_path / "new folder" / name
    write_picture(path, image)
    data = np.fromfile(path, np.uint8)
    assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], image)
    write_picture(str(path), to_grey(saliency))
    read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read, to_grey(saliency)), "one channel, and replaced"
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_a_jpeg_is_a_jpeg(tmp_path):
    smooth = np.full((12, 16, 3), (200, 100, 50), np.uint8)
    write_picture(tmp_path / "map.jpg", smooth)
    assert (tmp_path / "map.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    read = cv2.imread(str(tmp_path / "map.jpg"))[..., ::-1]
    assert np.abs(read.astype(int) - smooth).max() < 6


@pytest.mark.parametrize("name", ["map", "map.txt", "map.npy"])
def test_other_endings_are_refused(tmp_path, name, image):
    with pytest.raises(ValueError, match=rf"{name}: must end in"):
        write_picture(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path, image):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_picture(tmp_path / "file" / "map.png", image)
