"""Areas under the ROC curve of a saliency map as a detector of fixated pixels.

They differ in what the fixations are told from: all pixels (`auc`), those never fixated
(`auc_judd`), random ones (`auc_borji`), or the fixations of other images (`shuffled_auc`).

Bylinskii et al., "What do different evaluation metrics tell us about saliency models?",
TPAMI 2019, describe and compare them.
"""

import numpy as np

from keras_salnet.metrics._check import check_convention, check_fixations, check_map
from keras_salnet.metrics._normalize import blocks, stretch

_JITTER = 1e-7
_SPLITS = 100
_STEPS = np.arange(11) / 10
_BUCKETS = 1 << 14


def auc(saliency, fixations):
    """Area under the ROC curve of fixations against all pixels (AUC), exactly.

        AUC = P(saliency of a fixation > that of a pixel) + ½ P(they are equal),

    a fixation and a pixel drawn at random: the Mann-Whitney statistic. Every fixation counts, and
    the pixels include the fixated ones. Only the map's order matters, not its values. This is the
    AUC of today's MIT/Tuebingen benchmark; MIT's own is `auc_judd`.

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        fixations: (n, 2) of (x, y) pixels, int or float, 0-based, x to the right, y down. (x, y)
            lies in pixel (⌊x⌋, ⌊y⌋), which must be inside the frame.

    Returns:
        Float from 0 to 1; 0.5 is chance, and what a constant prediction gets. The best that k
        distinct fixated pixels allow is 1 - k / (2 · H · W), for these compete with themselves.

    Raises:
        ValueError: for a map that is not 2-D or not finite, and for fixations that are empty, not
            (n, 2), not finite or outside.

    Source: Kümmerer et al., "Saliency benchmarking made easy", ECCV 2018;
    `pysaliency.SaliencyMapModel.AUC` with `nonfixations="uniform"`.

    Example:
        >>> round(auc([[0, 1, 2], [0, 0, 3]], [(2, 1), (1, 0)]), 4)
        0.75
    """
    saliency = check_map("saliency", saliency)
    pixels = check_fixations(fixations, saliency.values.shape, "pysaliency")
    thresholds, hits = _hits(saliency.values.take(pixels))
    weights = np.empty(2 * thresholds.size + 1)
    weights[0::2] = 2 * hits  # between two thresholds: the fixations above win
    weights[1::2] = hits[:-1] + hits[1:]  # at a threshold: one half of those that are equal
    return float(_total(saliency, thresholds, weights) / (2 * pixels.size * saliency.values.size))


