"""Training curves."""

import csv
from pathlib import Path

from keras_salnet.files import atomic
from keras_salnet.metrics.table import METRICS

# Column of the history → title; training logs metrics by their lower-case names.
_TITLES = {"loss": "Loss", "f": "F-measure"} | {
    name.lower(): metric.title for name, metric in METRICS.items()
}


def plot_curves(history, path):
    """Draw the loss and metrics of a run, for training and validation.

    Args:
        history: the run's ``history.csv``.
        path: the PNG to write.
    """
    from matplotlib.figure import Figure

    with Path(history).open(newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) + 1 for row in rows]
    shown = {key: title for key, title in _TITLES.items() if key in rows[0]}
    figure = Figure(figsize=(10, 6), layout="constrained")
    for place, (key, title) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(2, 2, place)
        for name, label in ((key, "training"), (f"val_{key}", "validation")):
            axes.plot(epochs, [float(row[name]) for row in rows], marker="o", label=label)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic(path) as draft:
        figure.savefig(draft, dpi=120)
