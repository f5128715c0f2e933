"""Other images of a split: whose fixations sAUC takes, and which is the shuffled control."""

from typing import NamedTuple

import numpy as np

from keras_salnet.images.files import image_size

# MIT's code takes the fixations of ten other images. pysaliency takes all; here they are sampled
# where there are more than this.
_OTHER_IMAGES = 10
_MAX_FIXATIONS = 100_000


class Look(NamedTuple):
    """What the scores of all images need of one: fixations (n, 2), number dropped, image size."""

    points: np.ndarray
    dropped: int
    size: tuple[int, int]


def look(sample):
    """The `Look` at a `Sample`."""
    gaze = sample.read_gaze()
    return Look(gaze.points, gaze.dropped, image_size(sample.image))


def other_images(number, count, seed):
    """Numbers of the other of `count` images, (count - 1,), in random order.

    The fixations of MIT's sAUC come from the first ten, the shuffled control is the last.
    """
    order = np.random.default_rng((seed, number)).permutation(count)
    return order[order != number]


def other_fixations(looks, number, seed, convention, maximum=_MAX_FIXATIONS):
    """Fixations of other images for the sAUC of one, scaled to its size.

    Args:
        looks: list of the images' `Look`.
        number: position of the image.
        seed: random seed.
        convention: ``"mit"`` takes ten images, ``"pysaliency"`` all.
        maximum: take no more images once there are more fixations than this.

    Returns:
        (m, 2) float64.
    """
    others = other_images(number, len(looks), seed)
    found, count = [np.zeros((0, 2))], 0
    for other in others[:_OTHER_IMAGES] if convention == "mit" else others:
        # Scaled as in pysaliency, to match its values.
        scale = np.divide(looks[number].size, looks[other].size)[::-1]
        found.append(looks[other].points * scale)
        count += len(found[-1])
        if count > maximum:
            break
    return np.concatenate(found)