def auc_judd(saliency, fixations, *, convention="mit", jitter=False, seed=0):
    """Area under the ROC curve of fixations against all other pixels (AUC-Judd).

    The thresholds are the map's values at the fixations. A threshold's hit rate is the share of
    fixations that reach it, its false alarm rate the share of never-fixated pixels that do. The
    area under the line through (0, 0), these points and (1, 1) is AUC-Judd. Only the map's order
    matters, not its values.

    The hit rate counts every fixated pixel once (`"mit"`) or every fixation (`"pysaliency"`).

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        fixations: (n, 2) of (x, y) pixels, int or float, 0-based, x to the right, y down. (x, y)
            lies in pixel (⌊x⌋, ⌊y⌋), which must be inside the frame.
        convention: `"mit"` or `"pysaliency"`.
        jitter: break ties with noise of 1e-7, uniform (`"mit"`) or normal (`"pysaliency"`). Both
            references do so by default, even on a map that sums to 1, where noise dominates; here
            the map is first stretched to [0, 1].
        seed: random seed of the jitter.

    Returns:
        Float from 0 to 1 (best). Chance is 0.5 + 1 / (2n + 2) for n fixations, since the line cuts
        the corners of the ROC curve. 0.5 for a constant prediction (MIT's code: NaN or, with
        jitter, random) and if every pixel is fixated. Without jitter, tied fixations are one point
        of the curve, as in pysaliency; MIT's curve then runs backwards and can leave [0, 1].

    Raises:
        ValueError: the map is not 2-D or not finite; fixations are empty, not (n, 2), not finite or
            outside; or the convention is unknown.

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
    pixels = check_fixations(fixations, saliency.values.shape, convention)
    distinct = np.unique(pixels)
    if distinct.size == saliency.values.size:
        return 0.5
    if jitter and saliency.low < saliency.high:
        random = np.random.default_rng(seed)
        draw = random.random if convention == "mit" else random.standard_normal
        noise = _JITTER * draw(saliency.values.shape)
        saliency = check_map("saliency", stretch(saliency)(saliency.values) + noise)
    # The area is the mean, over never-fixated pixels, of the hit rates at the two thresholds around
    # a pixel's value.
    thresholds, hits = _hits(saliency.values.take(pixels))
    around = np.append(pixels.size, hits)
    around = around[:-1] + around[1:]
    weights = np.repeat(around, 2)[1:]
    fixated = weights[2 * np.searchsorted(thresholds, saliency.values.take(distinct)) + 1].sum()
    others = _total(saliency, thresholds, weights) - fixated
    return float(others / (2 * pixels.size * (saliency.values.size - distinct.size)))


def auc_borji(saliency, fixations, *, seed=0):
    """Area under the ROC curve of fixations against random pixels (AUC-Borji).

    The map is stretched to [0, 1] and the thresholds are 0, 0.1, … 1. A threshold's hit rate is the
    share of fixated pixels that reach it, its false alarm rate the share of as many pixels drawn at
    random, with replacement. AUC-Borji is the mean area over 100 such draws. Each fixated pixel
    counts once. pysaliency has no AUC-Borji; its exact and reproducible relative is `auc`.

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        fixations: (n, 2) of (x, y) pixels, int or float, 0-based, x to the right, y down. (x, y)
            lies in pixel (⌊x⌋, ⌊y⌋), which must be inside the frame.
        seed: of the draws.

    Returns:
        Float from 0 to 1; 0.5 is chance, and what a constant prediction gets (MIT's code: NaN).
        From seed to seed it varies by about 0.03 / √n with n fixations. Ten steps miss what the map
        does in between: a map of a few sharp peaks scores low. For a single fixation MIT's code
        gives NaN.

    Raises:
        ValueError: for a map that is not 2-D or not finite, and for fixations that are empty, not
            (n, 2), not finite or outside.

    Source: Borji et al., "Analysis of scores, datasets, and models in visual saliency prediction",
    ICCV 2013; `AUC_Borji.m` of the MIT Saliency Benchmark.

    Example:
        >>> saliency = [[0.0, 0.2, 0.4], [0.1, 0.3, 1.0]]
        >>> 0.9 < auc_borji(saliency, [(2, 1)]) < 0.95
        True
    """
    saliency = check_map("saliency", saliency)
    pixels = check_fixations(fixations, saliency.values.shape, "mit")
    drawn = np.random.default_rng(seed).integers(saliency.values.size, size=(_SPLITS, pixels.size))
    stretched = stretch(saliency)
    # The hit rates are those of every draw, so that the mean area is that of the mean alarm rates.
    fixated, drawn = (_steps_reached(stretched(saliency.values.take(p))) for p in (pixels, drawn))
    return _area(fixated, drawn)


def shuffled_auc(saliency, fixations, other_fixations, *, convention="mit", seed=0):
    """Area under the ROC curve of fixations against fixations of other images (sAUC).

    Other images' fixations share the centre bias, so that a map that only knows about the centre
    is at chance.

    `"mit"` is `auc_borji` with another draw: as many as there are fixations, or all if they are
    fewer, without replacement, from the distinct pixels fixated in the other images. `"pysaliency"`
    draws nothing. It takes every fixation and every one of the others:

        sAUC = P(saliency of a fixation > that of another) + ½ P(they are equal).

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        fixations: (n, 2) of (x, y) pixels, int or float, 0-based, x to the right, y down. (x, y)
            lies in pixel (⌊x⌋, ⌊y⌋), which must be inside the frame.
        other_fixations: (m, 2) fixations of other images (MIT's code takes ten at random,
            pysaliency all of them), likewise, after scaling to this image's size.
        convention: `"mit"` or `"pysaliency"`.
        seed: of the draws of `"mit"`.

    Returns:
        Float from 0 to 1 (best); 0.5 is chance, and what a constant prediction gets (MIT's code:
        NaN).

    Raises:
        ValueError: for a map that is not 2-D or not finite; for fixations or other fixations that
            are empty, not (n, 2), not finite or outside; for an unknown convention.

    Source: Zhang et al., "SUN: A Bayesian framework for saliency using natural statistics", Journal
    of Vision 2008; `AUC_shuffled.m` of the MIT Saliency Benchmark;
    `pysaliency.SaliencyMapModel.AUC` with `nonfixations="shuffled"`.

    Example:
        >>> saliency = [[0.0, 0.2, 0.4], [0.1, 0.3, 1.0]]
        >>> fixations, other_fixations = [(2, 1), (1, 0)], [(2, 0), (0, 0)]
        >>> shuffled_auc(saliency, fixations, other_fixations, convention="pysaliency")
        0.75
        >>> shuffled_auc(saliency, fixations, other_fixations)
        0.75
    """
    check_convention(convention)
    saliency = check_map("saliency", saliency)
    pixels = check_fixations(fixations, saliency.values.shape, convention)
    others = check_fixations(other_fixations, saliency.values.shape, convention, "other_fixations")
    if convention == "pysaliency":
        others = np.sort(saliency.values.take(others))
        below, not_above = (
            others.searchsorted(saliency.values.take(pixels), s) for s in ("left", "right")
        )
        return float((below + not_above).sum() / (2 * pixels.size * others.size))
    stretched = stretch(saliency)
    fixated, available = (
        _steps_reached(stretched(saliency.values.take(p))) for p in (pixels, others)
    )
    # To draw pixels without replacement is to draw how many of each step there are.
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(
        available, min(pixels.size, others.size), size=_SPLITS
    )
    return _area(fixated, drawn.sum(axis=0))


def _steps_reached(values):
    """How many values in [0, 1] reach 0, 0.1, … 1 and no more: (11,)."""
    reached = np.searchsorted(_STEPS, values.ravel(), side="right") - 1
    return np.bincount(reached, minlength=_STEPS.size)


def _area(fixated, drawn):
    """Under the ROC curve, given what `_steps_reached` says of both sides."""
    hits, alarms = (
        np.append(0, counts[::-1].cumsum()) / counts.sum() for counts in (fixated, drawn)
    )
    return float(np.trapezoid(hits, alarms))


def _hits(values):
    """The distinct `values`, ascending (k,), and how many reach each; one 0 more: (k + 1,)."""
    thresholds, counts = np.unique(values, return_counts=True)
    return thresholds, np.append(counts[::-1].cumsum()[::-1], 0.0)


def _total(saliency, thresholds, weights):
    """The sum over a map's values of what each weighs, exact for whole weights.

    Values fall into buckets. Where a bucket holds no threshold, all its values weigh the same. Only
    those of the other buckets are compared with their bucket's thresholds.

    Args:
        saliency: `Map`.
        thresholds: (k,), distinct and ascending, values of the map.
        weights: (2k + 1,); 2j + 1 is that of thresholds[j], 2j that of the values between
            thresholds[j - 1] and thresholds[j].
    """
    bucket = _equal_widths(saliency)
    places = bucket(thresholds)
    if np.unique(places).size < 0.9 * places.size:  # crowded, as a density's low values can be
        bucket = _equal_ratios(saliency)
        places = bucket(thresholds)
    (last,) = bucket(np.array([saliency.high]))
    runs = np.diff(places, prepend=-1, append=last)
    below = np.repeat(np.arange(thresholds.size + 1), runs)  # thresholds in lower buckets
    weight_of = np.repeat(weights[::2], runs)
    weight_of[places] = -1
    total, mixed = 0, []
    for (values,) in blocks(saliency.values):
        buckets = bucket(values)
        weighed = weight_of.take(buckets)
        total += weighed.sum()
        compare = np.flatnonzero(weighed < 0)
        mixed.append((values.take(compare), buckets.take(compare)))
    steps = [2**n for n in reversed(range(int(np.bincount(places).max()).bit_length()))]
    thresholds = np.append(thresholds, [np.inf] * 2 * steps[0])
    for values, buckets in blocks(*map(np.concatenate, zip(*mixed, strict=True))):
        reached = below.take(buckets)
        for step in steps:  # binary search, in all buckets at once
            reached += step * (values >= thresholds.take(reached + (step - 1)))
        tied = values == thresholds.take(reached - 1)
        total += values.size + weights.take(2 * reached - tied).sum()
    return total


def _equal_widths(saliency):
    """A function from values of a `Map` to the buckets they fall into, whole numbers from 0 on."""
    _, low, high = saliency
    scale = min(_BUCKETS / ((high - low) or 1), 2**30 / (max(high, -low) or 1))  # to fit int32
    first = int(low * scale)

    def bucket(values):
        buckets = (values * scale).astype(np.int32)
        return buckets - first if first else buckets

    return bucket


def _equal_ratios(saliency):
    """As `_equal_widths`, but the buckets widen with the distance from the lowest value.

    They are the leading bits of floats: 512 each time that the distance doubles, from 2^-32 of the
    map's peak on.
    """
    _, low, high = saliency
    shift = low - max(high, -low) / 2**32

    def leading_bits(values):
        return (values - shift).view(np.int64) >> 43

    first = int(leading_bits(np.array([low]))[0])
    return lambda values: leading_bits(values) - first
