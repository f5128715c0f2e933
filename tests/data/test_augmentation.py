"""What augmentation draws, and what the warp does, against scipy and plain formulas."""

import math

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from keras import ops

from keras_salnet.data.augmentation import (
    RANGES,
    Augment,
    draw_epoch,
    draw_warps,
    identity_warp,
)
from keras_salnet.training.recipes import AUGMENTATIONS

FRAMES = [(32, 32), (24, 40), (41, 23)]
each_frame = pytest.mark.parametrize("input_size", FRAMES)


@pytest.fixture(scope="module")
def warps():
    return draw_warps(seed=3, epoch=2, samples=np.arange(2000))


def smooth(input_size, channels, seed=0):
    """Smooth noise, 0…255."""
    noise = np.random.default_rng(seed).random((*input_size, channels))
    noise = scipy.ndimage.gaussian_filter(noise, (2, 2, 0))
    noise = (noise - noise.min()) / np.ptp(noise)
    return np.float32(255 * noise)


def augment(image, density, mask, warp, training=True):
    """One sample through `Augment`, as numpy; what is left out is plain."""
    input_size = image.shape[:2]
    density = np.ones((*input_size, 1), np.float32) if density is None else density
    mask = np.ones((*input_size, 1), np.float32) if mask is None else mask
    inputs = {"image": image, "density": density, "mask": mask, "warp": np.float32(warp)}
    outputs = Augment()(
        {name: ops.convert_to_tensor(value[None]) for name, value in inputs.items()},
        training=training,
    )
    return {name: ops.convert_to_numpy(value)[0] for name, value in outputs.items()}


def geometric(angle=0.0, crop=1.0, flip=1, shift=(0.0, 0.0)):
    """A warp of the given angle in degrees, with no change of colour."""
    cos, sin = crop * math.cos(math.radians(angle)), crop * math.sin(math.radians(angle))
    return np.float32([flip * cos, -sin, shift[0], flip * sin, cos, shift[1], 0, 1, 1])


def source_of(warp, input_size):
    """(matrix, offset) of the warp from output to input pixels (y, x), for scipy."""
    a, b, c, d, e, f = np.float64(warp[:6])
    centre = (np.array(input_size) - 1) / 2
    matrix = np.array([[e, d], [b, a]])
    return matrix, centre + np.array([f, c]) * centre - matrix @ centre


def inside_of(matrix, offset, input_size):
    """(H, W) bool: which output pixels have their source between the frame's pixel centres."""
    output = np.indices(input_size).reshape(2, -1)
    source = (matrix @ output + offset[:, None]).reshape(2, *input_size)
    last = np.array(input_size)[:, None, None] - 1
    slack = 1e-3
    return np.all((source >= -slack) & (source <= last + slack), axis=0)


# The draws


def test_draws_are_a_function_of_seed_epoch_and_sample(warps):
    assert warps.shape == (2000, 9)
    assert warps.dtype == np.float32
    # Independent of what else is in the batch, and of its order.
    chosen = [1999, 0, 7, 7, 1234]
    assert np.array_equal(draw_warps(3, 2, chosen), warps[chosen])
    assert np.array_equal(draw_warps(3, 2, np.array([7], np.int32)), warps[[7]])
    for seed, epoch in ((3, 1), (4, 2), (2, 3), (0, 0)):
        other = draw_warps(seed, epoch, [7])[0]
        assert np.all(other[[2, 5, 6, 7, 8]] != warps[7, [2, 5, 6, 7, 8]])
    # The shift and the colours of every sample are its own.
    for column in (2, 5, 6, 7, 8):
        assert len(np.unique(warps[:, column])) > 0.995 * len(warps)


def test_ranges_have_the_names_of_recipes():
    assert (*RANGES,) == AUGMENTATIONS


