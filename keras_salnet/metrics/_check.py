"""Checks of the metrics' arguments: errors name the argument, the problem and the remedy."""

from typing import NamedTuple

import numpy as np

CONVENTIONS = ("mit", "pysaliency")


def check_convention(convention):
    """Refuses anything but the name of a convention."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; it must be one of {CONVENTIONS}.")


class Map(NamedTuple):
    """A finite float64 map (H, W), and its lowest and highest value."""

    values: np.ndarray
    low: float
    high: float


def check_map(name, value):
    """Returns `value` as a `Map`, on any scale.

    Where squares of its values or their sum could overflow or vanish, the map is divided by its
    peak: no metric of saliency depends on the scale.
    """
    values = _check_shape(name, _to_float64(name, value))
    low, high = float(values.min()), float(values.max())
    peak = max(high, -low)
    if not 1e-100 < peak < 1e100:
        _check_finite(name, values)
        peak = peak or 1
        return Map(values / peak, low / peak, high / peak)
    return Map(values, low, high)


def check_plain_map(name, value):
    """Returns `value` as a finite float64 map (H, W), as it is."""
    return _check_finite(name, _check_shape(name, _to_float64(name, value)))


def check_maps(saliency, density):
    """Returns both as a `Map`, of one size, the density without negative values."""
    saliency, density = check_map("saliency", saliency), check_map("density", density)
    check_not_negative("density", density, "a density counts fixations: shift or clip it.")
    check_same_size("saliency", saliency.values, "density", density.values)
    return saliency, density


def check_mask(mask, saliency):
    """Returns `mask` as a bool map (H, W) of the size of `saliency`."""
    mask = check_plain_map("mask", mask)
    bad = np.count_nonzero((mask != 0) & (mask != 1))
    if bad:
        raise ValueError(
            f"mask has {bad} of {mask.size} values other than 0 and 1, the highest {mask.max():g}; "
            "make it boolean, mask > 128 if it is an 8-bit image."
        )
    check_same_size("saliency", saliency, "mask", mask)
    return mask == 1


def check_same_size(name, array, truth_name, truth):
    """Refuses a map of another size than the ground truth."""
    if array.shape != truth.shape:
        raise ValueError(
            f"{name} has shape {array.shape} but {truth_name} has {truth.shape}; "
            f"resize {name} to the shape of {truth_name}."
        )


def check_not_negative(name, checked, remedy):
    """Refuses a `Map` with negative values; `remedy` says why, or what to do instead."""
    if checked.low < 0:
        raise ValueError(
            f"{name} has {np.count_nonzero(checked.values < 0)} negative values, "
            f"the lowest {checked.low:g}; {remedy}"
        )


def check_fixations(fixations, shape, convention, name="fixations"):
    """Returns the fixated pixels, as indices into the flattened map.

    Args:
        fixations: (n, 2) of (x, y); each is rounded down to the pixel it falls in.
        shape: (H, W) of the map.
        convention: `"mit"` returns a pixel once however often it was fixated, `"pysaliency"`
            once for each fixation.
        name: of the argument, for the messages.
    """
    points = _check_finite(name, _to_float64(name, fixations))
    if points.size == 0:
        raise ValueError(
            f"{name} is empty, shape {points.shape}; at least one (x, y) is needed: "
            "leave images without fixations out of the average."
        )
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{name} has shape {points.shape}; it must be (n, 2), rows of (x, y).")
    height, width = shape
    x, y = np.floor(points).T
    outside = np.count_nonzero((x < 0) | (x >= width) | (y < 0) | (y >= height))
    if outside:
        raise ValueError(
            f"{name} has {outside} of {len(points)} points outside the {width} x {height} frame "
            "(width x height) of saliency; drop them, and check that they are (x, y) and 0-based."
        )
    pixels = (y * width + x).astype(np.intp)
    return np.unique(pixels) if convention == "mit" else pixels


def _to_float64(name, value):
    try:
        return np.asarray(value).astype(np.float64, casting="same_kind", copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers: {error}") from error


def _check_shape(name, array):
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{name} has shape {array.shape}; it must be a map (H, W) of one image, without batch "
            "or channel axes and with at least one pixel."
        )
    return array


def _check_finite(name, array):
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueError(
            f"{name} has {np.count_nonzero(~finite)} of {array.size} values that are NaN or "
            "infinite; all of them must be finite."
        )
    return array
