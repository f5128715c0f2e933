"""Confidence intervals and tests of scores over images."""

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
_RESAMPLES = 10_000
_BATCH = 1 << 20  # numbers drawn at once


def bootstrap(scores, seed=0):
    """Means of columns of scores, and means of bootstrap resamples of the images.

    All columns share the resampled images, so differences and ratios of their means have the right
    distribution too.

    Args:
        scores: (n, k) float64, one row per image; NaN where it has no score; ±inf are allowed.
        seed: random seed.

    Returns:
        ((k,) means, (10000, k) means of resamples), NaN where there is nothing to average.
    """
    finite = np.isfinite(scores)
    terms = np.concatenate(
        [np.where(finite, scores, 0), finite, scores == np.inf, scores == -np.inf], axis=1
    ).astype(np.float64)
    random = np.random.default_rng(seed)
    n = len(scores)
    resampled = [terms.sum(axis=0)[None]]
    for start in range(0, _RESAMPLES, batch := max(1, _BATCH // n)):
        size = min(batch, _RESAMPLES - start)
        drawn = random.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times_drawn = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        resampled.append(times_drawn @ terms)
    total, count, above, below = np.split(np.concatenate(resampled), 4, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = total / count
    means[above > 0] = np.inf
    means[below > 0] = -np.inf
    return means[0], means[1:]


def interval(resampled):
    """Middle 95 % of resamples (b,): (low, high). NaN are left out; (NaN, NaN) if all are."""
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return np.nan, np.nan
    tail = (1 - CONFIDENCE) / 2
    # Not interpolated, which ±inf do not allow.
    return np.quantile(resampled, [tail, 1 - tail], method="inverted_cdf")


def permutation_p(differences, seed=0):
    """Probability of paired scores that differ this much on average if neither side is better.

    A two-sided permutation test: each image's difference keeps or changes its sign.

    Args:
        differences: (n,) finite float64.
        seed: random seed of the signs, used if there are too many images to try all.

    Returns:
        Float above 0, at most 1; 1 for fewer than two images.
    """
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=_RESAMPLES - 1,
        batch=max(1, _BATCH // len(differences)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)