@pytest.mark.parametrize(
    ("augment", "turn", "least_crop", "contrasts", "saturations"),
    [("gaze", 10, 0.75, 0.25, 0.25), ("objects", 25, 7 / 8, 0.5, 0)],
)
def test_draws_are_what_is_documented(augment, turn, least_crop, contrasts, saturations):
    warps = draw_warps(3, 2, np.arange(2000), augment)
    a, b, c, d, e, f, brightness, contrast, saturation = np.float64(warps).T
    flip = np.sign(a)
    crop = np.hypot(a, d)
    np.testing.assert_allclose(np.hypot(b, e), crop, rtol=1e-5)
    np.testing.assert_allclose(a * b + d * e, 0, atol=1e-6)
    angle = np.degrees(np.arctan2(-b, e))
    shift = np.abs([c, f]) / (1 - crop)
    ranges = {
        "flip": (flip, -1, 1),
        "angle": (angle, -turn, turn),
        "crop": (crop, least_crop, 1),
        "shift": (shift, 0, 1),
        "brightness": (brightness, -20, 20),
        "contrast": (contrast, 1 - contrasts, 1 + contrasts),
        "saturation": (saturation, 1 - saturations, 1 + saturations),
    }
    for name, (values, low, high) in ranges.items():
        slack = 1e-3 * (high - low)
        assert values.min() >= low - slack, name
        assert values.max() <= high + slack, name
        # Uniform: the flip on two values, the rest in between.
        assert abs(values.mean() - (low + high) / 2) <= 0.03 * (high - low), name
        spread = (high - low) / 2 if name == "flip" else (high - low) / math.sqrt(12)
        assert values.std() == pytest.approx(spread, rel=0.05), name
    assert np.array_equal(np.unique(flip), [-1, 1])
    # One does not tell of another.
    drawn = [flip, angle, crop, c, f, brightness, contrast, *([saturation] if saturations else [])]
    correlations = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(correlations).max() < 0.1


def test_the_crop_lies_in_the_frame_before_it_is_turned(warps):
    a, _, c, d, _, f = np.float64(warps[:, :6]).T
    crop = np.hypot(a, d)
    assert np.all(crop + np.abs([c, f]) <= 1 + 1e-6)


def test_an_epoch_holds_each_sample_once_with_its_own_warp():
    order, warps = draw_epoch(3, 2, 50, augment="gaze")
    assert sorted(order) == list(range(50))
    assert order.dtype == np.int64
    assert np.array_equal(warps, draw_warps(3, 2, order)), "whatever the order"
    again, same = draw_epoch(3, 2, 50, augment=None)
    assert np.array_equal(again, order), "whether or not it augments"
    assert np.array_equal(same, np.tile(identity_warp(), (50, 1)))
    assert warps.dtype == same.dtype == np.float32
    # As the tf.data pipeline calls it.
    order_of_tf, warps_of_tf = draw_epoch(3, np.int64(2), 50, "gaze")
    assert np.array_equal(order_of_tf, order)
    assert np.array_equal(warps_of_tf, warps)


def test_the_order_is_a_function_of_seed_and_epoch():
    orders = {
        (seed, epoch): tuple(draw_epoch(seed, epoch, 20, None)[0])
        for seed in range(4)
        for epoch in range(50)
    }
    assert len(set(orders.values())) == len(orders), "of both"
    assert tuple(range(20)) not in orders.values()
    # Any sample may come first, as often as any other: 200 throws of a die of 20.
    first = np.bincount([order[0] for order in orders.values()], minlength=20)
    assert scipy.stats.chisquare(first).pvalue > 1e-4


def test_a_warp_tells_nothing_of_the_place_in_the_order():
    order, warps = draw_epoch(0, 0, 2000, augment="gaze")
    places = np.arange(2000)
    for column in (2, 5, 6, 7, 8):
        assert abs(np.corrcoef(places, warps[:, column])[0, 1]) < 0.1
        assert abs(np.corrcoef(order, warps[:, column])[0, 1]) < 0.1


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="negative"):
        draw_warps(-1, 0, [0])
    with pytest.raises(ValueError, match="negative"):
        draw_epoch(-1, 0, 1, None)


# The warp


@each_frame
def test_the_identity_changes_nothing(input_size):
    image, density, mask = (
        smooth(input_size, 3),
        smooth(input_size, 1),
        np.ones((*input_size, 1), np.float32),
    )
    mask[:5] = 0
    density *= mask
    image *= mask  # as the geometry leaves it
    result = augment(image, density, mask, identity_warp())
    np.testing.assert_allclose(result["image"], image, atol=1e-4)
    np.testing.assert_allclose(result["density"], density, atol=1e-4)
    assert np.array_equal(result["mask"], mask)
    assert all(value.dtype == np.float32 for value in result.values())


