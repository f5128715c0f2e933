"""Metrics that compare a saliency map with a fixation density, both as distributions.

Bylinskii et al., "What do different evaluation metrics tell us about saliency models?",
TPAMI 2019, describe and compare them.
"""

import numpy as np

from keras_salnet.metrics._check import check_convention, check_maps, check_not_negative
from keras_salnet.metrics._normalize import rescale, standardize, to_density

_EPS = 2.2204e-16


def kl_divergence(saliency, density, *, convention="mit"):
    """Kullback-Leibler divergence of a prediction from the fixation density (KL), in nats.

    With p = saliency / Σ saliency and g = density / Σ density,

        KL = Σ g · ln(eps + g / (p + eps)),    eps = 2.2204e-16.

    The conventions differ on negative predictions only: `"mit"` refuses them, for MIT's code does
    not shift a map and the logarithm would be undefined; `"pysaliency"`, which stands for its
    `MIT_KLDiv` and not for its differently regularized default, first subtracts the minimum.

    Args:
        saliency: (H, W) prediction, of any scale.
        density: (H, W) ground truth, not negative, of any scale.
        convention: `"mit"` or `"pysaliency"`.

    Returns:
        Float from 0 (best) to about 36, and unlike CC and SIM not symmetric. The regularization
        lets a perfect prediction fall below 0, by less than H · W · eps. A map that is 0 everywhere
        counts as uniform; MIT's code leaves it 0, so that such a prediction scores about 36 less
        the entropy of g.

    Raises:
        ValueError: for a map that is not 2-D, of other size, not finite, or negative where it
            must not be, and for an unknown convention.

    Source: `KLdiv.m` of the MIT Saliency Benchmark; `pysaliency.metrics.MIT_KLDiv`.

    Example:
        >>> density = [[1, 3], [0, 0]]
        >>> round(kl_divergence([[1, 1], [1, 1]], density), 4)
        0.824
        >>> round(kl_divergence([[1, 2], [1, 0]], density), 4)
        0.3041
    """
    check_convention(convention)
    saliency, density = check_maps(saliency, density)
    if convention == "mit":
        check_not_negative("saliency", saliency, "subtract it or use convention='pysaliency'.")
    p, g = to_density(saliency), to_density(density)
    return float((g * np.log(_EPS + g / (p + _EPS))).sum())


def correlation_coefficient(saliency, density, *, convention="mit"):
    """Pearson's linear correlation of a prediction with the fixation density (CC).

    With p and g the maps less their means,

        CC = Σ p·g / √(Σ p² · Σ g²).

    The conventions agree.

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        density: (H, W) ground truth, not negative, of any scale.
        convention: `"mit"` or `"pysaliency"`.

    Returns:
        Float from -1 to 1 (best); 0 if either map is constant. For a constant prediction MIT's code
        gives NaN and pysaliency 0; for a constant density both give NaN.

    Raises:
        ValueError: for a map that is not 2-D, of other size or not finite, a negative density, and
            an unknown convention.

    Source: `CC.m` of the MIT Saliency Benchmark; `pysaliency.metrics.CC`.

    Example:
        >>> density = [[1, 3], [0, 0]]
        >>> round(correlation_coefficient([[2, 6], [0, 0]], density), 4)
        1.0
        >>> round(correlation_coefficient([[1, 2], [1, 0]], density), 4)
        0.866
    """
    check_convention(convention)
    saliency, density = check_maps(saliency, density)
    correlation = (standardize(saliency) * standardize(density)).mean()
    return float(np.clip(correlation, -1, 1))


def similarity(saliency, density, *, convention="mit"):
    """Histogram intersection of a prediction and the fixation density (SIM).

    With p = saliency / Σ saliency and g = density / Σ density,

        SIM = Σ min(p, g).

    `"mit"` first stretches each map to [0, 1], which takes away a floor; `"pysaliency"` leaves it
    and shifts a map only if it has negative values. On maps with a floor the two differ by more
    than 0.01.

    Args:
        saliency: (H, W) prediction, of any scale and sign.
        density: (H, W) ground truth, not negative, of any scale.
        convention: `"mit"` or `"pysaliency"`.

    Returns:
        Float from 0 to 1 (best). A map that is 0 everywhere counts as uniform, and under `"mit"` so
        does every constant map; MIT's code gives 0 for the former and NaN for the latter.

    Raises:
        ValueError: for a map that is not 2-D, of other size or not finite, a negative density, and
            an unknown convention.

    Source: `similarity.m` of the MIT Saliency Benchmark; `pysaliency.metrics.SIM`.

    Example:
        >>> saliency, density = [[2, 4], [1, 1]], [[1, 3], [0, 0]]
        >>> similarity(saliency, density)
        1.0
        >>> similarity(saliency, density, convention="pysaliency")
        0.75
    """
    check_convention(convention)
    saliency, density = check_maps(saliency, density)
    if convention == "mit":
        saliency, density = rescale(saliency), rescale(density)
    return float(np.minimum(to_density(saliency), to_density(density)).sum())
