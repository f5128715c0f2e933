"""The metrics that evaluations report, one entry each.

Scores, tables, the HTML report, JSON, CSV, training curves and the test of docs/metrics.md read
this list: a new metric is its function and one entry.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from keras_salnet.metrics.distribution import (
    correlation_coefficient,
    emd,
    kl_divergence,
    similarity,
)
from keras_salnet.metrics.location import information_gain, nss
from keras_salnet.metrics.masks import (
    e_measure_curve,
    f_measure_curve,
    mean_absolute_error,
    s_measure,
    weighted_f_measure,
)
from keras_salnet.metrics.roc import auc, auc_borji, auc_judd, shuffled_auc


@dataclass(frozen=True)
class Metric:
    """A metric as evaluations report it.

    Args:
        name: name in tables and files.
        function: the pure function of a saliency map and what the metric needs. It returns a float,
            or the values at all thresholds, (n,) float64: then a dataset's score is the maximum of
            the mean curve.
        needs: ground truth that the function takes: ``"density"``, ``"fixations"``,
            ``"other fixations"`` (fixations, and those of other images), ``"baseline"`` (fixations,
            and a baseline density), or ``"mask"``.
        better: whether ``"more"`` or ``"less"`` is better.
        about: explanation for reports, a sentence.
        convention: the only convention that has the metric; None for all.
        on_request: slow, so computed only when asked for.
        overview: position in overviews of a few metrics, from 1 on; 0 for none. Images are ranked
            by the first that they have.
    """

    name: str
    function: Callable
    needs: Literal["density", "fixations", "other fixations", "baseline", "mask"]
    better: Literal["more", "less"]
    about: str
    convention: str | None = None
    on_request: bool = False
    overview: int = 0

    def __call__(self, *maps, **options):
        """Call the function with those options (`convention`, `seed`) that it takes."""
        return self.function(*maps, **{key: options[key] for key in self._options & options.keys()})

    @cached_property
    def _options(self):
        return inspect.signature(self.function).parameters.keys()

    @property
    def more_is_better(self):
        return self.better == "more"

    @property
    def arrow(self):
        """Direction of better scores in tables."""
        return "↑" if self.more_is_better else "↓"

    @property
    def title(self):
        """Title of a plot."""
        return self.name if self.more_is_better else f"{self.name} (lower is better)"


_ALL = (
    Metric(
        "KL",
        kl_divergence,
        needs="density",
        better="less",
        about="Kullback–Leibler divergence of the prediction from the ground truth. Missing "
        "a place where people looked costs most.",
        overview=3,
    ),
    Metric(
        "CC",
        correlation_coefficient,
        needs="density",
        better="more",
        about="Linear correlation of prediction and ground truth.",
        overview=1,
    ),
    Metric(
        "SIM",
        similarity,
        needs="density",
        better="more",
        about="Mass that prediction and ground truth share.",
    ),
    Metric(
        "EMD",
        emd,
        needs="density",
        better="less",
        about="Earth mover’s distance: how far the prediction’s mass must move to become the "
        "ground truth.",
        on_request=True,
    ),
    Metric(
        "NSS",
        nss,
        needs="fixations",
        better="more",
        about="Prediction at the fixations, in standard deviations above its mean.",
        overview=2,
    ),
    Metric(
        "IG",
        information_gain,
        needs="baseline",
        better="more",
        about="Information gain over the centre bias at the fixations, in bits.",
    ),
    Metric(
        "AUC",
        auc,
        needs="fixations",
        better="more",
        about="Probability that the prediction is higher at a fixation than at a random pixel.",
        convention="pysaliency",
    ),
    Metric(
        "AUC-Judd",
        auc_judd,
        needs="fixations",
        better="more",
        about="Probability that the prediction is higher at a fixation than at an unfixated pixel.",
    ),
    Metric(
        "AUC-Borji",
        auc_borji,
        needs="fixations",
        better="more",
        about="Like AUC-Judd, against random pixels.",
        convention="mit",
    ),
    Metric(
        "sAUC",
        shuffled_auc,
        needs="other fixations",
        better="more",
        about="Like AUC-Judd, against fixations of other images: the centre bias alone gains "
        "nothing.",
    ),
    Metric(
        "MAE",
        mean_absolute_error,
        needs="mask",
        better="less",
        about="Mean absolute difference between the prediction, stretched to [0, 1], and the mask.",
        overview=6,
    ),
    Metric(
        "maxF",
        f_measure_curve,
        needs="mask",
        better="more",
        about="F-measure (β² = 0.3) of the thresholded prediction, at the threshold with the "
        "highest mean over the images.",
        overview=5,
    ),
    Metric(
        "Fw",
        weighted_f_measure,
        needs="mask",
        better="more",
        about="F-measure without a threshold, with errors weighted by their position.",
    ),
    Metric(
        "S",
        s_measure,
        needs="mask",
        better="more",
        about="Structure measure: similarity of objects and of regions.",
        overview=4,
    ),
    Metric(
        "maxE",
        e_measure_curve,
        needs="mask",
        better="more",
        about="Enhanced alignment of the thresholded prediction with the mask, at the threshold "
        "with the highest mean over the images.",
    ),
)

# Name → `Metric`, in the order of tables.
METRICS = {metric.name: metric for metric in _ALL}
GAZE_METRICS = {name: metric for name, metric in METRICS.items() if metric.needs != "mask"}
MASK_METRICS = {name: metric for name, metric in METRICS.items() if metric.needs == "mask"}
# Names of the few in overviews, the first the one that images are ranked by.
OVERVIEW = sorted((m.name for m in _ALL if m.overview), key=lambda name: METRICS[name].overview)
