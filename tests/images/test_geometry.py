"""`Placement` and `resample` against exact arithmetic, in numpy and in TensorFlow."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_salnet.images.geometry import MODES, Placement, resample

some_examples = settings(max_examples=200, deadline=None, derandomize=True, database=None)
few_examples = settings(some_examples, max_examples=40)
each_mode = pytest.mark.parametrize("mode", MODES)

sides = st.one_of(st.integers(1, 80), st.integers(1, 20_000))
sizes = st.tuples(sides, sides)
small_sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))

# (source, frame): shrink, grow, one of each, equal, thin, and single pixels
PAIRS = [
    ((48, 64), (16, 16)),
    ((60, 80), (24, 32)),
    ((61, 83), (24, 32)),
    ((7, 5), (32, 40)),
    ((90, 10), (31, 33)),
    ((10, 90), (31, 33)),
    ((32, 40), (32, 40)),
    ((33, 40), (32, 40)),
    ((2000, 3), (16, 24)),
    ((3, 2000), (16, 24)),
    ((1, 1), (9, 12)),
    ((1, 50), (9, 12)),
    ((50, 1), (9, 12)),
    ((40, 50), (1, 1)),
    ((1, 1), (1, 1)),
]
each_pair = pytest.mark.parametrize(("source", "input_size"), PAIRS)


def noise(size, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels)).astype(np.uint8)


# The box


def nearest(value):
    """The nearest whole number of a positive fraction, halves up."""
    return (value + Fraction(1, 2)).__floor__()


@some_examples
@given(source=sizes, input_size=sizes)
def test_padding_keeps_the_aspect_to_the_nearest_pixel(source, input_size):
    scale = min(Fraction(input_size[0], source[0]), Fraction(input_size[1], source[1]))
    height, width = (max(1, nearest(side * scale)) for side in source)
    top, left = (input_size[0] - height) // 2, (input_size[1] - width) // 2
    assert Placement(source, input_size, "pad").box == (top, left, height, width)
    assert height == input_size[0] or width == input_size[1], "one axis is filled"
    assert top >= 0
    assert left >= 0


@some_examples
@given(source=sizes, input_size=sizes)
def test_stretching_fills_the_frame(source, input_size):
    assert Placement(source, input_size).box == (0, 0, *input_size)


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match=r"resize must be one of stretch, pad, not 'crop'"):
        Placement((4, 4), (2, 2), "crop")


# Points


@each_mode
@some_examples
@given(source=sizes, input_size=sizes, data=st.data())
def test_points_go_to_the_frame_and_back(mode, source, input_size, data):
    placement = Placement(source, input_size, mode)
    x = data.draw(st.floats(-0.5, source[1] - 0.5))
    y = data.draw(st.floats(-0.5, source[0] - 0.5))
    there = placement.points([[x, y]])
    assert there.dtype == np.float64
    np.testing.assert_allclose(placement.undo_points(there), [[x, y]], rtol=1e-9, atol=1e-9)
    top, left, height, width = placement.box
    assert left - 0.5 - 1e-9 <= there[0, 0] <= left + width - 0.5 + 1e-9
    assert top - 0.5 - 1e-9 <= there[0, 1] <= top + height - 0.5 + 1e-9


@each_mode
@some_examples
@given(source=sizes, input_size=sizes)
def test_the_corners_of_the_image_become_the_corners_of_its_box(mode, source, input_size):
    # A pixel reaches half a pixel beyond its centre.
    placement = Placement(source, input_size, mode)
    top, left, height, width = placement.box
    corners = placement.points([[-0.5, -0.5], [source[1] - 0.5, source[0] - 0.5]])
    expected = [[left - 0.5, top - 0.5], [left + width - 0.5, top + height - 0.5]]
    np.testing.assert_allclose(corners, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(placement.scale(), [width / source[1], height / source[0]])


def test_no_points_stay_none():
    assert Placement((4, 4), (2, 2)).points([]).shape == (0, 2)
    assert Placement((4, 4), (2, 2)).undo_points(np.zeros((0, 2))).shape == (0, 2)


def centroid(plane):
    total = plane.sum(dtype=np.float64)
    y, x = np.indices(plane.shape)
    return np.array([(x * plane).sum() / total, (y * plane).sum() / total])


@each_mode
@few_examples
@given(
    source=st.tuples(st.integers(5, 70), st.integers(5, 70)),
    input_size=st.tuples(st.integers(8, 70), st.integers(8, 70)),
    data=st.data(),
)
def test_image_and_points_move_together(mode, source, input_size, data):
    placement = Placement(source, input_size, mode)
    # Away from the border, which resampling repeats.
    x = data.draw(st.integers(2, source[1] - 3))
    y = data.draw(st.integers(2, source[0] - 3))
    image = np.zeros((*source, 1), np.float32)
    image[y, x] = 255
    moved = placement.image(image)[..., 0]
    there = placement.points([[x, y]])[0]
    # Area and bilinear weights spread a pixel over its surroundings, not always evenly.
    np.testing.assert_allclose(centroid(moved), there, atol=0.5)
    back = placement.undo(moved)
    assert back.shape == source
    tolerance = 0.5 + 0.5 / placement.scale()
    assert np.all(np.abs(centroid(back) - [x, y]) <= tolerance)


@pytest.mark.parametrize(
    ("source", "input_size"), [((96, 128), (64, 64)), ((40, 30), (96, 96)), ((120, 40), (50, 90))]
)
@each_mode
def test_a_smooth_map_moves_as_its_peak_does(mode, source, input_size):
    placement = Placement(source, input_size, mode)
    y, x = np.indices(source)
    peak = np.array([0.4 * source[1], 0.55 * source[0]])
    spread = min(source) / 10
    smooth = np.exp(-((x - peak[0]) ** 2 + (y - peak[1]) ** 2) / (2 * spread**2))
    moved = placement.image(np.float32(smooth)[..., None])[..., 0]
    np.testing.assert_allclose(centroid(moved), placement.points([peak])[0], atol=0.02)
    back = placement.undo(moved)
    assert back.dtype == np.float32
    np.testing.assert_allclose(centroid(back), peak, atol=0.05)
    assert np.abs(back - smooth).max() < 0.15


# The frame


@each_mode
@each_pair
def test_the_mask_shows_the_image_and_nothing_else(mode, source, input_size):
    placement = Placement(source, input_size, mode)
    top, left, height, width = placement.box
    mask = placement.mask()
    assert mask.shape == (*input_size, 1)
    assert mask.dtype == np.float32
    # Exactly 0 and 1, so that no loss weighs a border by rounding errors.
    assert set(np.unique(mask)) <= {0, 1}
    assert mask.sum() == height * width
    assert mask[top : top + height, left : left + width].all()
    image = placement.image(np.full((*source, 3), 255, np.uint8))
    assert image.shape == (*input_size, 3)
    assert image.dtype == np.float32
    assert np.array_equal(image > 0, np.repeat(mask > 0, 3, axis=2))


@pytest.mark.parametrize("source", [(20_000, 10), (10, 20_000)])
@each_mode
def test_extreme_aspects_keep_at_least_a_pixel(mode, source):
    placement = Placement(source, (64, 48), mode)
    image = placement.image(np.full((*source, 1), 200, np.uint8))
    np.testing.assert_allclose(image[placement.mask() > 0], 200, atol=0.2)
    assert placement.undo(image[..., 0]).shape == source
    if mode == "pad":
        assert sorted(placement.box[2:]) == [1, max(placement.box[2:])]


@each_mode
def test_a_single_pixel_fills_its_box(mode):
    placement = Placement((1, 1), (5, 9), mode)
    image = placement.image(np.array([[[10, 20, 30]]], np.uint8))
    assert np.array_equal(image, placement.mask() * np.float32([10, 20, 30]))
    assert np.array_equal(placement.undo(np.full((5, 9), 7, np.float32)), [[7]])
    np.testing.assert_allclose(placement.points([[0, 0]]), [[4, 2]])


# Resampling


def area_weights(length, size):
    """(size, length): the part of each source pixel in each target pixel, from exact fractions."""
    step = Fraction(length, size)
    weights = np.zeros((size, length))
    for i in range(size):
        for j in range(length):
            overlap = min((i + 1) * step, Fraction(j + 1)) - max(i * step, Fraction(j))
            weights[i, j] = max(overlap, 0) / step
    return weights


def linear_weights(length, size):
    """(size, length): linear interpolation between pixel centres, borders repeated."""
    weights = np.zeros((size, length))
    for i in range(size):
        place = (i + 0.5) * length / size - 0.5
        low = int(np.floor(place))
        for j, weight in ((low, low + 1 - place), (low + 1, place - low)):
            weights[i, min(max(j, 0), length - 1)] += weight
    return weights


def resized(image, size):
    """`resample` in float64: each axis on its own, by area where it shrinks, else linearly."""
    rows, columns = (
        area_weights(length, new) if new < length else linear_weights(length, new)
        for length, new in zip(image.shape[:2], size, strict=True)
    )
    return np.einsum("ih,jw,hwc->ijc", rows, columns, np.float64(image))


@each_pair
def test_resize_is_area_average_and_linear_interpolation(source, input_size):
    image = noise(source)
    result = resample(image, input_size)
    assert result.shape == (*input_size, 3)
    assert result.dtype == np.float32
    # OpenCV leaves out overlaps of less than a thousandth of a pixel.
    np.testing.assert_allclose(result, resized(image, input_size), atol=0.1)


@few_examples
@given(source=small_sizes, size=small_sizes, channels=st.sampled_from([1, 2, 3, 4]))
def test_resize_is_the_same_for_any_sizes(source, size, channels):
    image = noise(source, channels)
    np.testing.assert_allclose(resample(image, size), resized(image, size), atol=0.1)


def test_a_checkerboard_averages_to_grey():
    # Plain bilinear sampling would see one colour only.
    board = 255 * (np.indices((64, 64)).sum(axis=0) % 2)[..., None]
    np.testing.assert_allclose(resample(board, (16, 16)), 127.5)


@some_examples
@given(source=small_sizes, size=small_sizes, value=st.sampled_from([0, 1, 77, 255]))
def test_constant_images_stay_constant(source, size, value):
    image = np.full((*source, 1), value, np.uint8)
    np.testing.assert_allclose(resample(image, size), value, rtol=1e-5)


@pytest.mark.parametrize("length", [1001, 5000])
def test_constant_images_stay_constant_where_opencv_leaves_out_overlaps(length):
    result = resample(np.full((length, 1, 1), 255, np.uint8), (length - 1, 1))
    np.testing.assert_allclose(result, 255, rtol=1.1e-3)


@some_examples
@given(source=small_sizes, data=st.data())
def test_shrinking_preserves_the_mean(source, data):
    size = tuple(data.draw(st.integers(1, side)) for side in source)
    image = noise(source)
    np.testing.assert_allclose(
        resample(image, size).mean(axis=(0, 1)), image.mean(axis=(0, 1)), rtol=1e-4
    )


def test_growing_by_a_whole_factor_preserves_the_mean_of_what_is_dark_at_the_border():
    image = np.pad(noise((8, 9)), ((2, 2), (2, 2), (0, 0)))
    assert resample(image, (36, 39)).mean() == pytest.approx(image.mean(), rel=1e-5)


def test_resize_to_the_same_size_changes_nothing():
    image = noise((5, 7))
    assert np.array_equal(resample(image, (5, 7)), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, np.float64])
def test_resize_takes_any_dtype(dtype):
    image = noise((9, 8)).astype(dtype)
    np.testing.assert_allclose(resample(image, (4, 12)), resample(np.float32(image), (4, 12)))


def test_resize_leaves_its_input_alone():
    image = noise((9, 8))
    before = image.copy()
    resample(image, (4, 12))
    assert np.array_equal(image, before)


# The second implementation


@pytest.fixture(scope="module")
def pipeline():
    pytest.importorskip("tensorflow", exc_type=ImportError)
    from keras_salnet.data import pipeline

    return pipeline


@pytest.fixture(scope="module")
def tf_fit(pipeline):
    """(image, frame, mode) → box, image placed and stretched, in a graph that knows no sizes."""
    import tensorflow as tf

    functions = {}

    def run(image, input_size, mode):
        if (input_size, mode) not in functions:

            @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
            def graph(image):
                box = pipeline.box_in(tf.shape(image), input_size, mode)
                return (
                    box,
                    pipeline.place(image, input_size, box),
                    pipeline.resample(image, input_size),
                )

            functions[input_size, mode] = graph
        box, placed, stretched = functions[input_size, mode](image)
        return tuple(int(side) for side in box), placed.numpy(), stretched.numpy()

    return run


TOLERANCE = 1e-3 * 255


@each_mode
@each_pair
def test_tensorflow_places_alike(tf_fit, mode, source, input_size):
    image, placement = noise(source), Placement(source, input_size, mode)
    box, placed, stretched = tf_fit(image, input_size, mode)
    assert box == placement.box
    assert placed.shape == (*input_size, 3)
    assert placed.dtype == np.float32
    assert np.abs(placed - placement.image(image)).max() < TOLERANCE
    assert np.abs(stretched - resample(image, input_size)).max() < TOLERANCE


@each_mode
@few_examples
@given(source=small_sizes, input_size=st.sampled_from([(16, 16), (20, 33), (48, 31)]))
def test_tensorflow_places_alike_whatever_the_size(tf_fit, mode, source, input_size):
    image, placement = noise(source), Placement(source, input_size, mode)
    box, placed, _ = tf_fit(image, input_size, mode)
    assert box == placement.box
    assert np.abs(placed - placement.image(image)).max() < TOLERANCE


@each_mode
@each_pair
def test_tensorflow_undoes_alike(pipeline, mode, source, input_size):
    saliency, placement = (
        noise(input_size, 1) / np.float32(255),
        Placement(source, input_size, mode),
    )
    undone = pipeline.undo(saliency, source, pipeline.box_in(source, input_size, mode)).numpy()
    assert undone.shape == (*source, 1)
    assert undone.dtype == np.float32
    assert np.abs(undone[..., 0] - placement.undo(saliency[..., 0])).max() < 1e-3


@some_examples
@given(source=sizes, input_size=sizes)
def test_tensorflow_finds_the_same_box(pipeline, source, input_size):
    for mode in MODES:
        box = pipeline.box_in((*source, 3), input_size, mode)
        assert tuple(int(side) for side in box) == Placement(source, input_size, mode).box


def test_the_box_of_huge_images_does_not_overflow(pipeline):
    # 2 · 40000 · 30000 is beyond 32 bits.
    box = pipeline.box_in((40_000, 20_000, 3), (30_000, 30_000), "pad")
    assert tuple(int(side) for side in box) == (0, 7500, 30_000, 15_000)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp"])
def test_tensorflow_decodes_alike(pipeline, ending):
    image = cv2.GaussianBlur(noise((37, 50)), (0, 0), 1.5)
    _, encoded = cv2.imencode(ending, image)
    expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    decoded = pipeline.decode_image(encoded.tobytes())
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, expected)
