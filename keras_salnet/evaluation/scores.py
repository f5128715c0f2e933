"""All metrics of one prediction of one image."""

from dataclasses import dataclass

import numpy as np

from keras_salnet import metrics
from keras_salnet.images.geometry import resample
from keras_salnet.metrics._check import check_plain_map

# Name in tables → whether more is better. AUC is of the pysaliency convention only and AUC-Borji of
# MIT's; EMD is computed on request. Against masks there are no conventions.
GAZE_METRICS = {
    "KL": False,
    "CC": True,
    "SIM": True,
    "EMD": False,
    "NSS": True,
    "IG": True,
    "AUC": True,
    "AUC-Judd": True,
    "AUC-Borji": True,
    "sAUC": True,
}
MASK_METRICS = {
    "MAE": False,
    "maxF": True,
    "Fw": True,
    "S": True,
    "maxE": True,
}
METRICS = GAZE_METRICS | MASK_METRICS


@dataclass(frozen=True)
class Truth:
    """Where people looked at an image, and what its prediction is measured against.

    Args:
        size: (height, width) of the image, in whose pixels all fixations are.
        density: (H, W), the fixations blurred, or a given map; of any size.
        fixations: (n, 2) points (x, y).
        others: (m, 2) fixations of other images, scaled to this one, for sAUC.
        baseline: (h, w) density that IG is the gain over, of any size.
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
        seed: of AUC-Borji's and sAUC's draws.

    Returns:
        Metric → float, of those in `GAZE_METRICS` that the convention has and the ground truth
        allows: without fixations KL, CC, SIM and EMD, without fixations of other images no sAUC.

    Raises:
        ValueError: the map is not (h, w) finite numbers, or negative where the convention does not
            take that.
    """
    saliency = check_plain_map("saliency", saliency)
    rules = {"convention": convention}
    maps = resized(saliency, truth.density.shape), truth.density
    scores = {
        "KL": metrics.kl_divergence(*maps, **rules),
        "CC": metrics.correlation_coefficient(*maps, **rules),
        "SIM": metrics.similarity(*maps, **rules),
    }
    if emd:
        scores["EMD"] = metrics.emd(*maps)
    if not len(truth.fixations):
        return scores
    gaze = resized(saliency, truth.size), truth.fixations
    scores |= {
        "NSS": metrics.nss(*gaze, **rules),
        "IG": metrics.information_gain(*gaze, resized(truth.baseline, truth.size), **rules),
        "AUC-Judd": metrics.auc_judd(*gaze, **rules),
    }
    if convention == "mit":
        scores["AUC-Borji"] = metrics.auc_borji(*gaze, seed=seed)
    else:
        scores["AUC"] = metrics.auc(*gaze)
    if len(truth.others):
        scores["sAUC"] = metrics.shuffled_auc(*gaze, truth.others, **rules, seed=seed)
    return scores


def score_mask(saliency, mask):
    """All metrics of one prediction of the salient objects.

    Args:
        saliency: (h, w) map of any size and scale; it is resized, the ground truth never.
        mask: (H, W) bool.

    Returns:
        Metric of `MASK_METRICS` → float; maxF and maxE → (256,) float64, the image's values at the
        thresholds 0, 1/255, … 1: the maximum is that of a dataset's mean.

    Raises:
        ValueError: the map is not (h, w) finite numbers.
    """
    saliency = resized(check_plain_map("saliency", saliency), mask.shape)
    return {
        "MAE": metrics.mean_absolute_error(saliency, mask),
        "maxF": metrics.f_measure_curve(saliency, mask),
        "Fw": metrics.weighted_f_measure(saliency, mask),
        "S": metrics.s_measure(saliency, mask),
        "maxE": metrics.e_measure_curve(saliency, mask),
    }


def resized(saliency, size):
    """A map (h, w) at another size (height, width)."""
    return (
        saliency if saliency.shape == tuple(size) else resample(saliency[..., None], size)[..., 0]
    )
