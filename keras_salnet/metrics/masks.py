"""Metrics that compare a saliency map with the mask of the salient objects.

They belong to salient object detection, whose ground truth says which pixels belong to the objects
that stand out. The public evaluation code leads; where it would give NaN, these give a number.

A prediction may have any scale: it is stretched to [0, 1], as that code does. A constant prediction
cannot be stretched. It counts as it is, between 0 and 1, an 8-bit one after division by 255.
"""

import numpy as np
from scipy import ndimage

from keras_salnet.metrics._check import check_map, check_mask, check_plain_map
from keras_salnet.metrics._normalize import stretch

_EPS = np.finfo(np.float64).eps
_LEVELS = 256


def mean_absolute_error(saliency, mask):
    """Mean absolute error of a prediction (MAE).

        MAE = mean over pixels of |s - g|,

    s the prediction, stretched to [0, 1], and g the mask, 0 or 1.

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        mask: (H, W) ground truth, bool or 0 and 1.

    Returns:
        Float from 0 (best) to 1.

    Raises:
        ValueError: for a map that is not 2-D, of other size or not finite, and for a mask with
            other values.

    Source: Perazzi et al., "Saliency filters", CVPR 2012.

    Example:
        >>> mean_absolute_error([[0, 1], [2, 4]], [[0, 0], [1, 1]])
        0.1875
    """
    saliency, mask = _check(saliency, mask)
    return float(np.abs(saliency - mask).mean())


def f_measure(saliency, mask, *, threshold="max", beta2=0.3):
    """F-measure of a prediction cut at a threshold (Fβ).

    With the precision P and the recall R of the pixels that reach the threshold,

        Fβ = (1 + β²) · P · R / (β² · P + R).

    Args:
        saliency: (H, W) prediction, of any scale and sign; it is stretched to [0, 1].
        mask: (H, W) ground truth, bool or 0 and 1.
        threshold: `"max"` or `"mean"`, the best of or the mean over the thresholds 0, 1/255, … 1;
            `"adaptive"`, twice the mean of the prediction, but at most 1.
        beta2: β² above 0; 0.3 by custom, so that precision counts more than recall.

    Returns:
        Float from 0 to 1 (best). 0 for a mask without foreground, however good the prediction.
        Papers report the maximum of the mean curve of a dataset, which is lower than the mean of
        the maxima of its images: average `f_measure_curve` for it.

    Raises:
        ValueError: for a map that is not 2-D, of other size or not finite, for a mask with other
            values, and for another threshold or β².

    Source: Achanta et al., "Frequency-tuned salient region detection", CVPR 2009.

    Example:
        >>> saliency, mask = [[0, 1], [2, 4]], [[0, 0], [1, 1]]
        >>> f_measure(saliency, mask)
        1.0
        >>> round(f_measure(saliency, mask, threshold="adaptive"), 4)
        0.8125
    """
    saliency, mask = _check(saliency, mask)
    _check_beta2(beta2)
    return _at(threshold, lambda reaching: _f(reaching, mask, beta2), saliency, mask)


def f_measure_curve(saliency, mask, *, beta2=0.3):
    """`f_measure` at each of the thresholds 0, 1/255, … 1.

    Args:
        saliency: (H, W) prediction, of any scale and sign; it is stretched to [0, 1].
        mask: (H, W) ground truth, bool or 0 and 1.
        beta2: β² above 0.

    Returns:
        (256,) float64 from 0 to 1.

    Raises:
        ValueError: as `f_measure`.

    Source: Achanta et al., "Frequency-tuned salient region detection", CVPR 2009.

    Example:
        >>> f_measure_curve([[0, 1], [2, 4]], [[0, 0], [1, 1]])[[0, 64, 128, 255]].round(4)
        array([0.5652, 1.    , 0.8125, 0.8125])
    """
    saliency, mask = _check(saliency, mask)
    _check_beta2(beta2)
    return _f(_reaching_each_level(saliency, mask), mask, beta2)


