"""Metrics that training shows: means over the samples of an epoch."""

import keras
from keras import ops

from keras_salnet.losses import functions


@keras.saving.register_keras_serializable(package="keras_salnet")
class StreamingMetric(keras.metrics.MeanMetricWrapper):
    """Mean over all samples of a function of saliency maps.

    `MeanMetricWrapper` applies a mask to the function's values; here the function gets the mask.

    Args:
        fn: function of ``(y_true, y_pred, mask)``, each (B, H, W, 1), that returns (B,), such as
            those in `keras_salnet.losses.functions`; or a loss of this package.
        name: name in the logs.
        dtype: dtype to compute in, float32 by default, even for a mixed-precision model.

    Its `update_state` takes as `sample_weight` one weight a sample (B,) or a mask of zeros and ones
    (B, H, W, 1).

    Example:
        >>> import numpy as np
        >>> metric = StreamingMetric(functions.similarity, name="sim")
        >>> maps = np.random.default_rng(0).random((2, 8, 8, 1))
        >>> metric.update_state(maps, maps)
        >>> round(float(metric.result()), 4)
        1.0
    """

    def __init__(self, fn, name=None, dtype=None):
        if isinstance(fn, keras.losses.Loss):  # one value a sample, so that uneven batches count
            fn = type(fn).from_config({**fn.get_config(), "reduction": None})
        super().__init__(fn, name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = ops.convert_to_tensor(y_true, self.dtype)
        y_pred = ops.convert_to_tensor(y_pred, self.dtype)
        if sample_weight is not None and len(sample_weight.shape) == 4:
            mask, sample_weight = ops.cast(sample_weight, self.dtype), None
        else:
            mask = ops.ones_like(y_true)
        values = self._fn(y_true, y_pred, mask)
        return keras.metrics.Mean.update_state(self, values, sample_weight)


@keras.saving.register_keras_serializable(package="keras_salnet")
class MeanAbsoluteError(StreamingMetric):
    """Mean absolute error between a prediction and the mask of the salient objects; 0 is best.

    Equals `keras_salnet.metrics.mean_absolute_error`. Keras's own neither stretches the prediction
    nor takes a mask of any scale.

    Args:
        y_true: masks (B, H, W, 1) ≥ 0, of any scale; the object is what reaches half the maximum.
        y_pred: maps (B, H, W, 1), stretched to [0, 1] unless they are constant.
        sample_weight: (B,) or a mask (B, H, W, 1).

    Source: Perazzi et al., "Saliency filters", CVPR 2012.

    Example:
        >>> import numpy as np
        >>> maps = np.array([0.0, 1, 2, 4]).reshape(1, 2, 2, 1)
        >>> float(MeanAbsoluteError()(maps >= 2, maps))
        0.1875
    """

    def __init__(self, name="mae", dtype=None):
        super().__init__(functions.mean_absolute_error, name, dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="keras_salnet")
class FMeasure(StreamingMetric):
    """F-measure, β² = 0.3, of a prediction cut at twice its mean; 1 is best.

    Equals `keras_salnet.metrics.f_measure` with its adaptive threshold.

    Args:
        y_true, y_pred, sample_weight: as in `MeanAbsoluteError`.

    Source: Achanta et al., "Frequency-tuned salient region detection", CVPR 2009.

    Example:
        >>> import numpy as np
        >>> maps = np.array([0.0, 1, 2, 4]).reshape(1, 2, 2, 1)
        >>> round(float(FMeasure()(maps >= 2, maps)), 4)
        0.8125
    """

    def __init__(self, name="f", dtype=None):
        super().__init__(functions.f_measure, name, dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def streaming_metrics(masks=False):
    """New streaming metrics for `compile`.

    Args:
        masks: whether the targets are masks of objects instead of densities.

    Returns:
        KL, CC and SIM, named ``kl``, ``cc`` and ``sim``; for masks, MAE and the F-measure, named
        ``mae`` and ``f``.
    """
    if masks:
        return [MeanAbsoluteError(), FMeasure()]
    return [
        StreamingMetric(functions.kl_divergence, name="kl"),
        StreamingMetric(functions.correlation_coefficient, name="cc"),
        StreamingMetric(functions.similarity, name="sim"),
    ]
