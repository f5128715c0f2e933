"""Metrics that ask a saliency map for its values at the fixated pixels.

Bylinskii et al., "What do different evaluation metrics tell us about saliency models?",
TPAMI 2019, describe and compare them.
"""

import numpy as np

from keras_salnet.metrics._check import (
    check_convention,
    check_fixations,
    check_map,
    check_not_negative,
    check_same_size,
)
from keras_salnet.metrics._normalize import EPS, center, to_density


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
    pixels = check_fixations(fixations, saliency.values.shape, convention)
    values, mean, squares = center(saliency)
    deviation = np.sqrt(squares / max(values.size - ddof, 1))
    return float((values.take(pixels) - mean).mean() / (deviation or 1))


def information_gain(saliency, fixations, baseline=None, *, convention="mit"):
    """Information gain over a baseline (IG), in bits per fixation.

    With p and b the densities of the prediction and of the baseline, usually the centre bias,

        IG = mean over fixations of log2(eps + p) - log2(eps + b),    eps = 2.2204e-16.

    `"mit"` stretches each map to [0, 1], divides it by its sum, and counts every fixated pixel
    once: a fixation on the lowest value costs up to 52 bits. `"pysaliency"` only divides by the
    sum, has no eps, and counts every fixation.

    Args:
        saliency: (H, W) prediction. `"pysaliency"` needs a density, of any sum; `"mit"` takes any
            scale and sign.
        fixations: (n, 2) of (x, y) pixels, int or float, 0-based, x to the right, y down. (x, y)
            lies in pixel (⌊x⌋, ⌊y⌋), which must be inside the frame.
        baseline: (H, W), like `saliency`; `None` is the uniform density.
        convention: `"mit"` or `"pysaliency"`.

    Returns:
        Float; 0 is as good as the baseline, more is better. `"mit"` stays within ±52.1; a constant
        map counts as uniform (MIT's code: NaN). `"pysaliency"` gives -inf if the prediction is 0 at
        a fixation.

    Raises:
        ValueError: a map is not 2-D, of other size or not finite; fixations are empty, not (n, 2),
            not finite or outside; the convention is unknown; or, under `"pysaliency"`, a map is
            negative or the baseline is 0 at a fixation.

    Source: Kümmerer et al., "Information-theoretic model comparison unifies saliency metrics", PNAS
    2015; `InfoGain.m` of the MIT Saliency Benchmark; `pysaliency.Model.information_gain`.

    Example:
        >>> saliency, fixations = [[4, 2], [1, 1]], [(0, 0)]
        >>> information_gain(saliency, fixations, convention="pysaliency")
        1.0
        >>> round(information_gain(saliency, fixations), 4)
        1.585
        >>> information_gain(saliency, fixations, saliency)
        0.0
    """
    check_convention(convention)
    saliency = check_map("saliency", saliency)
    pixels = check_fixations(fixations, saliency.values.shape, convention)
    baseline = np.ones(saliency.values.shape) if baseline is None else baseline
    baseline = check_map("baseline", baseline)
    check_same_size("baseline", baseline.values, "saliency", saliency.values)
    maps = {"saliency": saliency, "baseline": baseline}
    if convention == "mit":
        p, b = (EPS + to_density(m, stretched=True)(m.values.take(pixels)) for m in maps.values())
        return float((np.log2(p) - np.log2(b)).mean())
    for name, array in maps.items():
        check_not_negative(name, array, "a density is not: take the exponential of a log density.")
    p, b = (to_density(m)(m.values.take(pixels)) for m in maps.values())
    if not b.all():
        raise ValueError(
            f"baseline is 0 at {np.count_nonzero(b == 0)} of {b.size} fixations; it must be "
            "positive there: add a little to the baseline everywhere."
        )
    return float((np.log2(p) - np.log2(b)).mean()) if p.all() else -np.inf
