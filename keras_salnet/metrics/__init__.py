"""Saliency metrics: how well a map predicts where people looked.

Every metric is a pure function of one image, computed in float64 with numpy and scipy (`emd` with
POT too), and returns a Python float that is never NaN. It compares a saliency map (H, W) with

- a fixation density (H, W): `kl_divergence`, `correlation_coefficient`, `similarity`, `emd`;
- the fixations themselves, an (n, 2) array of (x, y) pixels: `nss`, `information_gain`, `auc`,
  `auc_judd`, `auc_borji`, `shuffled_auc`;
- in salient object detection, a mask (H, W): `mean_absolute_error`, `f_measure`,
  `weighted_f_measure`, `s_measure`, `e_measure`.

Two reference implementations of the fixation metrics exist; where they differ, `convention`
selects one:

- `"mit"` (default), the MIT Saliency Benchmark's MATLAB code. Fixations form a binary map, so a
  pixel fixated twice counts once.
- `"pysaliency"`, the Python library behind today's MIT/Tuebingen benchmark. Each fixation counts.

Maps and fixations must share one frame: resize the prediction to the ground truth, never the
other way round. docs/metrics.md compares the metrics and the conventions; `table` lists them for
evaluations.
"""

from keras_salnet.metrics.distribution import (
    correlation_coefficient,
    emd,
    kl_divergence,
    similarity,
)
from keras_salnet.metrics.location import information_gain, nss
from keras_salnet.metrics.masks import (
    e_measure,
    e_measure_curve,
    f_measure,
    f_measure_curve,
    mean_absolute_error,
    s_measure,
    weighted_f_measure,
)
from keras_salnet.metrics.roc import auc, auc_borji, auc_judd, shuffled_auc

__all__ = [
    "auc",
    "auc_borji",
    "auc_judd",
    "correlation_coefficient",
    "e_measure",
    "e_measure_curve",
    "emd",
    "f_measure",
    "f_measure_curve",
    "information_gain",
    "kl_divergence",
    "mean_absolute_error",
    "nss",
    "s_measure",
    "shuffled_auc",
    "similarity",
    "weighted_f_measure",
]
