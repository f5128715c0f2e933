"""What the metrics accept: every refusal names the argument, what was found and what would do."""

import numpy as np

CONVENTIONS = ("mit", "pysaliency")


def check_convention(convention):
    """Refuses anything but the name of a convention."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; it must be one of {CONVENTIONS}.")


def check_map(name, value):
    """Returns `value` as a finite float64 map (H, W)."""
    array = _check_numbers(name, value)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{name} has shape {array.shape}; it must be a map (H, W) of one image, without batch "
            "or channel axes and with at least one pixel."
        )
    return array


def check_maps(saliency, density):
    """Returns both as finite float64 maps of one size, the density without negative values."""
    saliency, density = check_map("saliency", saliency), check_map("density", density)
    check_not_negative("density", density, "a density counts fixations: shift or clip it.")
    if saliency.shape != density.shape:
        raise ValueError(
            f"saliency has shape {saliency.shape} but density has {density.shape}; "
            "resize saliency to the shape of density."
        )
    return saliency, density


def check_not_negative(name, array, remedy):
    """Refuses negative values; `remedy` says why, or what to do instead."""
    if array.min() < 0:
        raise ValueError(
            f"{name} has {np.count_nonzero(array < 0)} negative values, "
            f"the lowest {array.min():g}; {remedy}"
        )


def check_fixations(fixations, shape, convention):
    """Returns the fixated pixels, as indices into the flattened map.

    Args:
        fixations: (n, 2) of (x, y); each is rounded down to the pixel it falls in.
        shape: (H, W) of the map.
        convention: `"mit"` returns a pixel once however often it was fixated, `"pysaliency"`
            once for each fixation.
    """
    points = _check_numbers("fixations", fixations)
    if points.size == 0:
        raise ValueError(
            f"fixations is empty, shape {points.shape}; at least one (x, y) is needed: "
            "leave images without fixations out of the average."
        )
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"fixations has shape {points.shape}; it must be (n, 2), rows of (x, y).")
    height, width = shape
    x, y = np.floor(points).T
    outside = np.count_nonzero((x < 0) | (x >= width) | (y < 0) | (y >= height))
    if outside:
        raise ValueError(
            f"fixations has {outside} of {len(points)} points outside the {width} x {height} frame "
            "(width x height) of saliency; drop them, and check that they are (x, y) and 0-based."
        )
    pixels = (y * width + x).astype(np.intp)
    return np.unique(pixels) if convention == "mit" else pixels


def _check_numbers(name, value):
    """Returns `value` as a finite float64 array."""
    try:
        array = np.asarray(value).astype(np.float64, casting="same_kind", copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers: {error}") from error
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise ValueError(
            f"{name} has {bad} of {array.size} values that are NaN or infinite; "
            "all of them must be finite."
        )
    return array
