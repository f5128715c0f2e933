"""Scores as a table in the terminal."""

from rich import box
from rich.table import Table

from keras_salnet.evaluation.scores import METRICS


def summary_table(evaluation):
    """The means and standard errors of an `Evaluation`: a line a metric, a column a row of scores.

    Returns:
        `rich.table.Table`.
    """
    summary = evaluation.summary()
    table = Table(
        title=f"{evaluation.dataset}, {evaluation.split} split, {len(evaluation.images)} images, "
        f"{evaluation.convention} convention\nmean ± standard error",
        box=box.SIMPLE,
    )
    table.add_column("")
    for row in summary:
        table.add_column(row, justify="right", overflow="fold")
    for metric, more_is_better in METRICS.items():
        cells = (_cell(columns[metric]) for columns in summary.values())
        table.add_row(f"{metric} {'↑' if more_is_better else '↓'}", *cells)
    return table


def _cell(value):
    if value["mean"] is None:
        return "–"
    error = "" if value["sem"] is None else f" ± {value['sem']:.3f}"
    return f"{value['mean']:.3f}{error}"
