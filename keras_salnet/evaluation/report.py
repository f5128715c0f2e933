"""Evaluations as one HTML page."""

import base64
import datetime
from pathlib import Path
from typing import NamedTuple

import cv2
import jinja2
import numpy as np

from keras_salnet import __version__
from keras_salnet.evaluation.box_plots import box_plots
from keras_salnet.evaluation.references import (
    CENTRE_BIAS,
    GAUSSIAN,
    HALVES,
    ONE_HUMAN,
    REFERENCES,
    SHUFFLED,
)
from keras_salnet.evaluation.results import versions
from keras_salnet.evaluation.scores import resized
from keras_salnet.evaluation.table import number
from keras_salnet.files import atomic
from keras_salnet.images.geometry import Placement, resample
from keras_salnet.images.visualize import difference, overlay
from keras_salnet.metrics.table import METRICS, OVERVIEW

_CONVENTIONS = {
    "mit": "metrics as in the code of the MIT saliency benchmark",
    "pysaliency": "metrics as in pysaliency and the MIT/Tuebingen benchmark",
}

_SUBJECTS = {"density": "where people look", "mask": "which objects stand out"}

_ROWS = {
    HALVES: "Half of the observers predict the other half. Roughly the ceiling; more observers "
    "would predict better.",
    ONE_HUMAN: "Each observer alone predicts all others.",
    CENTRE_BIAS: "The mean {truth} of {centre_bias}, whatever the image. Every model must beat it.",
    GAUSSIAN: "A Gaussian in the middle of the image, with a standard deviation of a quarter of "
    "each side: a centre bias without any data.",
    SHUFFLED: "The {truth} of another, random image: the floor.",
}

_PICTURE_SIDE = 320  # maximum, in pixels


def write_report(evaluations, predictors, path):
    """Write evaluations, with figures and example images, as one HTML page, atomically.

    The page needs no other file and no network, so it can be mailed or kept beside the model.

    Args:
        evaluations: list of `Evaluation`, one a dataset.
        predictors: model → function from an image's path to an (H, W) map, those that were
            evaluated; called again for the example images only.
        path: the HTML file.

    Raises:
        ValueError: `evaluations` is empty, a model lacks its predictor, or an example image cannot
            be read.
        FileNotFoundError: an example image no longer exists.
    """
    if not evaluations:
        raise ValueError("evaluations is empty; a report needs at least one.")
    for model in (model for evaluation in evaluations for model in evaluation.models):
        if model not in predictors:
            raise ValueError(f"predictors lacks {model!r}; pass all that were evaluated.")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_salnet.evaluation", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, interval=_interval)
    sections = [_section(count, e, predictors) for count, e in enumerate(evaluations, 1)]
    ramp = np.linspace(0, 1, 256)[None].repeat(12, axis=0)
    page = environment.get_template("report.html").render(
        sections=sections,
        subject=" and ".join(_SUBJECTS[truth] for truth in _union(map(_truths, evaluations))),
        models=_union(evaluation.models for evaluation in evaluations),
        datasets=_union([evaluation.dataset] for evaluation in evaluations),
        conventions=_union([e.convention] for e in evaluations if e.gaze_metrics),
        references=[row for row in REFERENCES if any(row in e.scores for e in evaluations)],
        all_metrics=METRICS,
        about_conventions=_CONVENTIONS,
        about_rows=_ROWS,
        difference_legend=_picture(difference(ramp, ramp[:, ::-1])),
        date=datetime.date.today(),
        version=__version__,
        versions=versions(),
    )
    with atomic(path) as draft:
        Path(draft).write_text(page, "utf-8")


def _section(count, evaluation, predictors):
    """What the page shows of one evaluation."""
    return {
        "id": f"dataset-{count}",
        "title": f"{evaluation.dataset}, {evaluation.split} split",
        "evaluation": evaluation,
        "truth": " and ".join(_truths(evaluation)),
        "convention": evaluation.convention if evaluation.gaze_metrics else "–",
        "few_metrics": _few_metrics(evaluation),
        "best": _best(evaluation),
        "figures": {
            metric: _figure(evaluation, metric, salt=f"{count} {metric}")
            for metric in evaluation.metrics
        },
        "examples": {
            model: _examples(evaluation, model, predictors[model]) for model in evaluation.models
        },
    }


def _union(lists):
    return list(dict.fromkeys(name for names in lists for name in names))


