"""Tables of the report: scores, comparisons, the best model and the overview."""

import numpy as np
import pytest
from report_pages import (
    BIAS,
    FEW,
    HALVES,
    SHUFFLED,
    WAY,
    arrow,
    grid,
    interval,
    random_scores,
    score_cells,
    signed,
    text,
)

from keras_salnet.metrics.table import METRICS

# matplotlib warns its caller of what it cannot draw.
pytestmark = pytest.mark.filterwarnings("error::UserWarning:keras_salnet")


# Tables


def test_each_mean_and_interval_stands_in_its_row_and_column(make_evaluation, report):
    scores = random_scores((HALVES, BIAS, SHUFFLED), METRICS)
    for metric in ("EMD", "sAUC"):
        del scores[HALVES][metric]
    evaluation = make_evaluation(scores, ())
    assert report(evaluation).table("Scores on made, test split") == [
        (row, score_cells(evaluation, row, METRICS)) for row in (HALVES, BIAS, SHUFFLED)
    ]


def test_models_stand_above_people_and_these_above_the_centre_bias(make, report):
    rows = (SHUFFLED, BIAS, HALVES, "second", "first")
    evaluation = make(random_scores(rows, ["CC"]), ("first", "second"))
    table = report(evaluation).table("Scores on made, test split")
    order = [row for row, _ in table if row != WAY]
    assert order == ["first", "second", HALVES, BIAS, SHUFFLED]


def test_numbers_have_three_decimals_and_a_minus(make_evaluation, report):
    values = {"KL": [2, 2], "CC": [-0.00004, -0.00004], "NSS": [-1.25, -1.25], "IG": [-1, 12.3456]}
    ((_, cells),) = report(make_evaluation({BIAS: values}, ())).table("Scores on made, test split")
    assert cells == {
        "KL ↓": ["2.000", "2.000–2.000"],
        "CC ↑": ["0.000", "0.000–0.000"],
        "NSS ↑": ["−1.250", "−1.250 to −1.250"],
        "IG ↑": ["5.673", "−1.000 to 12.346"],
    }


def test_missing_and_infinite_scores_have_signs(make_evaluation, report):
    nan, infinity = np.nan, np.inf
    scores = {
        HALVES: {"KL": [1, 1, 1], "CC": [nan, nan, nan], "IG": [2, -infinity, 2]},
        BIAS: {"KL": [infinity] * 3, "NSS": [3, nan, 3], "IG": [-infinity] * 3},
    }
    table = report(make_evaluation(scores, ())).table("Scores on made, test split")
    assert table == [
        (
            HALVES,
            {
                "KL ↓": ["1.000", "1.000–1.000"],
                "CC ↑": ["–"],
                "NSS ↑": ["–"],
                "IG ↑": ["−∞", "−∞ to 2.000"],
            },
        ),
        (
            BIAS,
            {
                "KL ↓": ["∞", "∞–∞"],
                "CC ↑": ["–"],
                "NSS ↑": ["3.000", "3.000–3.000", "2 images"],
                "IG ↑": ["−∞", "−∞ to −∞"],
            },
        ),
    ]


def test_fractions_stand_below_their_model(make, report):
    random = np.random.default_rng(0)
    means = {BIAS: 0, "good": 1.1, "poor": -0.1, "unlike": 0.5, HALVES: 1}
    scores = {
        row: {
            "CC": random.normal(mean, 0.3, 9),
            "NSS": np.arange(9),  # the same in all rows: there is no way between them
            "KL": random.normal(5 - 2 * mean, 0.3, 9),
        }
        for row, mean in means.items()
    }
    scores["unlike"] = {"NSS": scores["unlike"]["NSS"]} | {"CC": np.full(9, np.nan)}
    evaluation = make(scores, ("good", "poor", "unlike"))
    table = report(evaluation).table("Scores on made, test split")
    assert [row for row, _ in table] == ["good", WAY, "poor", WAY, "unlike", HALVES, BIAS]
    for place, model in ((1, "good"), (3, "poor")):
        fractions = evaluation.fractions[model]
        assert set(fractions) == {"CC", "KL"}
        expected = {
            arrow(metric): [f"{signed(100 * found['fraction'], 0)} %", interval(found, 0, 100)]
            for metric, found in fractions.items()
        }
        assert table[place][1] == expected | {"NSS ↑": ["–"]}
    assert table[1][1]["CC ↑"][0] > "100 %"
    assert table[3][1]["CC ↑"][0].startswith("−")


def test_each_pair_of_models_is_compared(make, report):
    models = ("a", "b", "c")
    scores = random_scores((*models, BIAS), ("CC", "NSS"), 9)
    scores["b"]["CC"] += 20
    del scores["c"]["NSS"]
    evaluation = make(scores, models)
    table = report(evaluation).table("Comparison of models on made, test split")
    assert [row for row, _ in table] == ["a minus b", "a minus c", "b minus c"]
    for (_, cells), compared in zip(table, evaluation.comparisons.values(), strict=True):
        expected = {
            arrow(metric): [
                f"{found['difference']:+.3f}".replace("-", "−"),
                interval(found),
                f"p = {found['p']:.2g}",
            ]
            for metric, found in compared.items()
        }
        assert cells == {"NSS ↑": ["–"]} | expected
    assert table[0][1]["CC ↑"][2] == "p = 0.0039", "2 of the 512 choices of signs"


