"""Results of an evaluation, and their files."""

import csv
import functools
import itertools
import json
import math
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from keras_salnet import __version__
from keras_salnet.evaluation.references import CENTRE_BIAS, HALVES
from keras_salnet.evaluation.statistics import bootstrap, interval, permutation_p
from keras_salnet.files import atomic
from keras_salnet.metrics.table import GAZE_METRICS, MASK_METRICS, METRICS

# Packages that scores can depend on: numerics, image decoding, and the backends of models.
_PACKAGES = (
    *("numpy", "scipy", "opencv-python-headless", "keras", "tensorflow", "jax", "torch"),
    *("ai-edge-litert", "onnxruntime", "openvino"),
)


@dataclass(frozen=True)
class Evaluation:
    """Scores of models and reference rows on the same images.

    Args:
        dataset, split, convention, seed: as in `evaluate`.
        centre_bias: the images that the centre bias is the mean of, in words.
        dropped: number of fixations outside their image, which were dropped.
        models: names of the rows that are models.
        samples: list of the scored `Sample`.
        scores: row → metric → (n,) float64, one value an image; NaN where the image lacks what
            the row or the metric needs, such as fixations or a mask.
    """

    dataset: str
    split: str
    convention: str
    seed: int
    centre_bias: str
    dropped: int
    models: tuple
    samples: list
    scores: dict

    @property
    def metrics(self):
        """Names of the metrics that some row has, in the order of `METRICS`."""
        return [name for name in METRICS if any(name in row for row in self.scores.values())]

    @property
    def gaze_metrics(self):
        """Those of `metrics` that score predictions of where people look."""
        return [name for name in self.metrics if name in GAZE_METRICS]

    @property
    def mask_metrics(self):
        """Those of `metrics` that score predictions of salient objects."""
        return [name for name in self.metrics if name in MASK_METRICS]

    @functools.cached_property
    def summary(self):
        """Row → metric → ``mean``, its 95 % interval ``low`` … ``high``, and ``n`` images."""
        return {
            row: {
                metric: {
                    **_estimate("mean", *self._means[row, metric]),
                    "n": int(np.count_nonzero(~np.isnan(values))),
                }
                for metric, values in columns.items()
            }
            for row, columns in self.scores.items()
        }

    @functools.cached_property
    def fractions(self):
        """Normalised scores, 0 for the centre bias and 1 for split-half humans.

        Model → metric → ``fraction`` and its 95 % interval ``low`` … ``high``. Split-half humans
        are no strict ceiling, so it may exceed 1. Metrics by which they are not clearly better
        than the centre bias, judged by the interval, are left out.
        """
        fractions = {}
        for model, metric in itertools.product(self.models, METRICS):
            means = [self._means.get((row, metric)) for row in (model, CENTRE_BIAS, HALVES)]
            if None in means:
                continue
            (at, low, high), (ats, lows, highs) = zip(*means, strict=True)
            with np.errstate(invalid="ignore", divide="ignore"):
                way, ways = high - low, highs - lows
                better, _ = interval(ways if METRICS[metric].more_is_better else -ways)
                if better > 0 and np.isfinite([at, way]).all():
                    fraction = _estimate("fraction", (at - low) / way, (ats - lows) / ways)
                    fractions.setdefault(model, {})[metric] = fraction
        return fractions

    @functools.cached_property
    def comparisons(self):
        """Comparison of each pair of models, image by image.

        (model, other model) → metric → mean ``difference`` of the scores, its 95 % interval ``low``
        … ``high``, and ``p`` of a paired permutation test, None if the difference is not finite.
        """
        return {
            (model, other): {
                metric: self._compare(model, other, metric)
                for metric in self.scores[model]
                if metric in self.scores[other]
            }
            for model, other in itertools.combinations(self.models, 2)
        }

    def _compare(self, model, other, metric):
        (at, ats), (before, befores) = self._means[model, metric], self._means[other, metric]
        with np.errstate(invalid="ignore"):
            estimate = _estimate("difference", at - before, ats - befores)
            differences = self.scores[model][metric] - self.scores[other][metric]
        differences = differences[~np.isnan(differences)]
        finite = math.isfinite(estimate["difference"])
        return {**estimate, "p": permutation_p(differences, self.seed) if finite else None}

    @functools.cached_property
    def _means(self):
        """(row, metric) → (mean, (10000,) means of bootstrap resamples)."""
        keys = [(row, metric) for row, columns in self.scores.items() for metric in columns]
        columns = np.stack([self.scores[row][metric] for row, metric in keys], axis=1)
        means, resampled = bootstrap(columns, self.seed)
        return dict(zip(keys, zip(means, resampled.T, strict=True), strict=True))


def _estimate(name, value, resampled):
    low, high = interval(resampled)
    return {name: float(value), "low": float(low), "high": float(high)}


def versions():
    """Name → version of Python and of installed packages that scores can depend on."""
    found = {"keras-salnet": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_json(evaluations, path):
    """Write `Evaluation`s with per-image scores as JSON, atomically.

    A missing value is null; an infinite one is the string ``"Infinity"`` or ``"-Infinity"``.
    """
    content = {
        "versions": versions(),
        "evaluations": [
            {
                "dataset": evaluation.dataset,
                "split": evaluation.split,
                "convention": evaluation.convention,
                "seed": evaluation.seed,
                "centre_bias": evaluation.centre_bias,
                "dropped_fixations": evaluation.dropped,
                "models": evaluation.models,
                "summary": evaluation.summary,
                "fractions": evaluation.fractions,
                "comparisons": [
                    {"model": model, "other": other, "metrics": metrics}
                    for (model, other), metrics in evaluation.comparisons.items()
                ],
                "images": [sample.name for sample in evaluation.samples],
                "scores": evaluation.scores,
            }
            for evaluation in evaluations
        ],
    }
    with atomic(path) as draft:
        text = json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False)
        Path(draft).write_text(text + "\n", "utf-8")


def _plain(content):
    """Convert to types that JSON has."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple, np.ndarray)):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    return content


def write_csv(evaluations, path):
    """Write per-image scores of `Evaluation`s as CSV, one line per image and row, atomically.

    Columns are ``dataset``, ``split``, ``image``, ``row`` and the metrics; a missing value is
    empty.
    """
    metrics = [name for name in METRICS if any(name in e.metrics for e in evaluations)]
    with atomic(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["dataset", "split", "image", "row", *metrics])
        for evaluation in evaluations:
            for number, sample in enumerate(evaluation.samples):
                for row, columns in evaluation.scores.items():
                    values = (columns[m][number] if m in columns else np.nan for m in metrics)
                    cells = ("" if np.isnan(value) else repr(float(value)) for value in values)
                    table.writerow([evaluation.dataset, evaluation.split, sample.name, row, *cells])
