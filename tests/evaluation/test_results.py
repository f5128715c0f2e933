"""JSON, CSV and tables: they hold what the evaluation found, and nothing else."""

import csv
import io
import json
import platform
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from keras_salnet.data import Sample
from keras_salnet.evaluation import write_csv, write_json
from keras_salnet.evaluation.references import REFERENCES
from keras_salnet.evaluation.table import tables
from keras_salnet.metrics.table import GAZE_METRICS, MASK_METRICS, METRICS

MIT = [metric for metric in METRICS if metric != "AUC"]
PYSALIENCY = [metric for metric in METRICS if metric != "AUC-Borji"]


def random_scores(rows, metrics, count=6):
    """Of both signs and several magnitudes, so that rounding would show."""
    random = np.random.default_rng(0)
    return {
        row: {metric: random.normal(0, 10.0 ** random.integers(-3, 2), count) for metric in metrics}
        for row in rows
    }


@pytest.fixture
def evaluation(make_evaluation):
    """Two models and the centre bias; one image lacks fixations, one has an IG of -inf."""
    scores = random_scores(("модель", "runs/vggrga", "split-half humans", "centre bias"), MIT)
    for columns in scores.values():
        for metric in set(columns) - {"KL", "CC", "SIM", "EMD"}:
            columns[metric][2] = np.nan
    scores["модель"]["IG"][4] = -np.inf
    del scores["split-half humans"]["EMD"]
    names = ("straße", "0,1", 'a "quoted" name', "写真", "new\nline", "plain")
    return make_evaluation(
        scores,
        ("модель", "runs/vggrga"),
        dataset="gemälde",
        dropped=7,
        seed=3,
        samples=[Sample(Path("folder") / f"{name}.jpg") for name in names],
    )


@pytest.fixture
def other(make_evaluation):
    """Of the other convention."""
    scores = random_scores(("модель", "shuffled control"), PYSALIENCY, 3)
    return make_evaluation(scores, ("модель",), convention="pysaliency", split="all")


# JSON


