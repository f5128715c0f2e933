"""Maps as pictures: greyscale, heat map, overlay, side by side, crisp, difference."""

import cv2
import numpy as np

COLORMAPS = ("inferno", "viridis", "turbo", "jet", "hot")


def to_grey(saliency):
    """A map as a greyscale picture, its maximum white.

    Args:
        saliency: (H, W) floats ≥ 0.

    Returns:
        (H, W) uint8, rounded to the nearest level: cutting off instead turns small values into
        zeros, which KL and IG punish without bound. Score floats, not pictures, where you can.
    """
    peak = np.max(saliency)
    scaled = saliency / peak if peak > 0 else np.zeros_like(saliency)
    return np.round(np.asarray(scaled) * 255).astype(np.uint8)


def heatmap(saliency, colormap="inferno"):
    """A map in colours.

    Args:
        saliency: (H, W) floats ≥ 0.
        colormap: one of `COLORMAPS`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: an unknown colour map.
    """
    if colormap not in COLORMAPS:
        raise ValueError(f"colormap must be one of {', '.join(COLORMAPS)}, not {colormap!r}.")
    code = getattr(cv2, f"COLORMAP_{colormap.upper()}")
    return cv2.cvtColor(cv2.applyColorMap(to_grey(saliency), code), cv2.COLOR_BGR2RGB)


def overlay(image, saliency, colormap="inferno", opacity=0.6):
    """The heat map over the image: opaque where people look, clear where they do not.

    Args:
        image: (H, W, 3) uint8 RGB.
        saliency: (H, W) floats ≥ 0, of the image's size.
        colormap: one of `COLORMAPS`.
        opacity: of the heat map at the maximum of the map, 0…1.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the sizes differ, or an unknown colour map.

    Example:
        >>> picture = overlay(np.zeros((4, 4, 3), np.uint8), np.eye(4))
        >>> picture.shape
        (4, 4, 3)
    """
    if image.shape[:2] != saliency.shape:
        raise ValueError(f"saliency {saliency.shape} must have the image's size {image.shape[:2]}.")
    # Weaker regions stay visible; a square root would show the first of 256 levels as contours.
    part = to_grey(saliency)[..., None] / 255
    cover = opacity * part * (2 - part)
    blended = image * (1 - cover) + heatmap(saliency, colormap) * cover
    return np.round(blended).astype(np.uint8)


def side_by_side(image, saliency, colormap="inferno", opacity=0.6):
    """The image, and right of it the image under its heat map.

    Args:
        image: (H, W, 3) uint8 RGB.
        saliency: (H, W) floats ≥ 0, of the image's size.
        colormap: one of `COLORMAPS`.
        opacity: as for `overlay`.

    Returns:
        (H, 2 W, 3) uint8 RGB.

    Raises:
        ValueError: the sizes differ, or an unknown colour map.
    """
    return np.hstack([image, overlay(image, saliency, colormap, opacity)])


def crisp(saliency, threshold):
    """A map without its faint parts: 0 where it is below a part of its maximum.

    Args:
        saliency: (H, W) floats ≥ 0.
        threshold: that part, 0…1; 0 changes nothing.

    Returns:
        (H, W) of the same dtype.

    Example:
        >>> crisp(np.array([[0.2, 0.5, 2.0]]), 0.25).tolist()
        [[0.0, 0.5, 2.0]]
    """
    return np.where(saliency < threshold * np.max(saliency), 0, saliency).astype(saliency.dtype)


def difference(saliency, density):
    """Where a prediction says too much, in red, and where too little, in blue; white where it fits.

    Both are compared as densities, divided by their sums. The strongest colours stand for a
    difference as large as the higher peak of the two, and smaller ones are raised by the square
    root.

    Args:
        saliency: (H, W) floats ≥ 0, the prediction.
        density: (H, W) floats ≥ 0, the ground truth.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the sizes differ.

    Example:
        >>> difference(np.array([[1, 0, 1]]), np.array([[0, 1, 1]])).tolist()
        [[[103, 0, 31], [5, 48, 97], [247, 246, 246]]]
    """
    from matplotlib import colormaps

    if saliency.shape != density.shape:
        raise ValueError(f"saliency {saliency.shape} must have density's size {density.shape}.")
    saliency, density = _to_density(saliency), _to_density(density)
    change = (saliency - density) / max(saliency.max(), density.max())  # -1 … 1
    change = np.sign(change) * np.sqrt(np.abs(change))
    return colormaps["RdBu_r"]((change + 1) / 2, bytes=True)[..., :3]


def _to_density(saliency):
    """Divided by its sum; uniform where that is 0."""
    saliency = np.asarray(saliency, np.float64)
    total = saliency.sum()
    return saliency / total if total > 0 else np.full(saliency.shape, 1 / saliency.size)
