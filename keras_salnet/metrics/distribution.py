"""Metrics that compare a saliency map with a fixation density, both as distributions.

Bylinskii et al., "What do different evaluation metrics tell us about saliency models?",
TPAMI 2019, describe and compare them.
"""

import os
import sys

import numpy as np

from keras_salnet.metrics._check import check_convention, check_maps, check_not_negative
from keras_salnet.metrics._normalize import EPS, blocks, center, dot, shrink, to_density

_POT_BACKENDS = {"PYTORCH": "torch", "JAX": "jax", "CUPY": "cupy", "TENSORFLOW": "tensorflow"}


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

    maps = saliency.values, density.values

    def terms(p, g):
        return g * np.log(EPS + g / (p + EPS))

    return float(sum(terms(p(s), g(d)).sum() for s, d in blocks(*maps)))


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
    (p, p_mean, p_squares), (g, g_mean, g_squares) = center(saliency), center(density)
    products = sum(dot(s - p_mean, d - g_mean) for s, d in blocks(p, g))
    return float(np.clip(products / (np.sqrt(p_squares) * np.sqrt(g_squares) or 1), -1, 1))


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
    p, g = (to_density(m, stretched=convention == "mit") for m in (saliency, density))
    maps = saliency.values, density.values
    return float(sum(np.minimum(p(s), g(d)).sum() for s, d in blocks(*maps)))


def emd(saliency, density, *, factor=32):
    """Earth mover's distance of a prediction from the fixation density (EMD), in reduced pixels.

    With p and g the two maps at 1 / factor of their size, divided by their sums, and d(a, b) the
    Euclidean distance of pixel a from pixel b,

        EMD = min Σ f(a, b) · d(a, b)    over f ≥ 0 with Σ_b f(a, b) = p(a), Σ_a f(a, b) = g(b):

    how far the predicted mass must travel on average. The optimum is exact, and takes far longer
    than any other metric. pysaliency has no EMD.

    Args:
        saliency: (H, W) prediction, of any scale; negative values are shifted to 0.
        density: (H, W) ground truth, not negative, of any scale.
        factor: whole number by which both maps are first shrunk, with antialiased bicubic
            interpolation as in MATLAB's `imresize`, to ⌈H / factor⌉ x ⌈W / factor⌉.

    Returns:
        Float from 0 (best) to the diagonal of the reduced maps; one reduced pixel is `factor`
        pixels. A map that is 0 everywhere counts as uniform.

    Raises:
        ValueError: for a map that is not 2-D, of other size or not finite, a negative density, and
            a factor that is not a whole number above 0.
        ImportError: without the Python package POT.

    Source: `EMD.m` of the MIT Saliency Benchmark, less its step that first gives the prediction the
    histogram of the ground truth, which would hide a wrong contrast; Pele and Werman, "Fast and
    robust earth mover's distances", ICCV 2009; solved by POT (Flamary et al., JMLR 2021).

    Example:
        >>> round(emd([[1, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]], factor=1), 4)
        2.2361
        >>> emd([[2, 2, 0, 0]], [[0, 0, 1, 1]], factor=1)
        2.0
    """
    saliency, density = check_maps(saliency, density)
    if factor != int(factor) or factor < 1:
        raise ValueError(f"factor is {factor!r}; it must be a whole number above 0.")
    p, g = (_reduced_density(m, int(factor)) for m in (saliency, density))
    pixels = np.indices(p.shape).reshape(2, -1)
    distances = np.hypot(*(pixels[:, :, None] - pixels[:, None, :]))
    return float(_pot().emd2(p.ravel(), g.ravel(), distances, numItermax=10**9))


def _reduced_density(checked, factor):
    """At 1 / `factor` of its size, where the interpolation may undershoot 0."""
    reduced = np.maximum(shrink(to_density(checked)(checked.values), factor), 0)
    return reduced / reduced.sum()


def _pot():
    """The optional package POT, without every deep-learning library that it finds and would load.

    It looks for them when it is first imported, here for seconds and in vain: these are numpy
    arrays. One that has been imported before remains available to it.
    """
    unused = [
        f"POT_BACKEND_DISABLE_{name}"
        for name, library in _POT_BACKENDS.items()
        if library not in sys.modules
    ]
    unused = [name for name in unused if name not in os.environ]
    os.environ.update(dict.fromkeys(unused, "1"))
    try:
        import ot
    except ImportError as error:
        raise ModuleNotFoundError(
            "emd needs the package POT, which is not installed: pip install 'keras-salnet[emd]'."
        ) from error
    finally:
        for name in unused:
            del os.environ[name]
    return ot
