"""Losses between saliency maps, and the streaming metrics that `fit` shows.

Each equals its namesake in `keras_salnet.metrics` (the MIT convention) where there is one. It is
computed in float32 whatever the precision of the model, and has a finite value and gradient on any
finite maps: a map without mass counts as uniform, and for cross-entropies as no object; a constant
one correlates with nothing.

All take maps (B, H, W, 1) and, as `sample_weight`, one weight a sample (B,) or a mask of
zeros and ones (B, H, W, 1): pixels of 0, such as the padding of a frame, take no part in any sum,
mean or extreme. A NaN in a map is a NaN in the loss: conditions below are worded so that it does
not count as an empty map.
"""

import keras
import numpy as np
from keras import ops

# Of MIT's code: MATLAB's eps.
_EPS = 2.2204e-16
# Of a probability, the least distance to 0 and 1 that cross-entropies see: float32's eps.
_LEAST_PROBABILITY = 2**-23
# Of PFA's loss.
_OBJECT_WEIGHT = 1.12
# Of the F-measure, by which precision counts more than recall.
_BETA2 = 0.3
_PIXELS = (1, 2, 3)


def _sum(values, mask):
    return ops.sum(values * mask, axis=_PIXELS, keepdims=True)


def _distribution(values, mask):
    """Divide by the sum; without mass, uniform."""
    total = _sum(values, mask)
    empty = total <= 0
    uniform = mask / ops.maximum(ops.sum(mask, axis=_PIXELS, keepdims=True), 1)
    return ops.where(empty, uniform, values * mask / ops.where(empty, 1, total))


def _extremes(values, mask):
    inside = mask > 0
    low = ops.min(ops.where(inside, values, float("inf")), axis=_PIXELS, keepdims=True)
    high = ops.max(ops.where(inside, values, float("-inf")), axis=_PIXELS, keepdims=True)
    return low, high


def _stretch(values, mask, low, high):
    """Map low…high to 0…1; a constant map becomes 0."""
    constant = high <= low
    outside = ops.logical_or(constant, mask <= 0)
    return ops.where(outside, 0, (values - low) / ops.where(constant, 1, high - low))


def _min_max(values, mask):
    """Stretch to [0, 1]; a constant map becomes 0."""
    return _stretch(values, mask, *_extremes(values, mask))


def _standardize(values, mask, ddof):
    """Subtract the mean, divide by the standard deviation; a constant map becomes 0."""
    # No scale matters here, but in [0, 1] no square overflows or vanishes, and what rounding
    # leaves of a constant map is not taken for variation. So the extremes need no gradient either.
    low, high = (ops.stop_gradient(extreme) for extreme in _extremes(values, mask))
    values = _stretch(values, mask, low, high)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS, keepdims=True), 1)
    centred = (values - _sum(values, mask) / count) * mask
    variance = ops.sum(centred**2, axis=_PIXELS, keepdims=True) / ops.maximum(count - ddof, 1)
    constant = variance <= 0
    return ops.where(constant, 0, centred / ops.sqrt(ops.where(constant, 1, variance)))


def _kl_divergence(y_true, y_pred, mask):
    true, pred = _distribution(y_true, mask), _distribution(y_pred, mask)
    return ops.sum(true * ops.log(_EPS + true / (pred + _EPS)), axis=_PIXELS)


def _correlation_coefficient(y_true, y_pred, mask):
    true, pred = _standardize(y_true, mask, ddof=0), _standardize(y_pred, mask, ddof=0)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS), 1)
    return ops.sum(true * pred, axis=_PIXELS) / count


def _similarity(y_true, y_pred, mask):
    true = _distribution(_min_max(y_true, mask), mask)
    pred = _distribution(_min_max(y_pred, mask), mask)
    return ops.sum(ops.minimum(true, pred), axis=_PIXELS)


def _normalized_scanpath_saliency(y_true, y_pred, mask):
    fixations = y_true * mask
    standardized = _standardize(y_pred, mask, ddof=1)
    count = ops.maximum(ops.sum(fixations, axis=_PIXELS), 1)
    return ops.sum(standardized * fixations, axis=_PIXELS) / count


def _peak_at_one(values, mask):
    """Divide by the maximum; a map without mass stays 0."""
    values = values * mask
    peak = ops.max(values, axis=_PIXELS, keepdims=True)
    return values / ops.where(peak <= 0, 1, peak)


def _cross_entropy(y_true, y_pred, mask, positive_weight=1.0):
    """Mean over the pixels, of probabilities."""
    pred = ops.clip(y_pred, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    values = -positive_weight * y_true * ops.log(pred) - (1 - y_true) * ops.log1p(-pred)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS), 1)
    return ops.sum(values * mask, axis=_PIXELS) / count


def _prediction_and_object(y_true, y_pred, mask):
    """A prediction stretched to [0, 1], but for a constant one, and where the object is."""
    low, high = _extremes(y_pred, mask)
    stretched = ops.where(high <= low, ops.clip(y_pred, 0, 1), _stretch(y_pred, mask, low, high))
    return stretched, ops.cast(_peak_at_one(y_true, mask) >= 0.5, y_pred.dtype)


def _mean_absolute_error(y_true, y_pred, mask):
    pred, true = _prediction_and_object(y_true, y_pred, mask)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS), 1)
    return ops.sum(ops.abs(pred - true) * mask, axis=_PIXELS) / count


