"""All metrics of one prediction of one image."""

from dataclasses import dataclass

import numpy as np

from keras_salnet.images.geometry import resample
from keras_salnet.metrics._check import check_convention, check_plain_map
from keras_salnet.metrics.table import GAZE_METRICS, MASK_METRICS


@dataclass(frozen=True)
class Truth:
    """Where people looked at an image, and what its prediction is measured against.

    Args:
        size: (height, width) of the image, in whose pixels all fixations are.
        density: (H, W) of any size: the blurred fixations, or a given map.
        fixations: (n, 2) points (x, y).
        others: (m, 2) fixations of other images, scaled to this one, for sAUC.
        baseline: (h, w) density of any size, the baseline of IG.
    """

    size: tuple[int, int]
    density: np.ndarray
    fixations: np.ndarray
    others: np.ndarray
    baseline: np.ndarray


def score(saliency, truth, convention="mit", *, emd=False, seed=0):
    """All metrics of one prediction of where people look.

    Args:
        saliency: (h, w) map of any size; it is resized, the ground truth never.
        truth: `Truth`.
        convention: ``"mit"`` or ``"pysaliency"``.
        emd: also compute EMD, which takes longer than all others together.
        seed: random seed of metrics that draw.

    Returns:
        Metric → float, for those in `GAZE_METRICS` that the convention has and the ground truth
        allows: without fixations those that need a density only, without fixations of other images
        no sAUC.

    Raises:
        ValueError: the map is not (h, w) finite numbers, or is negative where the convention does
            not allow it.
    """
    saliency = check_plain_map("saliency", saliency)
    check_convention(convention)
    given = {"density": (resized(saliency, truth.density.shape), truth.density)}
    if len(truth.fixations):
        gaze = resized(saliency, truth.size), truth.fixations
        given["fixations"] = gaze
        given["baseline"] = *gaze, resized(truth.baseline, truth.size)
        if len(truth.others):
            given["other fixations"] = *gaze, truth.others
    return {
        name: metric(*given[metric.needs], convention=convention, seed=seed)
        for name, metric in GAZE_METRICS.items()
        if metric.needs in given
        and metric.convention in (None, convention)
        and (emd or not metric.on_request)
    }


def score_mask(saliency, mask):
    """All metrics of one prediction of the salient objects.

    Args:
        saliency: (h, w) map of any size and scale; it is resized, the ground truth never.
        mask: (H, W) bool.

    Returns:
        Metric of `MASK_METRICS` → float, or the image's values at the thresholds 0, 1/255, … 1,
        (256,) float64, of metrics whose dataset score is the maximum of the mean curve.

    Raises:
        ValueError: the map is not (h, w) finite numbers.
    """
    saliency = resized(check_plain_map("saliency", saliency), mask.shape)
    return {name: metric(saliency, mask) for name, metric in MASK_METRICS.items()}


def resized(saliency, size):
    """A map (h, w) at another size (height, width)."""
    if saliency.shape == tuple(size):
        return saliency
    return resample(saliency[..., None], size)[..., 0]
