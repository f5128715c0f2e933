"""Samples: files of every kind → arrays, and errors that name the file."""

import cv2
import numpy as np
import PIL.Image
import pytest

from keras_salnet.data import Sample
from keras_salnet.images.files import image_size, read_grey, read_image
from keras_salnet.images.geometry import MODES, Placement

SIZE = (24, 36)


@pytest.fixture
def picture():
    """A smooth RGB image, so that JPEG changes it little; red grows to the right, green down."""
    y, x = np.indices(SIZE)
    return np.stack([5 * x + 20, 8 * y + 10, np.full(SIZE, 60)], axis=-1).astype(np.uint8)


def save(path, pixels, **options):
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


# Images


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".webp", ".gif", ".jpg"])
def test_an_image_is_rgb_whatever_its_format(tmp_path, picture, ending):
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 95, "subsampling": 0}}
    if ending == ".gif":
        picture = np.zeros_like(picture)
        picture[:12, :18, 0] = 255
    path = save(tmp_path / f"image{ending}", picture, **options.get(ending, {}))
    read = read_image(path)
    assert read.dtype == np.uint8
    assert read.shape == (*SIZE, 3)
    assert np.abs(read.astype(int) - picture).max() <= (6 if ending == ".jpg" else 0)
    assert image_size(path) == SIZE
    assert np.array_equal(Sample(path).read_image(), read)


def test_greyscale_palette_and_transparent_images_have_three_channels(tmp_path, picture):
    grey = picture[..., 0]
    alpha = np.random.default_rng(0).integers(0, 256, SIZE).astype(np.uint8)
    expected = np.repeat(grey[..., None], 3, axis=-1)
    path = tmp_path / "image.png"
    save(path, grey)
    assert np.array_equal(read_image(path), expected)
    PIL.Image.fromarray(grey).convert("P").save(path)
    assert np.array_equal(read_image(path), expected)
    part = alpha[..., None] / 255
    for colours in (expected, picture):
        shown = np.round(colours * part + 255 * (1 - part))
        save(path, np.dstack([colours[..., 0] if colours is expected else colours, alpha]))
        assert np.array_equal(read_image(path), shown), "over white"


def test_a_16_bit_image_keeps_its_upper_8_bits(tmp_path, picture):
    path = tmp_path / "image.png"
    deep = picture.astype(np.uint16) * 256 + 100
    cv2.imwrite(str(path), deep[..., ::-1])
    assert np.array_equal(read_image(path), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path, picture, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "image.png", picture, exif=exif)
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(picture),
    }[orientation]
    assert np.array_equal(read_image(path), turned)
    assert image_size(path) == turned.shape[:2]
    save(tmp_path / "image.jpg", picture, exif=exif, quality=95, subsampling=0)
    read = read_image(tmp_path / "image.jpg")
    assert read.shape == turned.shape
    assert np.abs(read.astype(int) - turned).max() <= 6


def test_names_beyond_ascii_are_read(tmp_path, picture):
    path = save(tmp_path / "Überblick 见.png", picture)
    assert np.array_equal(read_image(path), picture)
    assert image_size(path) == SIZE
    assert Sample(path).name == "Überblick 见"


@pytest.mark.parametrize("read", [read_image, read_grey, image_size])
def test_what_cannot_be_read_is_named(tmp_path, picture, read):
    missing = tmp_path / "missing.png"
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        read(missing)
    for content in (b"", b"no image", b"\x89PNG\r\n\x1a\n"):
        broken = tmp_path / "broken.png"
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.png: not a readable image"):
            read(broken)


def test_a_truncated_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    for ending in (".jpg", ".png"):
        path = save(tmp_path / f"image{ending}", noise)
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(ValueError, match=rf"image{ending}: not a readable image; it may be tr"):
            read_image(path)


