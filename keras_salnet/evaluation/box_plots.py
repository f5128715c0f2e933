"""How scores are distributed over the images, as SVG for a page that is light or dark."""

import io
import re
import textwrap
import warnings

import numpy as np

from keras_salnet.evaluation.table import number

# Mid-tones that read on a light and on a dark page. Text takes the page's own colour.
_INK, _LINE, _MODEL, _REFERENCE = "#7a808a", "#9aa1ab66", "#5b94dd", "#a3a9b2"

_STYLE = {"svg.fonttype": "none", "text.parse_math": False, "font.size": 12}
_LINES = {"color": _INK}
_BOXES = {
    "orientation": "horizontal",
    "widths": 0.5,
    "whis": (5, 95),
    "showfliers": False,
    "showmeans": True,
    "patch_artist": True,
    "boxprops": {"edgecolor": _INK},
    "whiskerprops": _LINES,
    "capprops": _LINES,
    "medianprops": {"color": "#22262c", "linewidth": 2},
    "meanprops": {"marker": "D", "markersize": 5, "mfc": "#ffffff", "mec": "#22262c"},
}


def box_plots(columns, models, salt):
    """Draw horizontal box plots, one a row of scores.

    Args:
        columns: row → (n,) scores; NaN are left out, and infinite ones counted beside the box.
        models: names of the rows in the colour of models.
        salt: text that makes the figure's ids differ from those of the page's other figures.

    Returns:
        The ``<svg>`` element.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    finite = [values[np.isfinite(values)] for values in columns.values()]
    labels = ["\n".join(textwrap.wrap(row, 18, max_lines=2, placeholder="…")) for row in columns]
    with style.context(["default", _STYLE, {"svg.hashsalt": salt}]), warnings.catch_warnings():
        # Where matplotlib's font lacks a letter, the browser draws it.
        warnings.filterwarnings("ignore", "Glyph|Matplotlib currently does not support")
        figure = Figure(figsize=(4.7, 0.4 + 0.42 * len(columns)), layout="constrained")
        axes = figure.subplots()
        boxes = axes.boxplot(finite, tick_labels=labels, **_BOXES)["boxes"]
        for place, (row, box) in enumerate(zip(columns, boxes, strict=True), 1):
            box.set_facecolor(_MODEL if row in models else _REFERENCE)
            _count_infinite(axes, place, columns[row])
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="x", color=_LINE)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for patch in (figure.patch, axes.patch):
            patch.set_visible(False)
        return _svg(figure)


def _count_infinite(axes, place, values):
    """Write beside a box how many scores are infinite."""
    for infinity, x, side in ((-np.inf, 0.01, "left"), (np.inf, 0.99, "right")):
        if count := np.count_nonzero(values == infinity):
            axes.text(
                x,
                place - 0.3,
                f"{number(infinity)} in {count}",
                transform=axes.get_yaxis_transform(),
                ha=side,
                va="center",
                fontsize=10,
            )


def _svg(figure):
    """The figure as an element that can stand beside others in one page."""
    written = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", metadata=metadata)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg)  # would apply to the whole page
    return re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every figure, and never referred to