def weighted_f_measure(saliency, mask, *, beta2=1.0):
    """F-measure whose errors weigh by where they are (weighted Fβ).

    As Fβ, with TP = Σ (1 - e), FP = Σ e over fore- and background and R = mean (1 - e), where the
    error e = |s - g| of a pixel is

    - in the foreground, that of its surroundings (a Gaussian, σ = 5, cut to 7 x 7) if that is
      lower: a hole within a detected object is forgiven in part;
    - in the background, multiplied by 2 - exp(ln ½ / 5 · d): twice as bad far from the object,
      whose distance d is in pixels.

    Args:
        saliency: (H, W) prediction, of any scale and sign; it is stretched to [0, 1].
        mask: (H, W) ground truth, bool or 0 and 1.
        beta2: β² above 0; 1 in the paper.

    Returns:
        Float from 0 to 1 (best). 0 for a mask without foreground, however good the prediction.

    Raises:
        ValueError: for a map that is not 2-D, of other size or not finite, for a mask with other
            values, and for another β².

    Source: Margolin et al., "How to evaluate foreground maps?", CVPR 2014.

    Example:
        >>> round(weighted_f_measure([[0, 1], [2, 4]], [[0, 0], [1, 1]]), 4)
        0.9282
    """
    saliency, mask = _check(saliency, mask)
    _check_beta2(beta2)
    if not mask.any():
        return 0.0
    error = np.abs(saliency - mask)
    distance, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
    kernel = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 5**2))
    kernel /= kernel.sum()
    # Beyond the object's edge, its surroundings go on with the error of the nearest pixel of it.
    around = ndimage.correlate1d(error[tuple(nearest)], kernel, axis=0, mode="constant")
    around = ndimage.correlate1d(around, kernel, axis=1, mode="constant")
    missed = np.minimum(error, around)[mask]
    false = (error * (2 - np.exp(np.log(0.5) / 5 * distance)))[~mask]
    hits = mask.sum() - missed.sum()
    recall = 1 - missed.mean()
    precision = hits / (hits + false.sum() + _EPS)
    return float((1 + beta2) * recall * precision / (recall + beta2 * precision + _EPS))


def s_measure(saliency, mask, *, alpha=0.5):
    """Structure measure (S-measure): are the objects and the regions as they should be?

        S = α · S_object + (1 - α) · S_region

    S_object is the mean over fore- and background, weighed by their areas, of 2m / (m² + 1 + σ), m
    and σ the mean and the standard deviation of the prediction there (in the background of one
    less the prediction). S_region is the mean over the four quadrants around the centroid of the
    foreground, weighed by their areas, of the structural similarity of prediction and mask.

    Args:
        saliency: (H, W) prediction, of any scale and sign; it is stretched to [0, 1].
        mask: (H, W) ground truth, bool or 0 and 1.
        alpha: α from 0 to 1.

    Returns:
        Float from 0 to 1 (best). For a mask without foreground 1 less the mean of the prediction,
        for one without background that mean. The pixel at the centroid belongs to the upper left
        quadrant, so that a mirrored image has a slightly different S.

    Raises:
        ValueError: for a map that is not 2-D, of other size or not finite, for a mask with other
            values, and for another α.

    Source: Fan et al., "Structure-measure: A new way to evaluate foreground maps", ICCV 2017.

    Example:
        >>> round(s_measure([[0, 0], [4, 4]], [[0, 0], [1, 1]]), 4)
        1.0
        >>> round(s_measure([[0, 1], [2, 4]], [[0, 0], [1, 1]]), 4)
        0.8151
    """
    saliency, mask = _check(saliency, mask)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha!r}; it must be from 0 to 1.")
    foreground = mask.mean()
    if foreground == 0:
        return float(1 - saliency.mean())
    if foreground == 1:
        return float(saliency.mean())
    objects = foreground * _object_score(saliency[mask])
    objects += (1 - foreground) * _object_score(1 - saliency[~mask])
    row, column = np.argwhere(mask).mean(axis=0).round().astype(int) + 1
    regions = 0
    for rows in (slice(0, row), slice(row, None)):
        for columns in (slice(0, column), slice(column, None)):
            quadrant = mask[rows, columns]
            if quadrant.size:
                regions += quadrant.size * _region_score(saliency[rows, columns], quadrant)
    return float(max(0, alpha * objects + (1 - alpha) * regions / mask.size))


def e_measure(saliency, mask, *, threshold="max"):
    """Enhanced alignment measure of a prediction cut at a threshold (E-measure).

    With a and b the cut prediction and the mask, each less its mean,

        E = Σ (1 + 2ab / (a² + b²))² / 4 / (H · W - 1).

    Args:
        saliency: (H, W) prediction, of any scale and sign; it is stretched to [0, 1].
        mask: (H, W) ground truth, bool or 0 and 1.
        threshold: `"max"` or `"mean"`, the best of or the mean over the thresholds 0, 1/255, … 1;
            `"adaptive"`, twice the mean of the prediction, but at most 1.

    Returns:
        Float from 0 to H · W / (H · W - 1) (best), which the public code's divisor lets exceed 1 by
        a little. For a mask without foreground the share of pixels below the threshold, for one
        without background of those that reach it. As with `f_measure`, a dataset's maximum is that
        of its mean `e_measure_curve`.

    Raises:
        ValueError: for a map that is not 2-D, of other size or not finite, for a mask with other
            values, and for another threshold.

    Source: Fan et al., "Enhanced-alignment measure for binary foreground map evaluation", IJCAI
    2018.

    Example:
        >>> saliency, mask = [[0, 1], [2, 4]], [[0, 0], [1, 1]]
        >>> round(e_measure(saliency, mask), 4)
        1.3333
        >>> round(e_measure(saliency, mask, threshold="adaptive"), 4)
        0.8515
    """
    saliency, mask = _check(saliency, mask)
    return _at(threshold, lambda reaching: _e(reaching, mask), saliency, mask)