# Maps


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_maps_keep_their_depth(tmp_path, dtype):
    levels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, SIZE).astype(dtype)
    path = tmp_path / "map.png"
    cv2.imwrite(str(path), levels)
    assert read_grey(path).dtype == dtype
    assert np.array_equal(read_grey(path), levels)
    density = Sample(tmp_path / "unread.jpg", density=path).read_density(SIZE)
    np.testing.assert_allclose(density, levels / levels.sum(dtype=float), rtol=1e-12)


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("input_size", [(16, 16), (40, 50), (20, 90)])
def test_a_map_in_a_frame(tmp_path, resize, input_size):
    levels = np.random.default_rng(0).integers(0, 65536, SIZE).astype(np.uint16)
    path = tmp_path / "map.png"
    cv2.imwrite(str(path), levels)
    image = save(tmp_path / "image.png", np.zeros((*SIZE, 3), np.uint8))
    density = Sample(image, density=path).read_density_in(input_size, resize)
    assert density.shape == input_size
    assert density.sum() == pytest.approx(1)
    geometry = Placement(SIZE, input_size, resize)
    expected = geometry.image(levels[..., None].astype(np.float64))[..., 0]
    np.testing.assert_allclose(density, expected / expected.sum(), rtol=1e-4, atol=1e-9)
    assert not density[geometry.mask()[..., 0] == 0].any()


def test_a_maps_size_need_not_be_its_images(tmp_path):
    levels = np.zeros((12, 18), np.uint8)
    levels[4:6, 6:8] = 255
    path = tmp_path / "map.png"
    cv2.imwrite(str(path), levels)
    sample = Sample(save(tmp_path / "image.png", np.zeros((24, 36, 3), np.uint8)), density=path)
    assert sample.read_density((24, 36)).shape == (12, 18), "at its own resolution"
    assert sample.read_density_in((6, 9))[2, 3] == pytest.approx(1)


def test_an_empty_map_is_refused(tmp_path):
    path = tmp_path / "map.png"
    cv2.imwrite(str(path), np.zeros(SIZE, np.uint8))
    sample = Sample(tmp_path / "unread.jpg", density=path)
    with pytest.raises(ValueError, match=r"map\.png: the density map is empty"):
        sample.read_density(SIZE)
    with pytest.raises(ValueError, match=r"map\.png: the density map is empty"):
        sample.read_density_in((8, 8))


# Fixations


def test_a_fixation_map_holds_points(tmp_path):
    looked = np.zeros(SIZE, np.uint8)
    looked[2, 30] = 255
    looked[20, 3] = 1
    path = tmp_path / "fixations.png"
    cv2.imwrite(str(path), looked)
    points, observer, dropped = Sample(tmp_path / "unread.jpg", fixations=path).read_gaze()
    assert points.dtype == np.float64
    assert points.tolist() == [[30, 2], [3, 20]]
    assert (observer, dropped) == (None, 0)


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_a_fixation_map_may_be_a_jpeg(tmp_path, quality):
    looked = np.zeros((64, 80), np.uint8)
    places = [(5, 3), (40, 12), (77, 60), (20, 50)]
    for x, y in places:
        looked[y, x] = 255
    path = save(tmp_path / "fixations.jpg", looked, quality=quality)
    assert np.count_nonzero(read_grey(path)) > 10, "it is not black elsewhere"
    points = Sample(tmp_path / "unread.jpg", fixations=path).read_fixations()
    assert sorted(map(tuple, points.tolist())) == sorted(places)
    save(path, np.zeros_like(looked))
    assert len(Sample(tmp_path / "unread.jpg", fixations=path).read_fixations()) == 0


def test_points_are_given_back():
    points = np.array([[1.5, 2.0], [1.5, 2.0]])
    assert Sample("unread.jpg", fixations=points).read_fixations() is points
    gaze = Sample("unread.jpg", fixations=points, observer=np.array([4, 2]), dropped=3).read_gaze()
    assert gaze.points is points
    assert gaze.observer.tolist() == [4, 2]
    assert gaze.dropped == 3


def test_who_knows_no_points_gives_none():
    gaze = Sample("unread.jpg").read_gaze()
    assert gaze.points.shape == (0, 2)
    assert (gaze.observer, gaze.dropped) == (None, 0)


