"""An evaluation as a page for the browser."""

import base64
import datetime
import io
import re
import textwrap
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import jinja2
import numpy as np

from keras_salnet import __version__
from keras_salnet.evaluation.references import (
    CENTRE_BIAS,
    GAUSSIAN,
    HALVES,
    ONE_HUMAN,
    OTHER_IMAGE,
    REFERENCES,
)
from keras_salnet.evaluation.results import versions
from keras_salnet.evaluation.scores import METRICS, resized
from keras_salnet.evaluation.table import number
from keras_salnet.files import atomic
from keras_salnet.images.geometry import Placement, resample
from keras_salnet.images.visualize import difference, overlay

_CONVENTIONS = {
    "mit": "metrics as in the code of the MIT saliency benchmark",
    "pysaliency": "metrics as in pysaliency and the MIT/Tuebingen benchmark",
}

_SUBJECTS = {"density": "where people look", "mask": "which objects stand out"}

_ROWS = {
    HALVES: "Half of the observers predict the other half: about the ceiling, though not a strict "
    "one, as more observers would predict better.",
    ONE_HUMAN: "Each observer alone predicts all others.",
    CENTRE_BIAS: "Where people look, or objects are, whatever the image: the mean {truth} of "
    "{centre_bias}. What any model must beat.",
    GAUSSIAN: "A Gaussian in the middle of the image, its deviation a quarter of each side: a "
    "centre bias without any data.",
    OTHER_IMAGE: "The {truth} of another image, drawn at random: the floor.",
}

_METRICS = {
    "KL": "Kullback–Leibler divergence of the prediction from the ground truth; it costs most "
    "where people looked and the prediction says nothing.",
    "CC": "Linear correlation of prediction and ground truth.",
    "SIM": "The mass that both have in common.",
    "EMD": "Earth mover’s distance: how far the prediction’s mass must be moved.",
    "NSS": "The prediction at the fixations, in standard deviations above its mean.",
    "IG": "Information gained over the centre bias at the fixations, in bits.",
    "AUC": "How often the prediction is higher at a fixation than at any pixel.",
    "AUC-Judd": "How often the prediction is higher at a fixation than at another pixel.",
    "AUC-Borji": "The same, against random pixels.",
    "sAUC": "The same, against fixations of other images: a centre bias alone gains nothing.",
    "MAE": "Mean absolute error of the prediction, stretched to [0, 1], from the mask.",
    "maxF": "Precision and recall of the prediction cut at a threshold, as F-measure with "
    "β² = 0.3; at the threshold at which its mean over the images is highest.",
    "Fw": "F-measure without a threshold, its errors weighed by where they are.",
    "S": "Structure measure: the likeness of objects and of regions.",
    "maxE": "Enhanced alignment of the prediction cut at a threshold with the mask; at the "
    "threshold at which its mean over the images is highest.",
}

# What the overview of several datasets and the captions of examples hold; examples are ranked by
# the first that there is, in which more is better.
_FEW_METRICS = ("CC", "NSS", "KL", "S", "maxF", "MAE")

_PICTURE_SIDE = 320  # pixels at most

# Colours of figures, which matplotlib cannot leave to the page's style.
_INK, _LINE, _MODEL, _REFERENCE, _PAGE = _STAND_INS = [f"#00000{n}" for n in range(1, 6)]
_STYLED = ("currentColor", "var(--line)", "var(--model)", "var(--reference)", "var(--page)")


def write_report(evaluations, predictors, path):
    """Write what was found, with figures and example images, as one HTML page, atomically.

    The page needs no other file and no network: it can be sent by mail, or kept beside the model.

    Args:
        evaluations: list of `Evaluation`, one a dataset.
        predictors: model → function from an image's path to an (H, W) map, those that were
            evaluated; called anew for the example images alone.
        path: the HTML file.

    Raises:
        ValueError: there is no evaluation, or a model without its predictor; an example image
            cannot be read.
        FileNotFoundError: an example image is gone.
    """
    if not evaluations:
        raise ValueError("evaluations is empty; a report needs one at least.")
    for model in (model for evaluation in evaluations for model in evaluation.models):
        if model not in predictors:
            raise ValueError(f"predictors has no {model!r}; give those that were evaluated.")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_salnet.evaluation", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, interval=_interval)
    ramp = np.linspace(0, 1, 256)[None].repeat(12, axis=0)
    page = environment.get_template("report.html").render(
        sections=[
            {
                "id": f"dataset-{count}",
                "title": f"{evaluation.dataset}, {evaluation.split} split",
                "evaluation": evaluation,
                "truth": " and ".join(_truths(evaluation)),
                "convention": evaluation.convention if evaluation.gaze_metrics else "–",
                "few_metrics": _few_metrics(evaluation),
                "best": _best(evaluation),
                "figures": {
                    metric: _box_plots(evaluation, metric, salt=f"{count} {metric}")
                    for metric in evaluation.metrics
                },
                "examples": {
                    model: _examples(evaluation, model, predictors[model])
                    for model in evaluation.models
                },
            }
            for count, evaluation in enumerate(evaluations, 1)
        ],
        subject=" and ".join(_SUBJECTS[truth] for truth in _union(map(_truths, evaluations))),
        models=_union(evaluation.models for evaluation in evaluations),
        datasets=_union([evaluation.dataset] for evaluation in evaluations),
        conventions=_union([e.convention] for e in evaluations if e.gaze_metrics),
        references=[row for row in REFERENCES if any(row in e.scores for e in evaluations)],
        more_is_better=METRICS,
        about_conventions=_CONVENTIONS,
        about_rows=_ROWS,
        about_metrics=_METRICS,
        difference_legend=_picture(difference(ramp, ramp[:, ::-1])),
        date=datetime.date.today(),
        version=__version__,
        versions=versions(),
    )
    with atomic(path) as draft:
        Path(draft).write_text(page, "utf-8")


