"""Figures of the report: box plots of the scores."""

import re

import numpy as np
import pytest
from report_pages import (
    BIAS,
    HALVES,
    SHUFFLED,
    boxes,
    labels,
    random_scores,
    signed,
)

# matplotlib warns its caller of what it cannot draw.
pytestmark = pytest.mark.filterwarnings("error::UserWarning:keras_salnet")


@pytest.fixture
def drawn(make_evaluation, report):
    """Metric → (words, SVG) of an evaluation's figures."""
    return lambda scores: report(make_evaluation(scores, ())).figures()


def test_a_figure_shows_how_the_scores_of_each_row_are_distributed(make, report):
    scores = random_scores(("b", "a", HALVES, BIAS, SHUFFLED), ("CC", "KL"), 20)
    scores["a"]["CC"][3] = np.nan
    figures = report(make(scores, ("b", "a"))).figures()
    assert list(figures) == ["KL", "CC"]
    for metric, (words, drawing) in figures.items():
        columns = {
            row: columns[metric][~np.isnan(columns[metric])]
            for row, columns in scores.items()
            if row != SHUFFLED
        }
        medians = ", ".join(f"{row} {signed(np.median(c))}" for row, c in columns.items())
        assert words == f"Box plots of {metric} over the images. Medians: {medians}."
        assert [label for label in labels(drawing) if label in scores] == list(columns)
        *ends, of_models = zip(*boxes(drawing), strict=True)
        assert of_models == (True, True, False, False)
        quartiles = [np.quantile(values, [0.25, 0.75]) for values in columns.values()]
        places, values = np.transpose(ends).ravel(), np.ravel(quartiles)
        slope, start = np.polyfit(values, places, 1)
        assert slope > 0
        np.testing.assert_allclose(start + slope * values, places, atol=1e-3)


def test_infinite_scores_are_counted_beside_the_box(drawn):
    infinity = np.inf
    values = {"IG": [-infinity, 1, -infinity, 2, 3], "KL": [0, 1, infinity, 2, 3]}
    figures = drawn({HALVES: values, BIAS: {"IG": [0, 1, 2, 3, 4], "KL": [0, 1, 2, 3, 4]}})
    for metric, sign in (("IG", "−∞ in 2"), ("KL", "∞ in 1")):
        _, drawing = figures[metric]
        assert [label for label in labels(drawing) if "∞" in label] == [sign]
        assert len(boxes(drawing)) == 2
    assert f"{HALVES} 2.000" in figures["IG"][0], "the median of those that are finite"


@pytest.mark.parametrize(
    "values",
    [[0.5], [0.5] * 4, [0] * 4, [-np.inf] * 4, [np.inf, -np.inf], [np.nan] * 4, [np.nan, 1, 1]],
)
def test_scores_without_a_distribution_are_drawn_too(drawn, values):
    rows = {HALVES: {"CC": values}, BIAS: {"CC": values}}
    finite = [value for value in values if np.isfinite(value)]
    (words, drawing), *_ = drawn(rows).values()
    assert words.endswith(f"{BIAS} {signed(finite[0]) if finite else '–'}.")
    assert {HALVES, BIAS} <= set(labels(drawing))


def test_a_long_name_leaves_room_for_the_boxes(make, report):
    name = "runs/vggrga-osie-2024-with-a-long-name-" * 2
    page = report(make(random_scores((name, BIAS), ["CC"]), (name,)))
    _, drawing = page.figures()["CC"]
    assert max(map(len, labels(drawing))) <= 18
    assert page.table("Scores on made, test split")[0][0] == name


def test_the_text_of_figures_has_the_colour_of_the_page(make, report):
    page = report(make(random_scores(("model", BIAS), ["CC"])))
    (rule,) = re.findall(r"\.plots svg text \{([^}]*)\}", page.source)
    assert "fill: currentColor !important" in rule