def test_without_ground_truth_there_is_no_density(tmp_path, picture):
    path = save(tmp_path / "image.png", picture)
    for sample in (Sample(path), Sample(path, fixations=np.zeros((0, 2)), sigma=3.0)):
        message = r"image\.png: there is neither a density map nor a fixation"
        with pytest.raises(ValueError, match=message):
            sample.read_density(SIZE)
        with pytest.raises(ValueError, match=message):
            sample.read_density_in((8, 8))


def test_a_map_is_preferred_to_points(tmp_path, picture):
    path = save(tmp_path / "image.png", picture)
    levels = np.zeros(SIZE, np.uint8)
    levels[5, 5] = 255
    save(tmp_path / "map.png", levels)
    sample = Sample(path, tmp_path / "map.png", np.array([[30.0, 20.0]]), sigma=2.0)
    assert np.unravel_index(sample.read_density(SIZE).argmax(), SIZE) == (5, 5)
    assert sample.read_density_in(SIZE)[5, 5] == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_is_where_it_is_half_as_bright_as_white(tmp_path, dtype):
    most = np.iinfo(dtype).max
    half = most // 2 + 1
    levels = np.array([[0, 1, half - 1], [half, most - 1, most]], dtype)
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), levels)
    mask = Sample(tmp_path / "unread.jpg", mask=path).read_mask()
    assert mask.dtype == bool
    assert mask.tolist() == [[False] * 3, [True] * 3]
    PIL.Image.fromarray(np.array([[False, True]])).save(path)
    assert Sample(tmp_path / "unread.jpg", mask=path).read_mask().tolist() == [[False, True]]


def test_a_mask_alone_is_the_density(tmp_path, picture):
    path = save(tmp_path / "image.jpg", picture)
    height, width = SIZE
    grey = np.full(SIZE, 127, np.uint8)  # just no mask
    grey[: height // 2, : width // 4] = 128
    mask = save(tmp_path / "mask.png", grey)
    sample = Sample(path, mask=mask)
    white = np.zeros(SIZE)
    white[: height // 2, : width // 4] = 1
    np.testing.assert_allclose(sample.read_density(SIZE), white / white.sum(), rtol=1e-12)
    # In a frame twice as high, between bars.
    input_size = (2 * height, width)
    density = sample.read_density_in(input_size, "pad")
    bar = np.zeros((height // 2, width))
    np.testing.assert_allclose(density, np.concatenate([bar, white, bar]) / white.sum(), rtol=1e-6)
    _, plane, _ = sample.read_in(input_size, "pad")
    assert np.array_equal(plane, density[..., None].astype(np.float32))
    # Where people looked goes before.
    looked = Sample(path, fixations=np.array([[width - 1.0, 0.0]]), sigma=1.0, mask=mask)
    assert np.unravel_index(looked.read_density(SIZE).argmax(), SIZE) == (0, width - 1)
    assert not looked.has_mask_only


def test_an_empty_mask_is_refused(tmp_path, picture):
    path = save(tmp_path / "image.jpg", picture)
    mask = save(tmp_path / "mask.png", np.full(SIZE, 127, np.uint8))
    with pytest.raises(ValueError, match=r"mask\.png: the mask is empty"):
        Sample(path, mask=mask).read_in((16, 16))


def test_without_a_mask_there_is_none_to_read():
    with pytest.raises(ValueError, match=r"image\.jpg: there is no mask"):
        Sample("image.jpg").read_mask()


@pytest.mark.parametrize("orientation", [1, 6])
def test_points_are_pixels_of_the_turned_image(tmp_path, picture, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "image.png", picture, exif=exif)
    _, width = read_image(path).shape[:2]
    sample = Sample(path, fixations=np.array([[width - 1.0, 0.0]]), sigma=2.0)
    peak = np.unravel_index(sample.read_density_in((40, 40)).argmax(), (40, 40))
    assert peak == (0, 39)
