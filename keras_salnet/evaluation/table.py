"""Scores as tables in the terminal."""

import math

from rich import box
from rich.table import Table

from keras_salnet.evaluation.references import CENTRE_BIAS, HALVES
from keras_salnet.metrics.table import METRICS


def tables(evaluation):
    """An `Evaluation` as tables with a column a metric.

    Returns:
        List of `rich.table.Table`: the scores; where observers are known, the models' normalised
        scores; and the difference of each pair of models. ± is half of the 95 % interval. Metrics
        of gaze and metrics of masks have separate tables.
    """
    found = []
    for metrics, rules in (
        (evaluation.gaze_metrics, f"{evaluation.convention} convention"),
        (evaluation.mask_metrics, "against masks"),
    ):
        if not metrics:
            continue
        title = (
            f"{evaluation.dataset}, {evaluation.split} split, {len(evaluation.samples)} images, "
            f"{rules}; mean ± half its 95 % interval"
        )
        found.append(_table(title, metrics, evaluation.summary, _mean_cell))
        if any(metric in way for way in evaluation.fractions.values() for metric in metrics):
            title = f"Normalised score: 0 % {CENTRE_BIAS}, 100 % {HALVES}"
            found.append(_table(title, metrics, evaluation.fractions, _fraction_cell))
        for (model, other), comparison in evaluation.comparisons.items():
            title = f"{model} minus {other}, and p of a paired permutation test"
            found.append(_table(title, metrics, {"mean": comparison}, _difference_cell))
    return found


def _table(title, metrics, rows, cell):
    # Narrow: ten columns fit into 80 characters.
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("", overflow="fold")
    for metric in metrics:
        table.add_column(f"{metric}\n{METRICS[metric].arrow}", justify="right", no_wrap=True)
    for row, columns in rows.items():
        if columns.keys().isdisjoint(metrics):
            continue
        cells = ("\n".join(cell(columns[m])) if m in columns else "–" for m in metrics)
        table.add_row(row, *cells)
    return table


def _mean_cell(estimate):
    return number(estimate["mean"]), f"±{number(_half(estimate))}"


def _fraction_cell(estimate):
    return number(100 * estimate["fraction"], 0), f"±{number(100 * _half(estimate), 0)}"


def _difference_cell(estimate):
    p = estimate["p"]
    p = "–" if p is None else "p<0.01" if p < 0.01 else f"p={p:.2f}"
    return number(estimate["difference"], sign="+"), f"±{number(_half(estimate))}", p


def _half(estimate):
    return (estimate["high"] - estimate["low"]) / 2


def number(value, digits=3, sign="-"):
    """A float as tables show it: rounded, "−∞", or "–" for NaN; `sign` as in format strings."""
    if math.isfinite(value):
        return f"{value:{sign}z.{digits}f}"
    return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