def read_strictly(path):
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def plain(value):
    """As JSON has it: null is missing, infinity a string."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, float) and np.isnan(value):
        return None
    return {np.inf: "Infinity", -np.inf: "-Infinity"}.get(value, value)


def test_json_holds_all_that_was_found(evaluation, other, tmp_path):
    write_json([evaluation, other], tmp_path / "scores.json")
    content = read_strictly(tmp_path / "scores.json")
    assert len(content["evaluations"]) == 2
    for found, expected in zip(content["evaluations"], (evaluation, other), strict=True):
        for name in ("dataset", "split", "convention", "seed", "centre_bias"):
            assert found[name] == getattr(expected, name)
        assert found["dropped_fixations"] == expected.dropped
        assert found["models"] == list(expected.models)
        assert found["images"] == [sample.name for sample in expected.samples]
        assert found["scores"] == plain(expected.scores)
        assert found["summary"] == plain(expected.summary)
        assert found["fractions"] == plain(expected.fractions)
        assert found["comparisons"] == [
            {"model": model, "other": other, "metrics": plain(metrics)}
            for (model, other), metrics in expected.comparisons.items()
        ]


def test_json_says_what_is_missing_and_what_is_infinite(evaluation, tmp_path):
    write_json([evaluation], tmp_path / "scores.json")
    (found,) = read_strictly(tmp_path / "scores.json")["evaluations"]
    gains = found["scores"]["модель"]["IG"]
    assert gains[2] is None
    assert gains[4] == "-Infinity"
    assert sum(isinstance(value, float) for value in gains) == 4
    assert found["summary"]["модель"]["IG"]["mean"] == "-Infinity"
    assert found["summary"]["модель"]["IG"]["n"] == 5
    (comparison,) = found["comparisons"]
    assert comparison["metrics"]["IG"]["difference"] == "-Infinity"
    assert comparison["metrics"]["IG"]["p"] is None


def test_json_tells_the_versions_and_is_read_by_people(evaluation, tmp_path):
    write_json([evaluation], tmp_path / "scores.json")
    versions = read_strictly(tmp_path / "scores.json")["versions"]
    assert versions["Python"] == platform.python_version()
    assert versions["numpy"] == np.__version__
    assert "keras-salnet" in versions
    text = (tmp_path / "scores.json").read_text("utf-8")
    assert "модель" in text
    assert text.count("\n") > 100


# CSV


def test_csv_holds_each_score_to_the_last_digit(evaluation, other, tmp_path):
    write_csv([evaluation, other], tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        lines = list(table)
    assert table.fieldnames == ["dataset", "split", "image", "row", *METRICS]
    found = {tuple(line.pop(key) for key in table.fieldnames[:4]): line for line in lines}
    assert len(found) == len(lines) == 6 * 4 + 3 * 2
    for scored in (evaluation, other):
        for number, sample in enumerate(scored.samples):
            for row, columns in scored.scores.items():
                line = found[scored.dataset, scored.split, sample.name, row]
                for metric, cell in line.items():
                    value = columns[metric][number] if metric in columns else np.nan
                    assert cell == "" if np.isnan(value) else float(cell) == value
    assert found["gemälde", "test", "new\nline", "модель"]["IG"] == "-inf"


def test_csv_has_the_columns_of_what_was_scored(other, tmp_path):
    write_csv([other], tmp_path / "scores.csv")
    header, *_ = (tmp_path / "scores.csv").read_text("utf-8").splitlines()
    assert header.split(",")[4:] == PYSALIENCY


# Files


@pytest.mark.parametrize("write", [write_json, write_csv])
def test_a_file_is_replaced_whole_or_not_at_all(
    write, evaluation, other, make_evaluation, tmp_path
):
    path = tmp_path / "new folder" / "scores"
    write([other], path)
    before = path.read_bytes()
    # A name that no UTF-8 has, in the last image: writing fails in the middle.
    bad = make_evaluation(
        {"model": {"CC": np.zeros(9)}},
        samples=[Sample(Path("a" * 10_000))] * 8 + [Sample(Path("\udcff"))],
    )
    with pytest.raises(UnicodeEncodeError):
        write([evaluation, bad], path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    write([evaluation], path)
    assert path.read_bytes() != before
    assert list(path.parent.iterdir()) == [path]


# Tables


def printed(evaluation):
    console = Console(width=80, file=io.StringIO())
    console.print(*tables(evaluation))
    return console.file.getvalue()


def realistic(make_evaluation, metrics, convention):
    """All rows and metrics, with the widest values there are: KL up to 36, IG and NSS below -10."""
    means = {"KL": 21, "EMD": 12, "NSS": -10.5, "IG": -31, "sAUC": 0.5}
    random = np.random.default_rng(1)
    scores = {
        row: {metric: random.normal(means.get(metric, 0.5), 1, 20) for metric in metrics}
        for row in ("one", "two", *REFERENCES)
    }
    return make_evaluation(scores, ("one", "two"), dataset="osie", convention=convention)


@pytest.mark.parametrize(("convention", "metrics"), [("mit", MIT), ("pysaliency", PYSALIENCY)])
def test_a_terminal_of_80_columns_shows_everything_whole(make_evaluation, convention, metrics):
    evaluation = realistic(make_evaluation, metrics, convention)
    text = printed(evaluation)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    words = text.split()
    for metric in metrics:
        assert words.count(metric) >= 2, metric
    for word in {*" ".join(REFERENCES).split(), "one", "two"}:
        assert word in words
    for columns in evaluation.summary.values():
        for estimate in columns.values():
            assert f"{estimate['mean']:.3f}" in words
    for estimate in evaluation.comparisons["one", "two"].values():
        assert f"p={estimate['p']:.2f}" in words


def test_the_title_says_what_was_scored_and_how(make_evaluation):
    text = printed(realistic(make_evaluation, MIT, "mit"))
    title = "osie, test split, 20 images, mit convention; mean ± half its 95 % interval"
    assert title in " ".join(text.split())


def test_a_cell_is_the_mean_and_half_the_interval(make_evaluation):
    values = np.random.default_rng(2).normal(3, 1, 400)
    text = printed(make_evaluation({"model": {"NSS": values}}))
    *_, mean, half, _ = text.splitlines()
    assert mean.split() == ["model", f"{values.mean():.3f}"]
    assert float(half.strip(" ±")) == pytest.approx(1.96 * values.std() / 20, abs=0.01)


def test_arrows_point_to_what_is_better(make_evaluation):
    text = printed(make_evaluation(random_scores(("model",), MIT)))
    header, arrows = text.splitlines()[2:4]
    assert header.split() == [metric for metric in MIT if metric in GAZE_METRICS]
    assert arrows.split() == list("↓↑↑↓↑↑↑↑↑")
    of_masks = text[text.index("MAE") :]
    header, arrows, *_ = of_masks.splitlines()
    assert header.split() == list(MASK_METRICS)
    assert arrows.split() == list("↓↑↑↑↑")


def test_missing_and_infinite_values_have_signs(make_evaluation):
    scores = {
        "model": {"NSS": [1, 2], "IG": [-np.inf, -np.inf]},
        "other": {"NSS": [3, 1], "IG": [-np.inf, -np.inf]},
        "split-half humans": {"NSS": [1, 2]},
    }
    text = printed(make_evaluation(scores, ("model", "other")))
    model = next(line for line in text.splitlines() if "model" in line and "1.5" in line)
    assert model.split() == ["model", "1.500", "−∞"]
    halves = next(line for line in text.splitlines() if "split-half humans" in line)
    assert halves.split()[2:] == ["1.500", "–"]
    assert "nan" not in text
    assert "inf" not in text


def test_tables_of_fractions_and_pairs_come_where_they_say_something(make_evaluation):
    scores = random_scores(("a", "b", "c"), ["CC"], 9)
    assert len(tables(make_evaluation(scores, ("a",)))) == 1
    assert len(tables(make_evaluation(scores, ("a", "b", "c")))) == 1 + 3
    rows = {"centre bias": {"CC": np.zeros(9)}, "split-half humans": {"CC": np.full(9, 0.5)}}
    model = {"CC": np.full(9, 0.4)}
    evaluation = make_evaluation({"model": model, **rows})
    assert len(tables(evaluation)) == 2
    words = printed(evaluation).split()
    assert "Normalised score: 0 % centre bias, 100 % split-half humans" in " ".join(words)
    assert "80" in words


@pytest.mark.parametrize(("difference", "shown"), [(1.0, "p<0.01"), (0.0, "p=1.00")])
def test_p_is_shown_in_two_digits(make_evaluation, difference, shown):
    column = np.random.default_rng(3).normal(0, 0.1, 30)
    scores = {"one": {"CC": column + difference}, "two": {"CC": column}}
    text = printed(make_evaluation(scores, ("one", "two")))
    assert "one minus two" in " ".join(text.split())
    assert f"{difference:+.3f}" in text
    assert shown in text.split()


def test_names_of_any_script_and_length_are_shown_whole(make_evaluation):
    names = ("модель", "顕著性", "runs/vggrga-osie-2024-with-a-long-name")
    scores = {name: {"CC": np.random.default_rng(n).random(5)} for n, name in enumerate(names)}
    text = printed(make_evaluation(scores, names))
    for name in names:
        assert name in text