def _truths(evaluation):
    """Kinds of ground truth that predictions are scored against: keys of `_SUBJECTS`."""
    metrics = {"density": evaluation.gaze_metrics, "mask": evaluation.mask_metrics}
    return [truth for truth in _SUBJECTS if metrics[truth]]


def _few_metrics(evaluation):
    return [metric for metric in OVERVIEW if metric in evaluation.metrics]


def _number(value, digits=3, sign="-"):
    return number(value, digits, sign).replace("-", "−")


def _interval(estimate, digits=3, scale=1):
    low, high = (_number(scale * estimate[end], digits) for end in ("low", "high"))
    return f"{low} to {high}" if "−" in low else f"{low}–{high}"


def _best(evaluation):
    """Metric → the best of several models, ties included."""
    best = {}
    for metric in evaluation.metrics:
        sign = 1 if METRICS[metric].more_is_better else -1
        means = {
            model: sign * evaluation.summary[model][metric]["mean"]
            for model in evaluation.models
            if metric in evaluation.summary[model]
        }
        means = {model: mean for model, mean in means.items() if np.isfinite(mean)}
        if len(evaluation.models) > 1:
            best[metric] = [model for model in means if means[model] == max(means.values())]
    return best


# Figures


class _Figure(NamedTuple):
    svg: str
    alt: str


def _figure(evaluation, metric, salt):
    """Box plots of a metric in each row of scores, without the shuffled control.

    Its KL and IG would leave no room to tell the others apart.
    """
    columns = {
        row: scores[metric]
        for row, scores in evaluation.scores.items()
        if metric in scores and row != SHUFFLED
    }
    finite = {row: values[np.isfinite(values)] for row, values in columns.items()}
    medians = (
        f"{row} {_number(np.median(values) if len(values) else np.nan)}"
        for row, values in finite.items()
    )
    return _Figure(
        box_plots(columns, evaluation.models, salt),
        f"Box plots of {metric} over the images. Medians: {', '.join(medians)}.",
    )


# Examples


class _Picture(NamedTuple):
    uri: str
    width: int
    height: int


def _examples(evaluation, model, predict):
    """Title → images where the model's first overview metric is best, about median, and worst."""
    scores = evaluation.scores[model]
    few_metrics = _few_metrics(evaluation)
    ranking = few_metrics[0]
    order = np.argsort(-scores[ranking], kind="stable")
    best, middle, worst = np.array_split(order[~np.isnan(scores[ranking][order])], 3)
    start = max(0, len(middle) - 3) // 2
    groups = {
        f"Best by {ranking}": best[:3],
        f"Around the median by {ranking}": middle[start : start + 3],
        f"Worst by {ranking}": worst[-3:],
    }
    return {
        title: [
            {
                "name": evaluation.samples[number].name,
                "scores": {m: scores[m][number] for m in few_metrics if m in scores},
                "pictures": _pictures(evaluation.samples[number], predict),
            }
            for number in numbers
        ]
        for title, numbers in groups.items()
        if len(numbers)
    }


def _pictures(sample, predict):
    """Pictures of an image: title → `_Picture`."""
    image, points = sample.read_image(), sample.read_fixations()
    full = image.shape[:2]
    scale = min(1, _PICTURE_SIDE / max(full))
    size = tuple(max(1, round(scale * side)) for side in full)
    density = sample.read_density_in(size)
    saliency = resized(np.asarray(predict(sample.image), np.float64), size)
    saliency = saliency - min(0, saliency.min())
    image = resample(image, size).round().astype(np.uint8)
    shown = image.copy()
    eighths = 8 * Placement(full, size).points(points)  # OpenCV takes whole numbers
    for point in eighths.round().astype(int).tolist():
        for radius, colour in ((22, (0, 0, 0)), (15, (255, 255, 255))):
            cv2.circle(shown, point, radius, colour, cv2.FILLED, cv2.LINE_AA, shift=3)
    pictures = {
        "Image and fixations" if len(points) else "Image": shown,
        "Ground truth": overlay(image, density),
        "Prediction": overlay(image, saliency),
        "Difference": difference(saliency, density),
    }
    return {title: _picture(picture) for title, picture in pictures.items()}


def _picture(picture):
    """(H, W, 3) uint8 RGB as a JPEG within the page."""
    height, width = picture.shape[:2]
    quality = (cv2.IMWRITE_JPEG_QUALITY, 80)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    text = base64.b64encode(encoded).decode()
    return _Picture(f"data:image/jpeg;base64,{text}", width, height)
