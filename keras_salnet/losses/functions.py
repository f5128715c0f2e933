"""Functions of saliency maps that losses and streaming metrics are made of.

Each takes ``(y_true, y_pred, mask)``, float tensors (B, H, W, 1), and returns one value a sample,
(B,). Pixels where the mask is 0, such as the padding of a frame, take no part in any sum, mean or
extreme. Where `keras_salnet.metrics` has a metric of the same name, the two are equal in the MIT
convention.

Any finite maps give a finite value and a finite gradient: a map without mass counts as uniform,
and as no object in cross-entropies; a constant map correlates with nothing. A NaN in a map is a
NaN in the value: conditions are worded so that it does not count as an empty map.
"""

import keras
import numpy as np
from keras import ops

_EPS = 2.2204e-16  # MATLAB's eps, as in MIT's code
_MIN_PROBABILITY = 2**-23  # float32's eps: cross-entropies clip probabilities this far from 0 and 1
_BETA2 = 0.3  # β² of the F-measure: precision counts more than recall
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
    # The scale does not matter here, but in [0, 1] no square overflows or vanishes, and rounding
    # errors in a constant map do not count as variation. Hence the extremes need no gradient.
    low, high = (ops.stop_gradient(extreme) for extreme in _extremes(values, mask))
    values = _stretch(values, mask, low, high)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS, keepdims=True), 1)
    centred = (values - _sum(values, mask) / count) * mask
    variance = ops.sum(centred**2, axis=_PIXELS, keepdims=True) / ops.maximum(count - ddof, 1)
    constant = variance <= 0
    return ops.where(constant, 0, centred / ops.sqrt(ops.where(constant, 1, variance)))


@keras.saving.register_keras_serializable(package="keras_salnet")
def kl_divergence(y_true, y_pred, mask):
    """Kullback-Leibler divergence of densities; 0 is best."""
    true, pred = _distribution(y_true, mask), _distribution(y_pred, mask)
    return ops.sum(true * ops.log(_EPS + true / (pred + _EPS)), axis=_PIXELS)


@keras.saving.register_keras_serializable(package="keras_salnet")
def correlation_coefficient(y_true, y_pred, mask):
    """Pearson's correlation coefficient over the pixels, in [-1, 1]."""
    true, pred = _standardize(y_true, mask, ddof=0), _standardize(y_pred, mask, ddof=0)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS), 1)
    return ops.sum(true * pred, axis=_PIXELS) / count


@keras.saving.register_keras_serializable(package="keras_salnet")
def similarity(y_true, y_pred, mask):
    """Histogram intersection of maps that are stretched to [0, 1] and sum to 1."""
    true = _distribution(_min_max(y_true, mask), mask)
    pred = _distribution(_min_max(y_pred, mask), mask)
    return ops.sum(ops.minimum(true, pred), axis=_PIXELS)


def normalized_scanpath_saliency(y_true, y_pred, mask):
    """Mean of the standardised prediction over the fixations of a fixation map."""
    fixations = y_true * mask
    standardized = _standardize(y_pred, mask, ddof=1)
    count = ops.maximum(ops.sum(fixations, axis=_PIXELS), 1)
    return ops.sum(standardized * fixations, axis=_PIXELS) / count


def peak_at_one(values, mask):
    """Divide by the maximum; a map without mass stays 0."""
    values = values * mask
    peak = ops.max(values, axis=_PIXELS, keepdims=True)
    return values / ops.where(peak <= 0, 1, peak)


def cross_entropy(y_true, y_pred, mask, positive_weight=1.0):
    """Cross-entropy of probabilities, averaged over the pixels."""
    pred = ops.clip(y_pred, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    values = -positive_weight * y_true * ops.log(pred) - (1 - y_true) * ops.log1p(-pred)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS), 1)
    return ops.sum(values * mask, axis=_PIXELS) / count


def _prediction_and_object(y_true, y_pred, mask):
    """The prediction stretched to [0, 1], unless it is constant, and the object's pixels."""
    low, high = _extremes(y_pred, mask)
    stretched = ops.where(high <= low, ops.clip(y_pred, 0, 1), _stretch(y_pred, mask, low, high))
    return stretched, ops.cast(peak_at_one(y_true, mask) >= 0.5, y_pred.dtype)


@keras.saving.register_keras_serializable(package="keras_salnet")
def mean_absolute_error(y_true, y_pred, mask):
    """Mean absolute error against a mask; the prediction is stretched to [0, 1]."""
    pred, true = _prediction_and_object(y_true, y_pred, mask)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS), 1)
    return ops.sum(ops.abs(pred - true) * mask, axis=_PIXELS) / count


@keras.saving.register_keras_serializable(package="keras_salnet")
def f_measure(y_true, y_pred, mask):
    """F-measure (β² = 0.3) against a mask, at twice the mean prediction; has no gradient."""
    pred, true = _prediction_and_object(y_true, y_pred, mask)
    count = ops.maximum(ops.sum(mask, axis=_PIXELS, keepdims=True), 1)
    threshold = ops.minimum(2 * _sum(pred, mask) / count, 1)
    # In this order, so that a NaN propagates.
    found = ops.where(pred < threshold, 0, 1 + 0 * pred) * mask
    hits = ops.sum(found * true, axis=_PIXELS)
    weighed = _BETA2 * ops.sum(true * mask, axis=_PIXELS) + ops.sum(found, axis=_PIXELS)
    return (1 + _BETA2) * hits / ops.where(weighed <= 0, 1, weighed)


def edges(maps):
    """relu(tanh(·)) of the 3×3 Laplacian of maps, in [0, 1]; zeros surround the maps."""
    kernel = -np.ones((3, 3, 1, 1))
    kernel[1, 1] = 8
    laplacian = ops.conv(maps, ops.convert_to_tensor(kernel, maps.dtype), padding="same")
    return ops.relu(ops.tanh(laplacian))
