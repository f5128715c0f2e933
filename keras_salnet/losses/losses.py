"""Losses between saliency maps, as Keras losses.

Each equals its namesake in `keras_salnet.metrics` (the MIT convention) where there is one. Losses
compute in float32 whatever the precision of the model.

All take maps (B, H, W, 1) and, as `sample_weight`, one weight a sample (B,) or a mask of zeros and
ones (B, H, W, 1), whose zeros, such as the padding of a frame, are left out.
"""

import keras
from keras import ops

from keras_salnet.losses import functions

_OBJECT_WEIGHT = 1.12  # of an object's pixels in PFA's loss


class _MapLoss(keras.losses.Loss):
    """A function of two maps and a mask, (B, H, W, 1) each → (B,), as a Keras loss."""

    def __init__(self, name, reduction="sum_over_batch_size", dtype="float32"):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Keras weighs values after `call`; a mask has its say before, so it rides on y_true.
        if sample_weight is not None and len(sample_weight.shape) == 4:
            y_true = ops.convert_to_tensor(y_true, self.dtype)
            mask = ops.cast(sample_weight, self.dtype)
            y_true, sample_weight = ops.concatenate([y_true, mask], axis=-1), None
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        if y_true.shape[-1] == 2:
            y_true, mask = ops.split(y_true, 2, axis=-1)
        else:
            mask = ops.ones_like(y_true)
        return self._function(y_true, y_pred, mask)

    def get_config(self):
        return {**super().get_config(), "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="keras_salnet")
class KLDivergence(_MapLoss):
    """Kullback-Leibler divergence Σ g·ln(ε + g / (p + ε)) of maps that sum to 1; 0 is best.

    Args:
        y_true: densities (B, H, W, 1) ≥ 0, of any sum.
        y_pred: maps (B, H, W, 1) ≥ 0, of any sum.
        sample_weight: (B,) or a mask (B, H, W, 1).

    Source: Bylinskii et al., "What do different evaluation metrics tell us about saliency
    models?", TPAMI 2019; as a loss in VGGRGA, Eq. 7.

    Example:
        >>> import numpy as np
        >>> maps = np.random.default_rng(0).random((2, 8, 8, 1))
        >>> abs(float(KLDivergence()(maps, 3 * maps))) < 1e-6
        True
    """

    def __init__(self, name="kl_divergence", **kwargs):
        super().__init__(name=name, **kwargs)

    _function = staticmethod(functions.kl_divergence)


@keras.saving.register_keras_serializable(package="keras_salnet")
class CorrelationCoefficient(_MapLoss):
    """Pearson's correlation coefficient over the pixels, in [-1, 1]; 1 is best.

    The value itself, not its negative: to train by it, weigh it negatively as `SaliencyLoss` does.

    Args:
        y_true: densities (B, H, W, 1).
        y_pred: maps (B, H, W, 1).
        sample_weight: (B,) or a mask (B, H, W, 1).

    Source: Bylinskii et al., TPAMI 2019; as a loss in VGGRGA, Eq. 7.

    Example:
        >>> import numpy as np
        >>> maps = np.random.default_rng(0).random((2, 8, 8, 1))
        >>> round(float(CorrelationCoefficient()(maps, 1 - maps)), 4)
        -1.0
    """

    def __init__(self, name="correlation_coefficient", **kwargs):
        super().__init__(name=name, **kwargs)

    _function = staticmethod(functions.correlation_coefficient)


@keras.saving.register_keras_serializable(package="keras_salnet")
class Similarity(_MapLoss):
    """Histogram intersection Σ min(p, g) of maps stretched to [0, 1], then summing to 1; 1 is best.

    The value itself, not its negative: to train by it, weigh it negatively as `SaliencyLoss` does.

    Args:
        y_true: densities (B, H, W, 1).
        y_pred: maps (B, H, W, 1).
        sample_weight: (B,) or a mask (B, H, W, 1).

    Source: Bylinskii et al., TPAMI 2019; as a loss in VGGRGA, Eq. 7.

    Example:
        >>> import numpy as np
        >>> maps = np.random.default_rng(0).random((2, 8, 8, 1))
        >>> round(float(Similarity()(maps, maps)), 4)
        1.0
    """

    def __init__(self, name="similarity", **kwargs):
        super().__init__(name=name, **kwargs)

    _function = staticmethod(functions.similarity)


@keras.saving.register_keras_serializable(package="keras_salnet")
class NormalizedScanpathSaliency(_MapLoss):
    """Mean of the standardised map over the fixations; 0 is chance, more is better.

    The value itself, not its negative: to train by it, weigh it negatively.

    Args:
        y_true: fixation maps (B, H, W, 1): how many fixations fell on each pixel. Not a density:
            against a blurred map this is not NSS.
        y_pred: maps (B, H, W, 1).
        sample_weight: (B,) or a mask (B, H, W, 1).

    Source: Peters et al., "Components of bottom-up gaze allocation in natural images", 2005.

    Example:
        >>> import numpy as np
        >>> fixations = np.eye(8)[None, ..., None]
        >>> float(NormalizedScanpathSaliency()(fixations, fixations)) > 2
        True
    """

    def __init__(self, name="normalized_scanpath_saliency", **kwargs):
        super().__init__(name=name, **kwargs)

    _function = staticmethod(functions.normalized_scanpath_saliency)


@keras.saving.register_keras_serializable(package="keras_salnet")
class SaliencyLoss(_MapLoss):
    """Weighted sum of KL, CC and SIM: kl·KL + cc·CC + sim·SIM (VGGRGA, Eq. 7).

    Args:
        kl, cc, sim: the weights; the paper's are 10, −1 and −1. A weight of 0 leaves its term out.
        name, reduction, dtype: as in `keras.losses.Loss`.

    Example:
        >>> import numpy as np
        >>> maps = np.random.default_rng(0).random((2, 8, 8, 1))
        >>> round(float(SaliencyLoss()(maps, maps)), 4)
        -2.0
    """

    def __init__(self, kl=10.0, cc=-1.0, sim=-1.0, name="saliency_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.kl = kl
        self.cc = cc
        self.sim = sim
        if not (kl or cc or sim):
            raise ValueError("SaliencyLoss: kl, cc and sim are all 0; weigh at least one of them.")

    def _function(self, y_true, y_pred, mask):
        terms = (
            (self.kl, functions.kl_divergence),
            (self.cc, functions.correlation_coefficient),
            (self.sim, functions.similarity),
        )
        return sum(weight * term(y_true, y_pred, mask) for weight, term in terms if weight)

    def get_config(self):
        return {**super().get_config(), "kl": self.kl, "cc": self.cc, "sim": self.sim}


@keras.saving.register_keras_serializable(package="keras_salnet")
class CrossEntropy(_MapLoss):
    """Cross-entropy of each pixel's probability of being fixated, averaged over the pixels.

    Keras's BinaryCrossentropy would take targets in [0, 1], which the densities of training are
    not, and divide by the pixels of the padding as well.

    Args:
        y_true: fixation maps, densities or masks (B, H, W, 1) ≥ 0, of any scale: each is divided by
            its maximum.
        y_pred: maps (B, H, W, 1) in [0, 1], and no logits. Nearer than 1.2e-7 to 0 or 1 they have
            no gradient.
        sample_weight: (B,) or a mask (B, H, W, 1).

    Source: Thomas, "OpenSalicon", 2016, Section 2.

    Example:
        >>> import numpy as np
        >>> density = np.full((1, 8, 8, 1), 1 / 64)
        >>> round(float(CrossEntropy()(density, np.full((1, 8, 8, 1), 0.5))), 4)
        0.6931
    """

    def __init__(self, name="cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def _function(self, y_true, y_pred, mask):
        return functions.cross_entropy(functions.peak_at_one(y_true, mask), y_pred, mask)


@keras.saving.register_keras_serializable(package="keras_salnet")
class EdgeHoldLoss(_MapLoss):
    """Cross-entropy of a mask's pixels and of its edges: α·pixels + (1 − α)·edges (PFA).

    Pixels of the object weigh 1.12. Edges are relu(tanh(·)) of the Laplacian of either map; padding
    and what is beyond the frame count as 0 there.

    Args:
        alpha: weight of the pixels, in [0, 1]; 1 in the first of the paper's two phases, 0.7 in the
            second.
        name, reduction, dtype: as in `keras.losses.Loss`.

    Its maps and `sample_weight` are those of `CrossEntropy`; `y_true` are masks.

    Raises:
        ValueError: `alpha` is not in [0, 1].

    Source: Zhao & Wu, "Pyramid Feature Attention Network for Saliency Detection", CVPR 2019.

    Example:
        >>> import numpy as np
        >>> mask = np.zeros((1, 8, 8, 1))
        >>> mask[:, 2:6, 2:6] = 1
        >>> bool(EdgeHoldLoss()(mask, mask) < EdgeHoldLoss()(mask, mask / 2))
        True
    """

    def __init__(self, alpha=0.7, name="edge_hold_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], not {alpha!r}.")
        self.alpha = alpha

    def _function(self, y_true, y_pred, mask):
        y_true = functions.peak_at_one(y_true, mask)
        pixels = functions.cross_entropy(y_true, y_pred, mask, _OBJECT_WEIGHT)
        edges = functions.cross_entropy(
            functions.edges(y_true), functions.edges(y_pred * mask), mask
        )
        return self.alpha * pixels + (1 - self.alpha) * edges

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
