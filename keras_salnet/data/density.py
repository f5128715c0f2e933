"""Where fixations become a density."""

import numpy as np

# In the network's frame, of an image that is many times as long as wide: of a narrower Gaussian no
# pixel might see anything.
LEAST_SIGMA = 0.5


def fixation_density(fixations, size, sigma):
    """Sum of a Gaussian at each fixation, divided by its sum.

    Exact for fractional positions: a Gaussian is separable, so all of them together are one matrix
    product of their profiles along y and x. What falls outside the frame is cut off.

    Args:
        fixations: (n, 2) points (x, y) in pixels, 0-based.
        size: (height, width) of the density.
        sigma: standard deviation in pixels, a number or (x, y); about 1° of visual angle.

    Returns:
        (height, width) float64 that sums to 1; uniform where there are no fixations.

    Raises:
        ValueError: sigma is not positive.

    Example:
        >>> density = fixation_density([[3, 2]], (6, 8), sigma=1.0)
        >>> [int(i) for i in np.unravel_index(density.argmax(), density.shape)]
        [2, 3]
    """
    sigma = np.broadcast_to(np.asarray(sigma, np.float64), (2,))
    if not np.all(sigma > 0):
        raise ValueError(f"sigma must be positive, not {sigma.tolist()}.")
    fixations = np.asarray(fixations, np.float64).reshape(-1, 2)
    height, width = size
    along_x = _profiles(fixations[:, 0], width, sigma[0])  # (n, W)
    along_y = _profiles(fixations[:, 1], height, sigma[1])  # (n, H)
    density = along_y.T @ along_x
    total = density.sum()
    return density / total if total > 0 else np.full(size, 1 / (height * width))


def _profiles(centres, length, sigma):
    return np.exp(-0.5 * ((np.arange(length) - centres[:, None]) / sigma) ** 2)
