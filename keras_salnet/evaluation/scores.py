"""A dataset x a model → scores."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_salnet import metrics
from keras_salnet.data.density import fixation_density
from keras_salnet.data.geometry import resize
from keras_salnet.data.integrity import no_progress
from keras_salnet.files import atomic

logger = logging.getLogger(__name__)

# Name in tables → whether more is better.
METRICS = {"KL": False, "CC": True, "SIM": True, "NSS": True, "AUC-Judd": True}

_HALVES = "half against half"

# Densities of all images meet on this grid for the centre bias.
_CENTRE_BIAS_SIZE = (96, 128)


@dataclass(frozen=True)
class Evaluation:
    """Scores of one or more rows (models, baselines) on the same images.

    Args:
        dataset, split, convention: what was scored, and how.
        images: names of the images.
        scores: row → metric → (n,) float64, one value an image; NaN where the image lacks what
            the metric needs (such as fixations).
    """

    dataset: str
    split: str
    convention: str
    images: list
    scores: dict

    def summary(self):
        """Row → metric → mean, standard error of the mean (``sem``) and ``n`` of images."""
        return {
            row: {metric: _summarize(values) for metric, values in columns.items()}
            for row, columns in self.scores.items()
        }

    def write_json(self, path):
        """Write the summary and each image's scores as JSON, atomically."""
        content = {
            "dataset": self.dataset,
            "split": self.split,
            "convention": self.convention,
            "summary": self.summary(),
            "images": self.images,
            "scores": {
                row: {
                    metric: [None if np.isnan(value) else value for value in values.tolist()]
                    for metric, values in columns.items()
                }
                for row, columns in self.scores.items()
            },
        }
        with atomic(path) as draft:
            Path(draft).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _summarize(values):
    values = values[~np.isnan(values)]
    n = len(values)
    return {
        "mean": float(values.mean()) if n else None,
        "sem": float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "n": n,
    }


def evaluate(predictor, dataset, split=None, convention="mit", track=no_progress):
    """Score a model beside the centre bias and human observers, at the ground truth's resolution.

    The centre bias is the floor that any model must beat. Half of the observers predicting the
    other half is about the ceiling: an underestimate, for a model is compared with all of them.

    Args:
        predictor: `Predictor`, or any function from an image's path to an (H, W) map.
        dataset: `Dataset`; its training split gives the centre bias.
        split: split to score; by default the test split, or the validation split where there is
            none.
        convention: of the metrics, ``"mit"`` or ``"pysaliency"``.
        track: function (samples, description) → samples, to show progress.

    Returns:
        `Evaluation` with the rows of the predictor's name, ``centre bias`` and, where the
        dataset tells the observers apart, ``half against half``.

    Raises:
        ValueError, FileNotFoundError: an image or its ground truth cannot be read.
    """
    split = split or dataset.held_out
    samples = dataset[split]
    bias = centre_bias(track(dataset["train"], "centre bias"))
    name = getattr(predictor, "name", "model")
    scores = {row: {metric: [] for metric in METRICS} for row in (name, "centre bias", _HALVES)}
    for sample in track(samples, f"scoring {dataset.name} {split}"):
        saliency = predictor(sample.image)
        size = saliency.shape
        truth = sample.read_density(size), sample.read_fixations()
        rows = {
            name: score(saliency, size, *truth, convention),
            "centre bias": score(bias, size, *truth, convention),
            _HALVES: half_against_half(sample, size, convention),
        }
        for row, columns in rows.items():
            for metric, value in columns.items():
                scores[row][metric].append(value)
    scores = {
        row: {metric: np.array(values) for metric, values in columns.items()}
        for row, columns in scores.items()
    }
    if np.isnan(scores[_HALVES]["CC"]).all():
        del scores[_HALVES]  # nobody's observers are known
    names = [sample.name for sample in samples]
    return Evaluation(dataset.name, split, convention, names, scores)


def score(prediction, size, density, fixations, convention="mit"):
    """All metrics of one prediction.

    Args:
        prediction: (h, w) map of any size; it is resized, the ground truth never.
        size: (height, width) of the image, in whose pixels the fixations are.
        density: (H, W) ground-truth density.
        fixations: (n, 2) points (x, y).
        convention: ``"mit"`` or ``"pysaliency"``.

    Returns:
        Metric → float; NSS and AUC-Judd are NaN without fixations.
    """
    on_density = _resized(prediction, density.shape)
    on_image = _resized(prediction, size)
    options = {"convention": convention}
    looked = len(fixations) > 0
    return {
        "KL": metrics.kl_divergence(on_density, density, **options),
        "CC": metrics.correlation_coefficient(on_density, density, **options),
        "SIM": metrics.similarity(on_density, density, **options),
        "NSS": metrics.nss(on_image, fixations, **options) if looked else np.nan,
        "AUC-Judd": metrics.auc_judd(on_image, fixations, **options) if looked else np.nan,
    }


def half_against_half(sample, size, convention="mit"):
    """All metrics of one half of an image's observers as the prediction of the other half.

    Every other observer is in the same half; each half predicts the other, and the two scores are
    averaged.

    Args:
        sample: `Sample`.
        size: (height, width) of the image.
        convention: of the metrics, ``"mit"`` or ``"pysaliency"``.

    Returns:
        Metric → float; NaN where the observers are not known, or one half of them saw nothing.
    """
    points, observer, _ = sample.read_gaze()
    if observer is None or sample.sigma is None:
        return dict.fromkeys(METRICS, np.nan)
    second = np.unique(observer, return_inverse=True)[1] % 2 == 1
    halves = points[~second], points[second]
    if not all(map(len, halves)):
        return dict.fromkeys(METRICS, np.nan)
    densities = [fixation_density(half, size, sample.sigma) for half in halves]
    there = score(densities[0], size, densities[1], halves[1], convention)
    back = score(densities[1], size, densities[0], halves[0], convention)
    return {metric: (there[metric] + back[metric]) / 2 for metric in METRICS}


def _resized(saliency, size):
    return saliency if saliency.shape == tuple(size) else resize(saliency[..., None], size)[..., 0]


def centre_bias(samples):
    """The mean density of some images, each stretched to one small frame: (96, 128) float64."""
    total, count = np.zeros(_CENTRE_BIAS_SIZE), 0
    for sample in samples:
        total += sample.read_density_in(_CENTRE_BIAS_SIZE)
        count += 1
    return total / count
