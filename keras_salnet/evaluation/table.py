"""Scores as a table in the terminal."""

from rich.table import Table


def summary_table(evaluation):
    """The means and standard errors of an `Evaluation`, the best of each column in bold.

    Returns:
        `rich.table.Table`.
    """
    from keras_salnet.evaluation.scores import METRICS

    summary = evaluation.summary()
    n = len(evaluation.images)
    table = Table(
        title=f"{evaluation.dataset}, {evaluation.split} split, {n} images, "
        f"{evaluation.convention} convention (mean ± standard error)"
    )
    table.add_column("")
    for metric, more_is_better in METRICS.items():
        table.add_column(f"{metric} {'↑' if more_is_better else '↓'}", justify="right")
    for row, columns in summary.items():
        table.add_row(row, *(_cell(columns[metric]) for metric in METRICS))
    return table


def _cell(value):
    if value["mean"] is None:
        return "–"
    error = "" if value["sem"] is None else f" ± {value['sem']:.3f}"
    return f"{value['mean']:.3f}{error}"
