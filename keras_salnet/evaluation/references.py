"""Baselines and human references: maps that ignore the image, and people themselves."""

import numpy as np

from keras_salnet.data.density import fixation_density
from keras_salnet.images.geometry import resample

CENTRE_BIAS = "centre bias"
GAUSSIAN = "Gaussian centre"
SHUFFLED = "shuffled control"
ONE_HUMAN = "leave-one-out human"
HALVES = "split-half humans"

# In tables, from the ceiling down.
REFERENCES = (HALVES, ONE_HUMAN, CENTRE_BIAS, GAUSSIAN, SHUFFLED)

_FRAME = (96, 128)


class CentreBias:
    """Mean density of many images, each stretched to (96, 128).

    A uniform density is among them, so that no place has zero probability.

    Args:
        densities: (96, 128) densities, from `small_density`.
        leave_out: whether the densities are those of the scored images: each image's own is then
            left out of its centre bias (leave-one-out).
    """

    def __init__(self, densities, leave_out=False):
        self._total = np.full(_FRAME, 1 / np.prod(_FRAME))
        self._count = 1
        self._leave_out = leave_out
        for density in densities:
            self._total += density
            self._count += 1

    @staticmethod
    def small_density(sample):
        """The ground-truth density of a `Sample`: (96, 128) float64."""
        return sample.read_density_in(_FRAME)

    def __call__(self, sample):
        """The prediction for a `Sample`: (96, 128) float64 that sums to 1."""
        if not self._leave_out:
            return self._total / self._count
        return (self._total - self.small_density(sample)) / (self._count - 1)


class MaskBias(CentreBias):
    """`CentreBias` of masks: the mean mask of many images, of arbitrary scale."""

    @staticmethod
    def small_density(sample):
        """The mask of a `Sample`: (96, 128) float64 in [0, 1]."""
        return resample(sample.read_mask()[..., None].astype(np.float64), _FRAME)[..., 0]


def gaussian_centre(size):
    """Centred Gaussian with a standard deviation of a quarter of each side.

    Args:
        size: (height, width).

    Returns:
        (height, width) float64 that sums to 1.
    """
    height, width = size
    return fixation_density([((width - 1) / 2, (height - 1) / 2)], size, (width / 4, height / 4))


def people(gaze, size, sigma, bias):
    """How well some of an image's observers predict the others.

    A prediction is the blurred fixations of some observers mixed with the centre bias, at the
    weight of one fixation: otherwise places that they happened not to look at would have zero
    probability.

    Args:
        gaze: `Gaze` of the image.
        size: (height, width) of the image.
        sigma: standard deviation of the blur in pixels.
        bias: (height, width) density, the centre bias.

    Yields:
        (`HALVES` or `ONE_HUMAN`, prediction (height, width), fixations (n, 2) of those predicted).
        Halves hold every other observer and predict each other; each observer predicts all others.
        Nothing if observers are unknown, or a side has nobody.
    """
    if gaze.observer is None or sigma is None:
        return
    observers, observer = np.unique(gaze.observer, return_inverse=True)
    odd = observer % 2 == 1
    groups = [(HALVES, odd), (HALVES, ~odd)]
    groups += [(ONE_HUMAN, observer == one) for one in range(len(observers))]
    for row, some in groups:
        if some.any() and not some.all():
            count = np.count_nonzero(some)
            seen = fixation_density(gaze.points[some], size, sigma)
            yield row, (count * seen + bias) / (count + 1), gaze.points[~some]
