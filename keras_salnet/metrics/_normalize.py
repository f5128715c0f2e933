"""The normalizations that the metrics share; on maps as `_check` returns them, never NaN.

None makes another array of a map's size where that can be avoided: to allocate one takes longer
than to compute with it.
"""

import numpy as np

EPS = 2.2204e-16  # of both references, wherever a logarithm could meet 0
_BLOCK = 1 << 16
_PIECE = 1 << 13


def blocks(*arrays):
    """Arrays of one size, flattened, in blocks that stay in the processor's cache."""
    flat = [array.ravel() for array in arrays]
    for start in range(0, flat[0].size, _BLOCK):
        yield tuple(array[start : start + _BLOCK] for array in flat)


def dot(a, b):
    """Sum of the products of two blocks.

    In pieces so short that BLAS takes one thread: to wait for the others takes longer than to sum.
    """
    whole = a.size - a.size % _PIECE
    pieces = np.vecdot(*(block[:whole].reshape(-1, _PIECE) for block in (a, b)))
    return float(pieces.sum() + a[whole:] @ b[whole:])


def stretch(checked):
    """Min-max: a function from values of a `Map` to [0, 1]. Of a constant map, all are 0."""
    span = (checked.high - checked.low) or 1
    return lambda values: (values - checked.low) / span


def to_density(checked, stretched=False):
    """A function from values of a `Map` to those of a density, which sum to 1.

    It subtracts the minimum if that is negative, or if the map is to be `stretched`. Where nothing
    is left, the density is uniform.
    """
    floor = checked.low if stretched or checked.low < 0 else 0.0
    if checked.high == floor:
        return lambda values: np.full(np.shape(values), 1 / checked.values.size)
    total = sum(float((values - floor).sum()) for (values,) in blocks(checked.values))
    return lambda values: (values - floor) / total


def center(checked):
    """The values of a `Map`, on any scale, their mean, and the sum of their squared deviations."""

    def squares(values, mean):
        return sum(dot(d, d) for d in (block - mean for (block,) in blocks(values)))

    values = checked.values
    if checked.high - checked.low < 1e-6 * max(checked.high, -checked.low):  # rounding would show
        values = stretch(checked)(values)
    mean = values.mean()
    return values, mean, squares(values, mean)


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
