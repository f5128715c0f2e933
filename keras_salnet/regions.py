"""The points of a map where most people look."""

import cv2
import numpy as np

_LEAST = 0.2  # of the map's maximum
_APART = 0.1  # of the map's shorter side


def peaks(saliency, most=10):
    """The highest points of a map, each the highest of its surroundings.

    Args:
        saliency: (H, W) float32 ≥ 0.
        most: how many at most.

    Returns:
        (n, 2) float64 points (x, y) in pixels, and (n,) float64 values, 1 the map's maximum and at
        least 0.2, in falling order. Of a plateau, it is the middle.

    Example:
        >>> saliency = np.zeros((60, 80), np.float32)
        >>> saliency[30, 20], saliency[10, 50] = 1, 0.5
        >>> points, values = peaks(saliency)
        >>> points.tolist(), values.tolist()
        ([[20.0, 30.0], [50.0, 10.0]], [1.0, 0.5])
    """
    maximum = saliency.max()
    reach = max(1, round(_APART * min(saliency.shape)))
    surroundings = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    high = (saliency == cv2.dilate(saliency, surroundings)) & (saliency >= _LEAST * maximum)
    found = (high & (saliency > 0)).astype(np.uint8)
    number, labels, _, centres = cv2.connectedComponentsWithStats(found)
    first = [np.argmax(labels == label) for label in range(1, number)]
    values = saliency.reshape(-1)[np.asarray(first, int)].astype(np.float64) / (maximum or 1)
    order = np.argsort(-values, kind="stable")[:most]
    return centres[1:][order], values[order]