def _f_measure(y_true, y_pred, mask):
    pred, true = _prediction_and_object(y_true, y_pred, mask)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS, keepdims=True), 1)
    threshold = ops.minimum(2 * _sum(pred, mask) / count, 1)
    # In this order, so that NaN does not fall below it.
    found = ops.where(pred < threshold, 0, 1 + 0 * pred) * mask
    hits = ops.sum(found * true, axis=_PIXELS)
    weighed = _BETA2 * ops.sum(true * mask, axis=_PIXELS) + ops.sum(found, axis=_PIXELS)
    return (1 + _BETA2) * hits / ops.where(weighed <= 0, 1, weighed)


def _edges(maps):
    """relu(tanh(·)) of the Laplacian over 3x3 pixels, in [0, 1]; around the maps it sees zeros."""
    kernel = -np.ones((3, 3, 1, 1))
    kernel[1, 1] = 8
    laplacian = ops.conv(maps, ops.convert_to_tensor(kernel, maps.dtype), padding="same")
    return ops.relu(ops.tanh(laplacian))


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
        return self._value(y_true, y_pred, mask)

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

    _value = staticmethod(_kl_divergence)


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

    _value = staticmethod(_correlation_coefficient)


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

    _value = staticmethod(_similarity)


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

    _value = staticmethod(_normalized_scanpath_saliency)


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

    def _value(self, y_true, y_pred, mask):
        terms = (
            (self.kl, _kl_divergence),
            (self.cc, _correlation_coefficient),
            (self.sim, _similarity),
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

    def _value(self, y_true, y_pred, mask):
        return _cross_entropy(_peak_at_one(y_true, mask), y_pred, mask)


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

    def _value(self, y_true, y_pred, mask):
        y_true = _peak_at_one(y_true, mask)
        pixels = _cross_entropy(y_true, y_pred, mask, _OBJECT_WEIGHT)
        edges = _cross_entropy(_edges(y_true), _edges(y_pred * mask), mask)
        return self.alpha * pixels + (1 - self.alpha) * edges

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable(package="keras_salnet")
class MeanAbsoluteError(_MapLoss):
    """Mean absolute error between a prediction and the mask of the salient objects; 0 is best.

    As `keras_salnet.metrics.mean_absolute_error`. Keras's own would neither stretch the prediction
    nor take a mask of any scale.

    Args:
        y_true: masks (B, H, W, 1) ≥ 0, of any scale; the object is what reaches half its maximum.
        y_pred: maps (B, H, W, 1), stretched to [0, 1] unless they are constant.
        sample_weight: (B,) or a mask (B, H, W, 1).

    Source: Perazzi et al., "Saliency filters", CVPR 2012.

    Example:
        >>> import numpy as np
        >>> maps = np.array([0.0, 1, 2, 4]).reshape(1, 2, 2, 1)
        >>> float(MeanAbsoluteError()(maps >= 2, maps))
        0.1875
    """

    def __init__(self, name="mean_absolute_error", **kwargs):
        super().__init__(name=name, **kwargs)

    _value = staticmethod(_mean_absolute_error)


@keras.saving.register_keras_serializable(package="keras_salnet")
class FMeasure(_MapLoss):
    """F-measure, β² = 0.3, of a prediction cut at twice its mean; 1 is best. Without a gradient.

    As `keras_salnet.metrics.f_measure` with its adaptive threshold.

    Args:
        y_true, y_pred, sample_weight: as of `MeanAbsoluteError`.

    Source: Achanta et al., "Frequency-tuned salient region detection", CVPR 2009.

    Example:
        >>> import numpy as np
        >>> maps = np.array([0.0, 1, 2, 4]).reshape(1, 2, 2, 1)
        >>> round(float(FMeasure()(maps >= 2, maps)), 4)
        0.8125
    """

    def __init__(self, name="f_measure", **kwargs):
        super().__init__(name=name, **kwargs)

    _value = staticmethod(_f_measure)


@keras.saving.register_keras_serializable(package="keras_salnet")
class StreamingMetric(keras.metrics.Mean):
    """The mean of a loss of this module over all samples of an epoch.

    Args:
        loss: one of this module's losses, such as ``KLDivergence()``.
        name: name in the logs.

    Example:
        >>> import numpy as np
        >>> metric = StreamingMetric(Similarity(), name="sim")
        >>> maps = np.random.default_rng(0).random((2, 8, 8, 1))
        >>> metric.update_state(maps, maps)
        >>> round(float(metric.result()), 4)
        1.0
    """

    def __init__(self, loss, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.loss = loss
        self._samplewise = type(loss).from_config({**loss.get_config(), "reduction": None})

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None and len(sample_weight.shape) == 4:
            super().update_state(self._samplewise(y_true, y_pred, sample_weight))
        else:
            super().update_state(self._samplewise(y_true, y_pred), sample_weight)

    def get_config(self):
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss}

    @classmethod
    def from_config(cls, config):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})


def streaming_metrics(masks=False):
    """New streaming metrics for `compile`.

    Args:
        masks: what is learnt are masks of objects, not where people look.

    Returns:
        KL, CC and SIM, named ``kl``, ``cc`` and ``sim``; of masks, MAE and the F-measure, named
        ``mae`` and ``f``.
    """
    if masks:
        return [
            StreamingMetric(MeanAbsoluteError(), name="mae"),
            StreamingMetric(FMeasure(), name="f"),
        ]
    return [
        StreamingMetric(KLDivergence(), name="kl"),
        StreamingMetric(CorrelationCoefficient(), name="cc"),
        StreamingMetric(Similarity(), name="sim"),
    ]
