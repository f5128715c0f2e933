"""What a model is compared with: maps that know nothing of the image, and people themselves."""

import numpy as np

from keras_salnet.data.density import fixation_density
from keras_salnet.images.geometry import resample

CENTRE_BIAS = "centre bias"
GAUSSIAN = "Gaussian centre"
OTHER_IMAGE = "another image"
ONE_HUMAN = "one human against the rest"
HALVES = "half against half"

# In tables, from the ceiling down.
REFERENCES = (HALVES, ONE_HUMAN, CENTRE_BIAS, GAUSSIAN, OTHER_IMAGE)

_FRAME = (96, 128)


class CentreBias:
    """Where people look whatever the image: the mean of many images' densities.

    The densities are each stretched to one small frame, (96, 128). A uniform one is among them, so
    that nowhere is impossible.

    Args:
        densities: (96, 128) densities, from `in_frame`.
        leave_out: they are of the images that are to be scored: each image's own is left out of
            its centre bias (cross-validation).
    """

    def __init__(self, densities, leave_out=False):
        self._total = np.full(_FRAME, 1 / np.prod(_FRAME))
        self._count = 1
        self._leave_out = leave_out
        for density in densities:
            self._total += density
            self._count += 1

    @staticmethod
    def preprocess(sample):
        """The ground-truth density of a `Sample`: (96, 128) float64."""
        return sample.read_density_in(_FRAME)

    def __call__(self, sample):
        """The prediction for a `Sample`: (96, 128) float64 that sums to 1."""
        if not self._leave_out:
            return self._total / self._count
        return (self._total - self.preprocess(sample)) / (self._count - 1)


class MaskBias(CentreBias):
    """Where the salient objects are whatever the image: the mean of many images' masks.

    As `CentreBias`, of masks; its scale says nothing.
    """

    @staticmethod
    def preprocess(sample):
        """The mask of a `Sample`: (96, 128) float64 from 0 to 1."""
        return resample(sample.read_mask()[..., None].astype(np.float64), _FRAME)[..., 0]


def gaussian_centre(size):
    """A Gaussian in the middle of an image, its deviation a quarter of each side.

    Args:
        size: (height, width).

    Returns:
        (height, width) float64 that sums to 1.
    """
    height, width = size
    return fixation_density([((width - 1) / 2, (height - 1) / 2)], size, (width / 4, height / 4))


def people(gaze, size, sigma, bias):
    """How some of an image's observers predict the others.

    A prediction is the blurred fixations of some observers, and one fixation's worth of centre
    bias, without which it would call impossible what they merely did not happen to look at.

    Args:
        gaze: `Gaze` of the image.
        size: (height, width) of the image.
        sigma: standard deviation of the blur in pixels.
        bias: (height, width) density, the centre bias.

    Yields:
        (`HALVES` or `ONE_HUMAN`, prediction (height, width), fixations (n, 2) of those predicted).
        Every other observer is in the same half, and each half predicts the other; each observer
        predicts all others. Nothing where observers are unknown, or nobody is left on a side.
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
