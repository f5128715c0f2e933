"""The normalizations that the metrics share; on maps as `_check` returns them, never NaN.

None makes another array of a map's size where that can be avoided: to allocate one takes longer
than to compute with it.
"""

import numpy as np

EPS = 2.2204e-16  # of both references, wherever a logarithm could meet 0
_BLOCK = 1 << 15


def blocks(*maps):
    """The values of maps of one size, flattened, in blocks that stay in the processor's cache."""
    flat = [array.ravel() for array in maps]
    for start in range(0, flat[0].size, _BLOCK):
        yield tuple(array[start : start + _BLOCK] for array in flat)


def stretch(array):
    """Min-max: a function from values of the map to [0, 1]. All values of a constant map are 0."""
    low, high = float(array.min()), float(array.max())
    return lambda values: (values - low) / ((high - low) or 1)


def to_density(array, stretched=False):
    """A function from values of the map to those of a density, which sum to 1.

    It subtracts the minimum if that is negative, or if the map is to be `stretched`. Where nothing
    is left, the density is uniform.
    """
    low, high = float(array.min()), float(array.max())
    floor = low if stretched or low < 0 else 0.0
    if high == floor:
        return lambda values: np.full(np.shape(values), 1 / array.size)
    total = sum(float((values - floor).sum()) for (values,) in blocks(array))
    return lambda values: (values - floor) / total


def center(array):
    """The map on any scale, its mean, and the sum of its squared deviations from it."""

    def squares(array, mean):
        return sum(float(d @ d) for d in (values - mean for (values,) in blocks(array)))

    mean = array.mean()
    total = squares(array, mean)
    if total <= array.size * (1e-6 * mean) ** 2:  # rounding shows: the map is all but constant
        array = stretch(array)(array)
        mean = array.mean() if array.any() else 0.0
        total = squares(array, mean)
    return array, mean, total


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
