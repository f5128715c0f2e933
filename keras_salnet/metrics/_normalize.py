"""The normalizations that the metrics share; on finite maps they never yield NaN or overflow.

They make few temporary arrays: to allocate one of an image's size takes longer than to fill it.
"""

import numpy as np

EPS = 2.2204e-16  # of both references, wherever a logarithm could meet 0


def rescale(array):
    """Min-max: to [0, 1]. A constant map becomes 0 everywhere."""
    low, high = float(array.min()), float(array.max())
    if low == high:
        return np.zeros_like(array)
    if high - low == np.inf:
        array, low, high = array / 2, low / 2, high / 2
    array = array - low
    array /= high - low
    return array


def deviations(array):
    """The map less its mean, flattened and on any scale, and the sum of its squares.

    A constant map becomes 0 everywhere.
    """
    array = array.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        mean = array.mean()
        values = array - mean
        squares = values @ values
        if array.size * (1e-12 * mean) ** 2 + 1e-200 < squares < 1e200:
            return values, squares
    # The limits of float64 show: values are constant up to rounding, huge or tiny.
    values = rescale(array)
    if values.any():
        values -= values.mean()
    return values, values @ values


def to_density(array):
    """Sum 1, after a shift to minimum 0 if there are negative values. 0 everywhere: uniform."""
    if array.min() < 0:
        array = rescale(array)
    peak = array.max()
    if peak == 0:
        return np.full_like(array, 1 / array.size)
    array = array / peak  # so that the sum cannot overflow
    array /= array.sum()
    return array


def shrink(array, factor):
    """The map at 1 / `factor` of its size, rounded up, as MATLAB's `imresize` does: bicubic."""
    height, width = array.shape
    return _bicubic(height, factor) @ array @ _bicubic(width, factor).T


def _bicubic(size, factor):
    """Weights (⌈size / factor⌉, size) of antialiased bicubic interpolation; the ends mirror."""
    rows = np.arange(-(-size // factor))[:, None]
    centers = (rows + 0.5) * factor - 0.5
    taps = np.floor(centers).astype(int) + np.arange(-2 * factor, 2 * factor + 2)
    x = np.abs(taps - centers) / factor
    weights = np.where(x <= 1, (1.5 * x - 2.5) * x**2 + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)
    weights[x >= 2] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    taps %= 2 * size
    taps = np.minimum(taps, 2 * size - 1 - taps)
    matrix = np.zeros((len(rows), size))
    np.add.at(matrix, (rows, taps), weights)
    return matrix