@each_frame
def test_a_flip_is_exact(input_size):
    image, density = smooth(input_size, 3), smooth(input_size, 1)
    result = augment(image, density, None, geometric(flip=-1))
    np.testing.assert_allclose(result["image"], image[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(result["density"], density[:, ::-1], atol=1e-4)
    assert result["mask"].all()


WARPS = {
    "turned": geometric(angle=8),
    "turned back": geometric(angle=-10),
    "cropped": geometric(crop=0.8, shift=(0.15, -0.1)),
    "all": geometric(angle=-7, crop=0.77, flip=-1, shift=(-0.1, 0.2)),
}


@each_frame
@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
def test_the_warp_is_scipys(input_size, warp):
    image, density = smooth(input_size, 3), smooth(input_size, 1, seed=1)
    result = augment(image, density, None, warp)
    matrix, offset = source_of(warp, input_size)

    def oracle(plane):
        return scipy.ndimage.affine_transform(
            np.float64(plane), matrix, offset, order=1, mode="nearest"
        )

    for channel in range(3):
        expected = oracle(image[..., channel])
        np.testing.assert_allclose(result["image"][..., channel], expected, atol=1e-3 * 255)
    inside = inside_of(matrix, offset, input_size)
    assert inside.all() == (warp is WARPS["cropped"])
    assert inside.mean() > 0.7
    assert np.array_equal(result["mask"][..., 0], inside)
    expected = np.where(inside, oracle(density[..., 0]), 0)
    np.testing.assert_allclose(result["density"][..., 0], expected, atol=1e-3 * 255)


@each_frame
@pytest.mark.parametrize("angle", [10, -25])
def test_a_rotation_is_rigid_whatever_the_frames_aspect(input_size, angle):
    # Three blobs on the corners of a right angle, far from the border.
    centre = (np.array(input_size) - 1) / 2
    places = centre + np.array([(-6, -6), (-6, 5), (4, -6)])
    y, x = np.indices(input_size)
    image = np.stack(
        [255 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4) for row, column in places], axis=-1
    )
    moved = augment(np.float32(image), None, None, geometric(angle=angle))["image"]
    found = []
    for channel in range(3):
        plane = np.float64(moved[..., channel])
        found.append([(y * plane).sum() / plane.sum(), (x * plane).sum() / plane.sum()])
    before, after = places - places[0], np.array(found) - found[0]
    np.testing.assert_allclose(
        np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), atol=0.05
    )
    assert after[1] @ after[2] == pytest.approx(0, abs=1), "a right angle stays one"
    # Output to input: the picture turns the other way.
    turned = math.degrees(math.atan2(after[1][0], after[1][1]))
    assert turned == pytest.approx(-angle, abs=0.5)


@each_frame
def test_image_density_and_mask_move_together(input_size):
    spot = smooth(input_size, 1)
    mask = np.ones((*input_size, 1), np.float32)
    mask[:, :6] = 0
    spot *= mask
    warp = geometric(angle=6, crop=0.85, flip=-1, shift=(0.05, 0.1))
    result = augment(np.repeat(spot, 3, axis=-1), spot, mask, warp)
    seen = result["mask"] == 1
    assert 0 < seen.mean() < 1
    for channel in range(3):
        np.testing.assert_allclose(
            result["image"][..., channel : channel + 1][seen], result["density"][seen], atol=1e-3
        )
    assert set(np.unique(result["mask"])) == {0, 1}
    assert not result["density"][~seen].any()
    # Of the mask, only pixels that mix in no padding remain.
    matrix, offset = source_of(warp, input_size)
    whole = scipy.ndimage.affine_transform(
        np.float64(mask[..., 0]), matrix, offset, order=1, mode="nearest"
    )
    assert np.array_equal(seen[..., 0], (whole > 0.999) & inside_of(matrix, offset, input_size))


@each_frame
def test_what_the_warp_brings_in_repeats_the_border_and_counts_for_nothing(input_size):
    image = np.full((*input_size, 3), 120, np.float32)
    result = augment(image, None, None, geometric(shift=(0.5, 0)))
    np.testing.assert_allclose(result["image"], 120, atol=1e-3)
    gone = round(0.5 * (input_size[1] - 1) / 2)
    outside = np.zeros(input_size, bool)
    outside[:, -gone:] = True
    assert np.array_equal(result["mask"][..., 0] == 0, outside)
    assert np.array_equal(result["density"][..., 0] == 0, outside)