def e_measure_curve(saliency, mask):
    """`e_measure` at each of the thresholds 0, 1/255, … 1.

    Args:
        saliency: (H, W) prediction, of any scale and sign; it is stretched to [0, 1].
        mask: (H, W) ground truth, bool or 0 and 1.

    Returns:
        (256,) float64 from 0 to H · W / (H · W - 1).

    Raises:
        ValueError: as `e_measure`.

    Source: Fan et al., "Enhanced-alignment measure for binary foreground map evaluation", IJCAI
    2018.

    Example:
        >>> e_measure_curve([[0, 1], [2, 4]], [[0, 0], [1, 1]])[[0, 64, 128, 255]].round(4)
        array([0.3333, 1.3333, 0.8515, 0.8515])
    """
    saliency, mask = _check(saliency, mask)
    return _e(_reaching_each_level(saliency, mask), mask)


def _check(saliency, mask):
    """The prediction in [0, 1] and the mask as bool, both (H, W)."""
    is_8_bit = getattr(saliency, "dtype", None) == np.uint8
    saliency = check_plain_map("saliency", saliency)
    mask = check_mask(mask, saliency)
    if is_8_bit:
        saliency = saliency / 255
    if saliency.min() == saliency.max():
        return np.clip(saliency, 0, 1), mask
    saliency = check_map("saliency", saliency)
    return stretch(saliency)(saliency.values), mask


def _check_beta2(beta2):
    if not 0 < beta2 < np.inf:
        raise ValueError(f"beta2 is {beta2!r}; it must be a number above 0.")


def _at(threshold, measure, saliency, mask):
    """A measure at a named threshold; `measure` takes counts as from `_reaching_each_level`."""
    if threshold in ("max", "mean"):
        curve = measure(_reaching_each_level(saliency, mask))
        return float(curve.max() if threshold == "max" else curve.mean())
    if threshold != "adaptive":
        raise ValueError(f"threshold is {threshold!r}; it must be 'max', 'mean' or 'adaptive'.")
    reaches = saliency >= min(2 * saliency.mean(), 1)
    counts = (np.count_nonzero(reaches & region) for region in (mask, ~mask))
    return float(measure(tuple(counts)))


def _reaching_each_level(saliency, mask):
    """Numbers of foreground and background pixels that reach each threshold: 2 x (256,)."""
    levels = (saliency * (_LEVELS - 1)).astype(np.intp)
    counts = (np.bincount(levels[region], minlength=_LEVELS) for region in (mask, ~mask))
    return tuple(count[::-1].cumsum()[::-1] for count in counts)


def _f(reaching, mask, beta2):
    """Fβ, given how many foreground and background pixels reach the threshold."""
    hits, false = reaching
    # P = hits / (hits + false) and R = hits / foreground
    return (1 + beta2) * hits / np.maximum(beta2 * np.count_nonzero(mask) + hits + false, _EPS)


def _e(reaching, mask):
    """E, given how many foreground and background pixels reach the threshold."""
    hits, false = reaching
    total, foreground = mask.size, np.count_nonzero(mask)
    if foreground == 0:
        aligned = total - false
    elif foreground == total:
        aligned = hits
    else:
        predicted_mean, mask_mean = (hits + false) / total, foreground / total
        aligned = 0
        for predicted, truth, count in (
            (1, 1, hits),
            (1, 0, false),
            (0, 1, foreground - hits),
            (0, 0, total - foreground - false),
        ):
            a, b = predicted - predicted_mean, truth - mask_mean
            aligned = aligned + count * (1 + 2 * a * b / (a**2 + b**2 + _EPS)) ** 2 / 4
    return aligned / max(total - 1, 1)


def _object_score(values):
    """Similarity of an object's values to 1 and to each other."""
    mean = values.mean()
    deviation = values.std(ddof=1) if values.size > 1 else 0
    return 2 * mean / (mean**2 + 1 + deviation + _EPS)


def _region_score(saliency, mask):
    """Structural similarity of a quadrant; 1 where both are constant."""
    degrees = max(mask.size - 1, 1)
    x, y = saliency.mean(), mask.mean()
    p = saliency - x if saliency.min() < saliency.max() else np.zeros(saliency.shape)
    g = mask - y
    covariance = 4 * x * y * (p * g).sum() / degrees
    variances = (x**2 + y**2) * ((p**2).sum() + (g**2).sum()) / degrees
    if covariance == 0:
        return float(variances == 0)
    return covariance / (variances + _EPS)
