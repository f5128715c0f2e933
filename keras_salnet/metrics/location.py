"""Metrics that ask a saliency map about the fixated pixels.

Bylinskii et al., "What do different evaluation metrics tell us about saliency models?",
TPAMI 2019, describe and compare them.
"""

import numpy as np

from keras_salnet.metrics._check import check_convention, check_fixations, check_map
from keras_salnet.metrics._normalize import rescale, standardize

_JITTER = 1e-7
_BUCKETS = 1 << 14
_BLOCK = 1 << 14


def nss(saliency, fixations, *, convention="mit", ddof=None):
    """Normalized scanpath saliency (NSS): how far fixated pixels stand out, in standard deviations.

        NSS = mean over fixations of (saliency - mean) / std

    `"mit"` takes every fixated pixel once and the sample deviation (ddof = 1); `"pysaliency"` takes
    every fixation and the population deviation (ddof = 0), a relative 1.6e-6 apart at 640 x 480.

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        fixations: (n, 2) of (x, y) pixels, int or float, 0-based, x to the right, y down. (x, y)
            lies in pixel (⌊x⌋, ⌊y⌋), which must be inside the frame.
        convention: `"mit"` or `"pysaliency"`.
        ddof: 0 or 1 to divide by √(H · W - ddof), whatever the convention; `None` follows it.

    Returns:
        Float, 0 at chance, the higher the better; from -√(H · W) to √(H · W). 0 for a constant
        prediction, as in pysaliency; MIT's code gives NaN.

    Raises:
        ValueError: for a map that is not 2-D or not finite; for fixations that are empty, not
            (n, 2), not finite or outside; for another ddof or an unknown convention.

    Source: Peters et al., "Components of bottom-up gaze allocation in natural images", Vision
    Research 2005; `NSS.m` of the MIT Saliency Benchmark; `pysaliency.metrics.NSS`.

    Example:
        >>> saliency = [[0, 1, 2], [0, 0, 3]]
        >>> round(nss(saliency, [(2, 1), (2, 0), (2, 0)]), 4)
        1.1859
        >>> round(nss(saliency, [(2, 1), (2, 0), (2, 0)], convention="pysaliency"), 4)
        1.1547
    """
    check_convention(convention)
    if ddof not in (None, 0, 1):
        raise ValueError(f"ddof is {ddof!r}; it must be 0, 1 or None (as the convention does).")
    if ddof is None:
        ddof = 1 if convention == "mit" else 0
    saliency = check_map("saliency", saliency)
    pixels = check_fixations(fixations, saliency.shape, convention)
    return float(standardize(saliency, ddof).take(pixels).mean())


def auc_judd(saliency, fixations, *, convention="mit", jitter=False, seed=0):
    """Area under the ROC curve of the map as a detector of fixated pixels (AUC-Judd).

    The thresholds are the map's values at the fixations. A threshold's hit rate is the share of
    fixations that reach it, its false alarm rate the share of never-fixated pixels that do. The
    area under the line through (0, 0), these points and (1, 1) is AUC-Judd. Only the map's order
    matters, not its values.

    The hit rate of `"mit"` takes every fixated pixel once, that of `"pysaliency"` every fixation.

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        fixations: (n, 2) of (x, y) pixels, int or float, 0-based, x to the right, y down. (x, y)
            lies in pixel (⌊x⌋, ⌊y⌋), which must be inside the frame.
        convention: `"mit"` or `"pysaliency"`.
        jitter: break ties by noise of 1e-7, uniform (`"mit"`) or normal (`"pysaliency"`), as both
            references do by default. They add it to the map as it is, where it drowns one that
            sums to 1; here the map is first stretched to [0, 1].
        seed: of the jitter.

    Returns:
        Float from 0 to 1 (best). 0.5 is chance, to which n fixations add 1 / (2n + 2), since the
        line cuts the corners of the full ROC curve. 0.5 for a constant prediction (MIT's code: NaN,
        or with jitter a random value) and where every pixel is fixated. Without jitter, tied
        fixations are one point of the curve, as in pysaliency; MIT's code then makes the curve
        run backwards and can leave [0, 1].

    Raises:
        ValueError: for a map that is not 2-D or not finite; for fixations that are empty, not
            (n, 2), not finite or outside; for an unknown convention.

    Source: Judd et al., "Learning to predict where humans look", ICCV 2009; `AUC_Judd.m` of the MIT
    Saliency Benchmark; `pysaliency.SaliencyMapModel.AUC_Judd`.

    Example:
        >>> saliency = [[0, 1, 2], [0, 0, 3]]
        >>> auc_judd(saliency, [(2, 1), (1, 0)])
        0.9375
        >>> round(auc_judd(saliency, [(2, 1), (1, 0), (1, 0)], convention="pysaliency"), 4)
        0.9167
    """
    check_convention(convention)
    saliency = check_map("saliency", saliency)
    pixels = check_fixations(fixations, saliency.shape, convention)
    distinct = np.unique(pixels)
    if saliency.min() == saliency.max() or distinct.size == saliency.size:
        return 0.5
    if jitter:
        random = np.random.default_rng(seed)
        draw = random.random if convention == "mit" else random.standard_normal
        saliency = rescale(saliency) + _JITTER * draw(saliency.shape)

    thresholds = np.unique(saliency.take(distinct))
    fixated = _count_reaching(thresholds, saliency.take(distinct))
    hits = _count_reaching(thresholds, saliency.take(pixels)) / pixels.size
    alarms = _count_reaching_in_map(thresholds, saliency) - fixated
    alarms = alarms / (saliency.size - distinct.size)
    x, y = (np.concatenate([[1], rate, [0]]) for rate in (alarms, hits))
    return float((x[:-1] - x[1:]) @ (y[:-1] + y[1:]) / 2)


def _count_reaching(thresholds, values):
    """How many `values` (N,) are >= each of the ascending, distinct `thresholds` (k,): (k,)."""
    reached = np.searchsorted(thresholds, values, side="right")
    return np.bincount(reached, minlength=thresholds.size + 1)[::-1].cumsum()[-2::-1]


def _count_reaching_in_map(thresholds, saliency):
    """`_count_reaching` for a map (H, W) that is not all 0, mostly several times as fast.

    Values fall into buckets of equal width. Only where a bucket holds a threshold must its
    values be compared one by one; those of all other buckets are counted by the bucket.
    """
    peak = max(saliency.max(), -saliency.min())

    def bucket(values):
        return ((values / peak + 1) * (_BUCKETS / 2)).astype(np.intp)  # 0 ... _BUCKETS

    mixed = np.zeros(_BUCKETS + 1, bool)
    mixed[bucket(thresholds)] = True
    sizes = np.zeros(_BUCKETS + 1, np.intp)
    mixed_values = []
    flat = saliency.ravel()
    for start in range(0, flat.size, _BLOCK):  # in blocks, which stay in the processor's cache
        values = flat[start : start + _BLOCK]
        buckets = bucket(values)
        sizes += np.bincount(buckets, minlength=_BUCKETS + 1)
        mixed_values.append(values[mixed[buckets]])
    sizes[mixed] = 0
    above = sizes[::-1].cumsum()[::-1][bucket(thresholds)]
    return above + _count_reaching(thresholds, np.concatenate(mixed_values))
