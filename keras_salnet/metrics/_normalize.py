"""The normalizations that the metrics share; on finite maps they never yield NaN or overflow."""

import numpy as np


def rescale(array):
    """Min-max: to [0, 1]. A constant map becomes 0 everywhere."""
    array = array / (max(array.max(), -array.min()) or 1)  # so that high - low cannot overflow
    low, high = array.min(), array.max()
    return (array - low) / (high - low) if low < high else np.zeros_like(array)


def standardize(array, ddof=0):
    """Mean 0, standard deviation 1. A constant map becomes 0 everywhere."""
    array = rescale(array)
    return (array - array.mean()) / array.std(ddof=ddof) if array.any() else array


def to_density(array):
    """Sum 1, after a shift to minimum 0 if there are negative values. 0 everywhere: uniform."""
    if array.min() < 0:
        array = rescale(array)
    array = array / (array.max() or 1)  # so that the sum cannot overflow
    return array / array.sum() if array.any() else np.full_like(array, 1 / array.size)