def _union(lists):
    return list(dict.fromkeys(name for names in lists for name in names))


def _truths(evaluation):
    """What predictions are scored against: some of `_SUBJECTS`."""
    metrics = {"density": evaluation.gaze_metrics, "mask": evaluation.mask_metrics}
    return [truth for truth in _SUBJECTS if metrics[truth]]


def _few_metrics(evaluation):
    return [metric for metric in _FEW_METRICS if metric in evaluation.metrics]


def _number(value, digits=3, sign="-"):
    return number(value, digits, sign).replace("-", "−")


def _interval(estimate, digits=3, scale=1):
    low, high = (_number(scale * estimate[end], digits) for end in ("low", "high"))
    return f"{low} to {high}" if "−" in low else f"{low}–{high}"


def _best(evaluation):
    """Metric → the best of several models, those that tie with it too."""
    best = {}
    for metric in evaluation.metrics:
        means = {
            model: evaluation.summary[model][metric]["mean"] * (1 if METRICS[metric] else -1)
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


def _box_plots(evaluation, metric, salt):
    """How a metric is distributed over the images, in each row of scores."""
    from matplotlib import style
    from matplotlib.figure import Figure

    # Another image's KL and IG would leave no room to tell the others apart.
    columns = {
        row: scores[metric]
        for row, scores in evaluation.scores.items()
        if metric in scores and row != OTHER_IMAGE
    }
    finite = [values[np.isfinite(values)] for values in columns.values()]
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,  # ids differ from those of the page's other figures
        "text.parse_math": False,
        "font.size": 12,
    }
    with style.context(["default", settings]), warnings.catch_warnings():
        # A name's letters may lack in matplotlib's font; the browser draws them.
        warnings.filterwarnings("ignore", "Glyph|Matplotlib currently does not support")
        figure = Figure(figsize=(4.7, 0.4 + 0.42 * len(columns)), layout="constrained")
        axes = figure.subplots()
        line = {"color": _INK}
        plots = axes.boxplot(
            finite,
            orientation="horizontal",
            tick_labels=[
                "\n".join(textwrap.wrap(row, 18, max_lines=2, placeholder="…")) for row in columns
            ],
            widths=0.5,
            whis=(5, 95),
            showfliers=False,
            showmeans=True,
            patch_artist=True,
            boxprops={"edgecolor": _INK},
            whiskerprops=line,
            capprops=line,
            medianprops={"color": _INK, "linewidth": 2},
            meanprops={"marker": "D", "markersize": 5, "mfc": _PAGE, "mec": _INK},
        )
        for place, (row, box) in enumerate(zip(columns, plots["boxes"], strict=True), 1):
            box.set_facecolor(_MODEL if row in evaluation.models else _REFERENCE)
            for infinity, x, side in ((-np.inf, 0.01, "left"), (np.inf, 0.99, "right")):
                if count := np.count_nonzero(columns[row] == infinity):
                    axes.text(
                        x,
                        place - 0.3,
                        f"{_number(infinity)} in {count}",
                        transform=axes.get_yaxis_transform(),
                        ha=side,
                        va="center",
                        fontsize=10,
                        color=_INK,
                    )
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="x", color=_LINE)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelcolor=_INK)
        for patch in (figure.patch, axes.patch):
            patch.set_visible(False)
        written = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg)  # would apply to the whole page
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every figure, and never referred to
    for stand_in, styled in zip(_STAND_INS, _STYLED, strict=True):
        svg = svg.replace(f": {stand_in}", f": {styled}")
    medians = (
        f"{row} {_number(np.median(values) if len(values) else np.nan)}"
        for row, values in zip(columns, finite, strict=True)
    )
    return _Figure(svg, f"Box plots of {metric} over the images. Medians: {', '.join(medians)}.")


# Examples


class _Picture(NamedTuple):
    uri: str
    width: int
    height: int


def _examples(evaluation, model, predict):
    """Title → images on which the model's CC is best, about its median, and worst; or its S."""
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
    """What is shown of an image: title → `_Picture`."""
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