def test_each_sample_of_a_batch_has_its_own_warp(warps):
    input_size = (24, 40)
    batch = {
        "image": np.stack([smooth(input_size, 3, seed) for seed in range(4)]),
        "density": np.stack([smooth(input_size, 1, seed) for seed in range(4)]),
        "mask": np.ones((4, *input_size, 1), np.float32),
        "warp": warps[:4],
    }
    together = Augment()(batch, training=True)
    for i in range(4):
        alone = augment(*(batch[name][i] for name in ("image", "density", "mask", "warp")))
        for name, expected in alone.items():
            result = ops.convert_to_numpy(together[name])[i]
            np.testing.assert_allclose(result, expected, atol=1e-3, err_msg=name)


# Colours


@pytest.mark.parametrize(
    "colour",
    [(20, 1, 1), (-20, 1, 1), (0, 1.25, 1), (0, 1, 0.75), (13, 0.8, 1.2), (-20, 1.25, 1.25)],
)
def test_colours_are_a_plain_formula(colour):
    image = smooth((24, 40), 3)
    brightness, contrast, saturation = colour
    warp = np.concatenate([identity_warp()[:6], np.float32(colour)])
    result = augment(image, None, None, warp)["image"]

    expected = np.float64(image)
    grey = (expected[..., :1] + expected[..., 1:2] + expected[..., 2:]) / 3
    expected = grey + saturation * (expected - grey)
    mean = expected.sum() / expected.size
    expected = mean + contrast * (expected - mean) + brightness
    expected = np.minimum(np.maximum(expected, 0), 255)
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_colours_stay_in_range(warps):
    image = np.float32(np.random.default_rng(0).choice([0, 255], (16, 16, 3)))
    for warp in warps[:20]:
        result = augment(image, None, None, warp)["image"]
        assert result.min() >= 0
        assert result.max() <= 255


def test_colours_do_not_touch_density_or_mask():
    density = smooth((24, 40), 1)
    warp = np.concatenate([identity_warp()[:6], np.float32([20, 1.2, 0.8])])
    result = augment(smooth((24, 40), 3), density, None, warp)
    np.testing.assert_allclose(result["density"], density, atol=1e-4)
    assert result["mask"].all()


# The layer


@pytest.mark.parametrize("training", [False, None])
def test_outside_training_nothing_happens(warps, training):
    image, density = smooth((24, 40), 3), smooth((24, 40), 1)
    mask = np.float32(smooth((24, 40), 1, seed=1) > 100)
    result = augment(image, density, mask, warps[0], training)
    assert np.array_equal(result["image"], image)
    assert np.array_equal(result["density"], density)
    assert np.array_equal(result["mask"], mask)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compiles by TensorFlow")
def test_compiled_by_xla_it_is_the_same(warps):
    import tensorflow as tf

    input_size = (24, 40)
    batch = {
        "image": np.stack([smooth(input_size, 3, seed) for seed in range(4)]),
        "density": np.stack([smooth(input_size, 1, seed) for seed in range(4)]),
        "mask": np.ones((4, *input_size, 1), np.float32),
        "warp": np.stack([*warps[:3], identity_warp()]),
    }
    layer = Augment()
    eager = layer(batch, training=True)
    compiled = tf.function(lambda batch: layer(batch, training=True), jit_compile=True)(batch)
    assert np.abs(eager["image"][:3] - batch["image"][:3]).max() > 10, "something is drawn"
    for name, expected in eager.items():
        np.testing.assert_allclose(compiled[name], expected, atol=1e-3 * 255, err_msg=name)
    np.testing.assert_allclose(compiled["image"][3], batch["image"][3], atol=1e-4)
    assert np.array_equal(compiled["mask"], eager["mask"])


def test_it_works_in_a_functional_model(warps):
    input_size = (24, 40)
    inputs = {
        "image": keras.Input((*input_size, 3)),
        "density": keras.Input((*input_size, 1)),
        "mask": keras.Input((*input_size, 1)),
        "warp": keras.Input((9,)),
    }
    outputs = Augment()(inputs)
    assert {name: value.shape for name, value in outputs.items()} == {
        "image": (None, *input_size, 3),
        "density": (None, *input_size, 1),
        "mask": (None, *input_size, 1),
    }
    layer = Augment.from_config(Augment(name="augment").get_config())
    assert layer.name == "augment"
    assert layer.compute_dtype == "float32"


def test_pixels_stay_float32_under_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        result = augment(smooth((24, 40), 3), smooth((24, 40), 1), None, identity_warp())
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(result["image"], smooth((24, 40), 3), atol=1e-4)
