"""Averages over a grid, against pixels that are cut into smaller ones, and against OpenCV."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_salnet.layers.pooling import pool_to_grid

SIZES = [(8, 12), (5, 7), (9, 4), (3, 2), (1, 1), (64, 48)]


def maps_of(size, dtype="float64"):
    return np.random.default_rng(0).normal(size=(2, *size, 3)).astype(dtype)


def pool_by_cutting(maps, grid):
    """Every pixel is cut into grid x grid, of which each cell holds a whole number."""
    _, height, width, depth = maps.shape
    cut = maps.repeat(grid, axis=1).repeat(grid, axis=2)
    cells = cut.reshape(-1, grid, height, grid, width, depth)
    return cells.mean((2, 4)).reshape(-1, grid * grid, depth)


@pytest.mark.parametrize("size", SIZES)
def test_equals_cut_pixels(size):
    maps = maps_of(size)
    pooled = pool_to_grid(tf.constant(maps), 4)
    assert pooled.dtype == "float64"
    np.testing.assert_allclose(pooled, pool_by_cutting(maps, 4), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.mean(pooled, 1), maps.mean((1, 2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 12), (5, 7), (64, 48)])
def test_equals_opencv(size):
    maps = maps_of(size)
    for pooled, image in zip(pool_to_grid(tf.constant(maps), 4), maps, strict=True):
        wanted = cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(pooled, wanted.reshape(16, 3), rtol=0, atol=1e-6)


def test_a_grid_of_the_frames_own_size_changes_nothing():
    maps = maps_of((6, 6), "float32")
    np.testing.assert_array_equal(pool_to_grid(maps, 6), maps.reshape(2, 36, 3))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_size_need_not_be_known(jit_compile):
    pool = tf.function(
        lambda maps: pool_to_grid(maps, 4),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
        jit_compile=jit_compile,
    )
    assert pool.get_concrete_function().output_shapes.as_list() == [None, 16, 3]
    for size in SIZES:
        maps = maps_of(size, "float32")
        np.testing.assert_allclose(pool(maps), pool_by_cutting(maps, 4), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_half_precision(dtype, tolerance):
    """A mean of many, of which neither the number nor the sum may overflow or be rounded away."""
    maps = tf.cast(tf.fill((1, 300, 500, 1), 10.0), dtype)
    pooled = pool_to_grid(maps, 7)
    assert pooled.dtype == dtype
    np.testing.assert_allclose(tf.cast(pooled, "float32"), 10, rtol=tolerance)
