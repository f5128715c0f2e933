"""What an evaluation found, and its files."""

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

# What scores can depend on: numbers, pictures, and whatever a model runs on.
_PACKAGES = (
    *("numpy", "scipy", "opencv-python-headless", "keras", "tensorflow", "jax", "torch"),
    *("ai-edge-litert", "onnxruntime", "openvino"),
)


@dataclass(frozen=True)
class Evaluation:
    """Scores of models and reference rows on the same images.

    Args:
        dataset, split, convention, seed: what was scored, and how; the convention is that of the
            metrics of where people look.
        centre_bias: what the centre bias was taken from, in words.
        dropped: how many fixations lay outside their image and were left out.
        models: names of those rows that are models.
        samples: the list of `Sample` that was scored.
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
        """Those of `metrics` that say how well it was predicted where people look."""
        return [name for name in self.metrics if name in GAZE_METRICS]

    @property
    def mask_metrics(self):
        """Those of `metrics` that say how well the salient objects were found."""
        return [name for name in self.metrics if name in MASK_METRICS]

    @functools.cached_property
    def summary(self):
        """Row → metric → ``mean``, its 95 % interval ``low`` … ``high``, and ``n`` of images."""
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
        """Model → metric → ``fraction`` of the way from centre bias to half against half, and its
        95 % interval ``low`` … ``high``.

        Half of the observers are no strict ceiling, so that it may exceed 1. Metrics by which half
        against half is not better than the centre bias beyond doubt, its interval, are left out:
        there is no way between them.
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
        """(model, other model) → metric → mean ``difference`` of the images' scores, its 95 %
        interval ``low`` … ``high``, and ``p`` of a paired permutation test; None where the
        difference is not finite.
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
        """(row, metric) → (mean, (10000,) means had other images been drawn)."""
        keys = [(row, metric) for row, columns in self.scores.items() for metric in columns]
        columns = np.stack([self.scores[row][metric] for row, metric in keys], axis=1)
        means, resampled = bootstrap(columns, self.seed)
        return dict(zip(keys, zip(means, resampled.T, strict=True), strict=True))


def _estimate(name, value, resampled):
    low, high = interval(resampled)
    return {name: float(value), "low": float(low), "high": float(high)}


def versions():
    """Name → version, of Python and of the installed packages that scores can depend on."""
    found = {"keras-salnet": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_json(evaluations, path):
    """Write all there is of some `Evaluation`s, each image's scores included, as JSON, atomically.

    A missing value is null; infinity, which JSON has no number for, the string ``"-Infinity"``.
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
    """The same in what JSON knows."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple, np.ndarray)):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    return content


def write_csv(evaluations, path):
    """Write each image's scores as CSV, a line for each image and row of scores, atomically.

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