def test_differences_of_infinite_scores_have_signs(make, report):
    infinite, some = [-np.inf] * 3, [1, -np.inf, 1]
    scores = {
        "a": {"CC": [0, 0, 0], "NSS": infinite, "IG": infinite},
        "b": {"CC": [0, 0, 0], "NSS": infinite, "IG": [0, 0, 0]},
        "c": {"CC": [0, 0, 0], "NSS": some, "IG": some},
    }
    page = report(make(scores, ("a", "b", "c")))
    table = dict(page.table("Comparison of models on made, test split"))
    assert table["a minus b"]["NSS ↑"] == ["–"]
    assert table["a minus b"]["IG ↑"][0] == "−∞"
    assert table["b minus c"]["NSS ↑"] == ["–"]
    assert table["b minus c"]["IG ↑"][0] == "∞"
    words = text(page.root.find("body"))
    assert "nan" not in words
    assert "––" not in words


def test_models_are_compared_only_where_there_are_several(make, report):
    page = report(make(random_scores(("model", BIAS), ["CC"])))
    assert "Model comparison" not in page.texts("h3")


# The best model


def best(page, title="Scores on made, test split"):
    """(row, column) of what is marked as best."""
    region = page.find(role="region", aria_label=title)
    for cell in region.iter("td"):
        assert (cell.get("class") == "best") == ("★" in text(cell))
    return {
        (row, column)
        for row, cells in grid(region)
        for column, found in cells.items()
        if "★" in found
    }


def test_the_best_model_has_the_highest_cc_and_the_lowest_kl(make, report):
    scores = {
        "a": {"KL": [2, 2], "CC": [0.5, 0.5], "NSS": [1, 3], "IG": [-np.inf, 5]},
        "b": {"KL": [1, 1], "CC": [0.4, 0.4], "NSS": [3, 1], "IG": [-3, -3]},
        "c": {"KL": [3, 3], "CC": [0.3, 0.3], "NSS": [0, 0]},
        BIAS: {"KL": [0, 0], "CC": [0.9, 0.9], "NSS": [9, 9], "IG": [9, 9]},
    }
    page = report(make(scores, ("a", "b", "c")))
    ties = {("a", "NSS ↑"), ("b", "NSS ↑")}
    assert best(page) == ties | {("b", "KL ↓"), ("a", "CC ↑"), ("b", "IG ↑")}
    stars = [element for element in page.all if element.get("aria-label") == "best model"]
    assert [text(star) for star in stars] == 5 * ["★"]
    assert "★ marks the best model" in text(page.root.find(".//caption"))


def test_none_is_best_where_none_has_a_score(make, report):
    scores = {model: {"CC": [np.nan, np.nan], "IG": [-np.inf, 0]} for model in ("a", "b")}
    assert best(report(make(scores, ("a", "b")))) == set()


def test_a_model_alone_is_not_the_best(make, report):
    page = report(make(random_scores(("model", BIAS), ["CC"])))
    assert "★" not in text(page.root.find("body"))


# Overview


def test_the_overview_has_all_models_on_all_datasets(make, make_evaluation, report):
    first = make(random_scores(("a", HALVES, BIAS), ("SIM", *FEW)), ("a",), dataset="first")
    second = make(random_scores(("b", "a", BIAS), ("CC", "KL"), seed=1), ("b", "a"), dataset="2nd")
    third = make_evaluation(random_scores((BIAS,), FEW, seed=2), (), dataset="3rd")
    page = report(first, second, third)
    assert page.texts("h1") == ["a, b on first, 2nd, 3rd"]
    table = dict(page.table("Overview"))
    assert list(table)[:2] == ["a", "b"]
    for row in ("a", "b", HALVES, BIAS):
        expected = {}
        for evaluation in (first, second, third):
            few = [metric for metric in FEW if metric in evaluation.metrics]
            has = row in evaluation.scores
            cells = score_cells(evaluation, row, few) if has else {arrow(m): ["–"] for m in few}
            title = f"{evaluation.dataset}, test split"
            expected |= {f"{title} {column}": found for column, found in cells.items()}
        stars = [cell.pop(0) for cell in table[row].values() if cell[0] == "★"]
        assert table[row] == expected
        assert not stars or row in ("a", "b")
    assert {column[:3] for _, column in best(page, "Overview")} == {"2nd"}


def test_one_dataset_needs_no_overview(make, report):
    page = report(make(random_scores(("model", BIAS), ["CC"])))
    assert "Overview" not in page.texts("h2") + page.texts("a")


def test_two_splits_of_a_dataset_have_parts_of_their_own(make, report):
    scores = random_scores(("model", BIAS), ["CC"])
    page = report(make(scores), make(scores, split="val"))
    assert page.texts("h1") == ["model on made"]
    assert page.texts("h2")[1:3] == ["made, test split", "made, val split"]
