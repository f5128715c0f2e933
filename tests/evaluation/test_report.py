"""The report: a page that needs nothing else, and says what the evaluation found."""

import base64
import dataclasses
import datetime
import itertools
import platform
import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree.ElementTree import TreeBuilder

import cv2
import matplotlib
import numpy as np
import pytest

from keras_salnet.data import Sample
from keras_salnet.evaluation import write_report
from keras_salnet.metrics.table import MASK_METRICS, METRICS

# matplotlib warns its caller of what it cannot draw.
pytestmark = pytest.mark.filterwarnings("error::UserWarning:keras_salnet")

FEW = ("CC", "NSS", "KL")
HALVES, BIAS, SHUFFLED = "split-half humans", "centre bias", "shuffled control"
WAY = "normalised score (0 % centre bias, 100 % split-half humans)"
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
NAMES = [
    """<em>&lt;"'>""",
    "{{ 7*7 }}{% x %}",
    r"$x_1$ $\frac$",
    "%s {0} -->",
    "модель 写真 é",
    "हिन्दी",
]


# Pages as trees


class Page(HTMLParser):
    """Elements of a page; fails where tags are not balanced."""

    def __init__(self, path):
        super().__init__()
        self._tree, self._open = TreeBuilder(), []
        self.declarations = []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()
        assert not self._open
        self.root = self._tree.close()
        self.all = list(self.root.iter())

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), self.get_starttag_text()
        self._tree.start(tag, {name: value or "" for name, value in attributes})
        if tag in ("meta", "img"):
            self._tree.end(tag)
        else:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self._open, f"HTML ignores the slash of {self.get_starttag_text()}"
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert tag == self._open.pop(), self.getpos()
        self._tree.end(tag)

    def handle_data(self, data):
        self._tree.data(data)

    def handle_decl(self, declaration):
        self.declarations.append(declaration)

    def handle_pi(self, instruction):
        self.declarations.append(instruction)

    def find(self, **attributes):
        """The element with these attributes, of which there must be one."""
        wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
        (found,) = (element for element in self.all if wanted.items() <= element.attrib.items())
        return found

    def texts(self, tag):
        return [text(element) for element in self.root.iter(tag)]

    def table(self, title):
        return grid(self.find(role="region", aria_label=title))

    def figures(self):
        """Metric → (what stands for the figure to those who do not see it, its SVG)."""
        found = {}
        for drawing in self.root.iterfind(".//div[@class='plots']/figure"):
            caption, picture = drawing
            found[text(caption).split()[0]] = picture.get("aria-label"), picture.find("svg")
        return found

    def examples(self):
        """Model → title → name of the image → (its scores, label → picture)."""
        found = {}
        for element in self.all:
            if element.tag == "h3":
                model = text(element).removeprefix("Examples: ")
            elif element.tag == "h4":
                group = found.setdefault(model, {}).setdefault(text(element), {})
            elif element.get("class") == "example":
                name, *scores = map(text, element.find("figcaption"))
                assert name not in group
                pictures = {
                    text(figure.find("figcaption")): decoded(figure.find("img"))
                    for figure in element.iterfind(".//figure")
                }
                group[name] = scores, pictures
        return found


def text(element):
    return " ".join("".join(element.itertext()).split())


def pieces(element):
    """The texts of a cell that stand apart."""
    return [text for text in map(str.strip, element.itertext()) if text]


def grid(region):
    """[(what stands before the row, {what stands above the column: texts of the cell})]."""
    heads = [
        [text(cell) for cell in row for _ in range(int(cell.get("colspan", 1)))]
        for row in region.iterfind(".//thead/tr")
    ]
    columns = [" ".join(filter(None, column)) for column in zip(*heads, strict=True)]
    rows = []
    for row in region.iterfind(".//tbody/tr"):
        first, *cells = row
        assert (first.tag, first.get("scope")) == ("th", "row")
        rows.append((text(first), dict(zip(columns[1:], map(pieces, cells), strict=True))))
    return rows


def decoded(image):
    """The (H, W, 3) RGB of an <img>."""
    start, data = image.get("src").split(",")
    assert start == "data:image/jpeg;base64"
    data = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
    assert data[:3].tobytes() == b"\xff\xd8\xff"
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


# Evaluations, and what their cells should hold


def random_scores(rows, metrics, count=6, seed=0):
    """Of both signs and several magnitudes."""
    random = np.random.default_rng(seed)
    return {
        row: {metric: random.normal(0, 10.0 ** random.integers(-1, 2), count) for metric in metrics}
        for row in rows
    }


@pytest.fixture(scope="module")
def make(make_evaluation, tmp_path_factory):
    """As `make_evaluation`, of images that exist: grey, each of its own shade, all looked at."""
    folder = tmp_path_factory.mktemp("images")
    samples = []
    for number in range(30):
        path = folder / f"{number}.png"
        assert cv2.imwrite(str(path), np.full((40, 60, 3), 8 * number, np.uint8))
        samples.append(Sample(path, fixations=np.array([(29.5, 19.5)]), sigma=4))

    def make(scores, models=("model",), **options):
        evaluation = make_evaluation(scores, models, **options)
        return dataclasses.replace(evaluation, samples=samples[: len(evaluation.samples)])

    return make


def written(path, evaluations, predict=lambda path: np.eye(8)):
    """The page of some evaluations, whose models all predict the same."""
    models = [model for evaluation in evaluations for model in evaluation.models]
    write_report(evaluations, dict.fromkeys(models, predict), path)
    return Page(path)


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "page" / "report.html"
    return lambda *evaluations, **options: written(path, list(evaluations), **options)


def signed(value, digits=3):
    return f"{value:z.{digits}f}".replace("-", "−").replace("inf", "∞")


def interval(estimate, digits=3, scale=1):
    low, high = scale * estimate["low"], scale * estimate["high"]
    return (" to " if low < 0 else "–").join((signed(low, digits), signed(high, digits)))


def arrow(metric):
    return f"{metric} {METRICS[metric].arrow}"


def score_cells(evaluation, row, metrics):
    """Column → texts of a row of scores, of which none is missing or the best."""
    summary = evaluation.summary[row]
    return {
        arrow(m): [signed(summary[m]["mean"]), interval(summary[m])] if m in summary else ["–"]
        for m in metrics
    }


# Any page


@pytest.fixture(
    scope="module", params=["references alone", "a model", "masks", "models and datasets"]
)
def page(request, make, make_evaluation, tmp_path_factory):
    one, other, *_ = NAMES
    if request.param == "references alone":
        evaluations = [make_evaluation(random_scores((HALVES, BIAS, SHUFFLED), FEW), ())]
    elif request.param == "a model":
        evaluations = [make(random_scores((one, BIAS), FEW), (one,), dataset=other)]
    elif request.param == "masks":
        scores = random_scores((one, other, BIAS), MASK_METRICS)
        evaluations = [
            make(scores, (one, other), dataset=other),
            make({one: scores[one] | random_scores((one,), FEW)[one]}, (one,), dataset=one),
        ]
    else:
        evaluations = [
            make(random_scores((one, other, HALVES, BIAS), FEW), (one, other), dataset=one),
            make(random_scores((other, BIAS), ("CC", "IG")), (other,), dataset=one, split="val"),
            make(random_scores((one, BIAS), ("CC", "KL"), 1), (one,), dataset=other),
        ]
    return written(tmp_path_factory.mktemp("page") / "report.html", evaluations)


def test_a_page_is_well_formed(page):
    assert page.source.lstrip().startswith("<!DOCTYPE html>")
    assert len(page.declarations) == 1
    assert page.root.tag == "html"
    assert page.root.get("lang") == "en"
    (title,) = page.texts("title")
    assert text(page.root.find(".//h1")) in title
    levels = [int(tag[1]) for tag in (element.tag for element in page.all) if tag in HEADINGS]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) == 1, "no level is skipped"
    assert all(all(page.texts(tag)) for tag in HEADINGS)


def test_ids_are_unique_and_what_is_referred_to_is_there(page):
    ids = Counter(element.get("id") for element in page.all if "id" in element.attrib)
    assert set(ids.values()) == {1}
    links = [element.get("href") for element in page.root.iter("a")]
    assert links
    for element in page.all:
        for name, value in element.attrib.items():
            if name in ("href", "xlink:href"):
                assert value.removeprefix("#") in ids
            if name == "aria-labelledby":
                assert value in ids
    drawings = list(page.root.iter("svg"))
    assert drawings
    for drawing in drawings:
        own = {element.get("id") for element in drawing.iter()}
        used = {element.get("xlink:href", "#")[1:] for element in drawing.iter("use")}
        values = " ".join(value for element in drawing.iter() for value in element.attrib.values())
        clips = set(re.findall(r"url\(#(\w+)\)", values))
        assert used
        assert clips
        assert used | clips <= own, "another figure's may be of another size"


def test_a_page_needs_no_network_and_runs_nothing(page):
    tags = {element.tag for element in page.all}
    assert not tags & {"script", "link", "base", "iframe", "object", "embed", "form"}
    for element in page.all:
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name in ("src", "srcset", "href", "xlink:href", "data", "poster", "action"):
                assert value.startswith(("#", "data:image/jpeg;base64,"))
            assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", value))
    (style,) = page.texts("style")
    assert "url(" not in style
    assert "@import" not in style


def test_all_pictures_have_a_size_and_words(page):
    for image in page.root.iter("img"):
        assert image.get("alt")
        height, width, _ = decoded(image).shape
        assert (image.get("width"), image.get("height")) == (str(width), str(height))
        assert max(width, height) <= 320
    for drawing in page.root.iter("svg"):
        (holder,) = (element for element in page.all if drawing in element)
        assert holder.get("role") == "img"
        assert holder.get("aria-label").startswith("Box plots of ")


def test_the_contents_lead_to_all_parts(page):
    contents = page.find(aria_label="Contents")
    linked = [(link.get("href")[1:], text(link)) for link in contents.iter("a")]
    assert linked == [(head.get("id"), text(head)) for head in page.root.iter("h2")]


def test_a_page_follows_from_the_evaluation_whatever_the_style_of_other_figures(make, report):
    evaluation = make(random_scores(("model", BIAS), ("CC", "NSS")))
    first = report(evaluation).source
    style = {"text.usetex": True, "axes.formatter.use_mathtext": True, "boxplot.notch": True}
    with matplotlib.rc_context(style):
        assert report(evaluation).source == first


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


# Figures


@pytest.fixture
def drawn(make_evaluation, report):
    """Metric → (words, SVG) of an evaluation's figures."""
    return lambda scores: report(make_evaluation(scores, ())).figures()


def labels(drawing):
    return ["".join(element.itertext()) for element in drawing.iter("text")]


def boxes(drawing):
    """Of each row's box: (left, right), and whether it is a model's."""
    found = []
    for path in drawing.iter("path"):
        if kind := re.search(r"fill: (#5b94dd|#a3a9b2)", path.get("style", "")):
            x = [float(number) for number in re.findall(r"[ML] ([\d.]+)", path.get("d"))]
            found.append((min(x), max(x), kind[1] == "#5b94dd"))
    return found


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


# Names


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(make_evaluation, write_sample, report, name):
    other = f"{name}{name}"
    scores = random_scores((name, other, BIAS), ["CC"], 1)
    about = {"dataset": name, "samples": [write_sample(name, points=[(30, 20)])]}
    page = report(
        make_evaluation(scores, (name, other), **about),
        make_evaluation({BIAS: scores[BIAS]}, (), **about),
    )
    assert page.texts("h1") == [f"{name}, {other} on {name}"]
    assert page.texts("title") == [f"{name}, {other} on {name}: saliency evaluation"]
    title = f"{name}, test split"
    assert page.texts("h2")[1:3] == [title, title]
    assert page.examples()[name]["Best by CC"].keys() == {name}
    assert f"Image and fixations of {name}" in {image.get("alt") for image in page.root.iter("img")}
    assert [row for row, _ in page.table("Overview")][:2] == [name, other]
    labelled = [element.get("aria-label", "") for element in page.all]
    assert labelled.count(f"Scores on {title}") == 2
    assert f"Comparison of models on {title}" in labelled
    drawing = next(page.root.iter("svg"))
    (holder,) = (element for element in page.all if drawing in element)
    assert f"{other} {signed(scores[other]['CC'][0])}" in holder.get("aria-label")
    assert name in labels(drawing)
    assert "em" not in {element.tag for element in page.all}


# Examples


def chosen(page, model="model"):
    """Names of images, in a list for each title."""
    return {title: list(group) for title, group in page.examples()[model].items()}


def joined(groups):
    return list(itertools.chain(*groups.values()))


@pytest.mark.parametrize("count", [9, 10, 20])
def test_examples_are_the_best_the_worst_and_those_about_the_median(make, report, count):
    values = np.random.default_rng(count).permutation(np.linspace(-0.2, 0.9, count))
    evaluation = make({"model": {"CC": values, "KL": -values}})
    page = report(evaluation)
    order = [str(number) for number in np.argsort(-values)]
    found = chosen(page)
    assert list(found) == ["Best by CC", "Around the median by CC", "Worst by CC"]
    assert found["Best by CC"] == order[:3]
    assert found["Worst by CC"] == order[-3:]
    start = order.index(found["Around the median by CC"][0])
    assert found["Around the median by CC"] == order[start : start + 3]
    assert abs(start + 1 - (count - 1) / 2) <= 0.5
    for group in page.examples()["model"].values():
        for name, (scores, pictures) in group.items():
            value = values[int(name)]
            assert scores == [f"CC {signed(value)}", f"KL {signed(-value)}"]
            shade = pictures["Image and fixations"][0, 0]
            assert np.abs(shade - 8 * int(name)).max() <= 3


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_no_image_is_an_example_twice_and_few_images_all_are(make, report, count):
    values = np.random.default_rng(count).permutation(count) / 10
    groups = chosen(report(make({"model": {"CC": values}})))
    assert all(1 <= len(group) <= 3 for group in groups.values())
    assert len(groups) == min(count, 3)
    assert joined(groups) == [str(number) for number in np.argsort(-values)]


def test_images_without_a_cc_are_no_examples(make, report):
    values = [np.nan, 0.1, np.nan, 0.3, 0.2, np.nan]
    assert joined(chosen(report(make({"model": {"CC": values}})))) == ["3", "4", "1"]


def test_a_model_without_any_cc_has_no_examples(make, report):
    scores = {"a": {"CC": [np.nan] * 4, "NSS": [1] * 4}, "b": {"CC": [0.5] * 4, "NSS": [1] * 4}}
    page = report(make(scores, ("a", "b")))
    assert list(page.examples()) == ["b"]
    assert "Examples: a" not in page.texts("h3")


def test_each_model_predicts_its_own_examples_and_nothing_else(make, tmp_path):
    values = np.arange(30.0)
    evaluation = make({"up": {"CC": values}, "down": {"CC": -values}}, ("up", "down"))
    asked = {"up": [], "down": []}

    def predictor(model):
        def predict(path):
            asked[model].append(path)
            return np.eye(8)

        return predict

    unused = {"unused": lambda path: pytest.fail("it was not evaluated")}
    path = tmp_path / "report.html"
    write_report([evaluation], {model: predictor(model) for model in asked} | unused, path)
    page = Page(path)
    for model, paths in asked.items():
        names = joined(chosen(page, model))
        assert len(names) == 9
        assert [path.stem for path in paths] == names
        assert set(paths) <= {sample.image for sample in evaluation.samples}
    assert chosen(page, "up")["Best by CC"] == ["29", "28", "27"]
    assert chosen(page, "down")["Best by CC"] == ["0", "1", "2"]


# What is shown of an image

COLOUR = np.array((20, 40, 200))


@pytest.fixture
def shown(make_evaluation, write_sample, report):
    """Label → picture of an image of `COLOUR` with this gaze and predicted map."""

    def show(saliency, size=(480, 640), **gaze):
        sample = write_sample("image", size, **gaze)
        assert cv2.imwrite(str(sample.image), np.full((*size, 3), COLOUR[::-1], np.uint8))
        evaluation = make_evaluation({"model": {"CC": [0.5]}}, samples=[sample])
        page = report(evaluation, predict=lambda path: saliency)
        ((_, pictures),) = page.examples()["model"]["Best by CC"].values()
        return pictures

    return show


def spot(size, x, y):
    """A map that is high about one place, in shares of its sides."""
    rows, columns = np.indices(size)
    distance = np.hypot((columns + 0.5) / size[1] - x, (rows + 0.5) / size[0] - y)
    return np.exp(-((distance / 0.05) ** 2) / 2)


def is_near(colour, expected, tolerance=12):
    return np.abs(colour - expected).max() <= tolerance


def test_pictures_show_where_people_looked_and_where_the_model_thought(shown):
    # People at the left, predicted at the right.
    truth = np.uint8(255 * spot((480, 640), 0.25, 0.5))
    pictures = shown(spot((480, 640), 0.75, 0.5), density=truth, points=[(160, 240)])
    assert list(pictures) == ["Image and fixations", "Ground truth", "Prediction", "Difference"]
    assert {picture.shape for picture in pictures.values()} == {(240, 320, 3)}
    left, right, nowhere = (120, 80), (120, 240), (30, 160)
    yellow = 0.6 * np.array((252, 255, 164)) + 0.4 * COLOUR
    for label, peak, elsewhere in (("Ground truth", left, right), ("Prediction", right, left)):
        assert is_near(pictures[label][peak], yellow)
        assert is_near(pictures[label][elsewhere], COLOUR)
        assert is_near(pictures[label][nowhere], COLOUR)
    blue, red, white = (5, 48, 97), (103, 0, 31), (247, 247, 247)
    for place, colour in ((left, blue), (right, red), (nowhere, white)):
        assert is_near(pictures["Difference"][place], colour)


def test_a_fixation_is_a_white_dot_in_a_dark_ring(shown):
    pictures = shown(np.eye(8), points=[(160, 240), (520, 100)])
    picture = pictures["Image and fixations"]
    grey = picture.mean(axis=-1)
    for x, y in ((80, 120), (260, 50)):
        around = grey[y - 4 : y + 5, x - 4 : x + 5]
        assert around.max() > 200
        assert around.min() < 45
        centre = np.argwhere(around > 150).mean(axis=0)
        assert np.abs(centre - 4).max() <= 1
        grey[y - 16 : y + 17, x - 16 : x + 17] = COLOUR.mean()
    assert is_near(grey, COLOUR.mean(), 3), "nothing else is drawn"


def test_without_fixations_the_image_is_shown_as_it_is(shown):
    pictures = shown(np.eye(8), density=np.uint8(255 * np.eye(8)))
    assert list(pictures) == ["Image", "Ground truth", "Prediction", "Difference"]
    assert is_near(pictures["Image"], COLOUR, 3)


@pytest.mark.parametrize("size", [(12, 16), (60, 44), (960, 1280)])
def test_maps_of_another_size_than_the_image_are_laid_over_all_of_it(shown, size):
    truth = np.uint8(255 * spot(size, 0.75, 0.25))
    pictures = shown(np.float32(truth), density=truth)
    for label in ("Ground truth", "Prediction"):
        brightness = pictures[label].sum(axis=-1)
        y, x = np.mean(np.argwhere(brightness > 0.97 * brightness.max()), axis=0)
        assert abs(x - 240) < 6
        assert abs(y - 60) < 6
    assert is_near(pictures["Difference"], 247, 3)


def test_a_map_with_negative_values_is_shown_from_its_lowest(shown):
    saliency = spot((48, 64), 0.7, 0.3)
    saliency -= saliency.min()
    for label, picture in shown(saliency - 3, points=[(100, 100)]).items():
        assert is_near(picture, shown(saliency, points=[(100, 100)])[label], 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (240, 320)), ((960, 320), (320, 107)), ((3, 50), (3, 50)), ((1, 900), (1, 320))],
)
def test_large_images_are_made_smaller_and_small_ones_left(shown, size, expected):
    pictures = shown(np.eye(8), size=size, points=[(1, 1)])
    assert {picture.shape[:2] for picture in pictures.values()} == {expected}


def test_a_map_of_zeros_is_shown(shown):
    pictures = shown(np.zeros((48, 64)), points=[(100, 100)])
    assert is_near(pictures["Prediction"], COLOUR, 3)


# What was scored, and how


def test_settings_tell_how_each_dataset_was_scored(make_evaluation, report):
    first = make_evaluation(random_scores((BIAS,), ["CC"], 4), (), dropped=7, seed=3)
    second = make_evaluation(
        random_scores((BIAS,), ("CC", "EMD"), 5),
        (),
        dataset="other",
        split="all",
        convention="pysaliency",
        centre_bias="the other images",
    )
    page = report(first, second)
    one, two = "made, test split", "other, all split"
    assert dict(page.table("Settings")) == {
        "Split": {one: ["test"], two: ["all"]},
        "Images": {one: ["4"], two: ["5"]},
        "Convention": {one: ["mit"], two: ["pysaliency"]},
        "Seed": {one: ["3"], two: ["0"]},
        "Centre bias from": {one: ["3 training images"], two: ["the other images"]},
        "Fixations dropped": {one: ["7"], two: ["0"]},
        "EMD": {one: ["not computed"], two: ["computed"]},
    }
    _, introduction, *paragraphs = page.texts("p")
    assert "Convention mit:" in introduction
    assert "Convention pysaliency:" in introduction
    assert [about for about in paragraphs if "The centre bias is" in about] == [
        "4 images. The centre bias is the mean density of 3 training images. "
        "7 fixations outside their image were dropped.",
        "5 images. The centre bias is the mean density of the other images.",
    ]


def test_only_what_the_tables_hold_is_explained(make_evaluation, report):
    page = report(make_evaluation(random_scores((HALVES, BIAS), ("CC", "AUC")), ()))
    rows, _ = page.root.iter("dl")
    assert [text(term) for term in rows.iter("dt")] == [HALVES, BIAS, "CC", "AUC"]
    assert all(text(meaning) for meaning in rows.iter("dd"))
    assert "The mean density of 3 training images" in text(rows)


def test_the_versions_and_the_day_are_told(make_evaluation, report):
    page = report(make_evaluation(random_scores((BIAS,), ["CC"]), ()))
    *_, versions = page.root.iter("dl")
    found = dict(zip(*([text(e) for e in versions.iter(tag)] for tag in ("dt", "dd")), strict=True))
    assert found["Python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["keras-salnet"] in page.texts("p")[0]
    day = datetime.date.fromisoformat(page.root.find(".//time").get("datetime"))
    assert datetime.date.today() - day <= datetime.timedelta(1)


def test_people_and_the_centre_bias_make_a_page_without_models(make_evaluation, report):
    # Whose images are not even read: they do not exist.
    page = report(make_evaluation(random_scores((HALVES, BIAS), FEW), ()))
    assert page.texts("h1") == ["Baselines and human references on made"]
    assert page.texts("h3") == [
        "Scores",
        "Distribution over the images",
        "How to read the numbers",
        "Versions",
    ]
    assert not page.root.findall(".//img")


# The file


def test_a_page_is_replaced_whole_or_not_at_all(make, report, tmp_path):
    first = report(make(random_scores(("model", BIAS), ["CC"]))).source
    (path,) = (tmp_path / "page").iterdir()
    again = make(random_scores(("model", BIAS), ["CC"], seed=1))
    calls = []

    def fail_at_last(image):
        calls.append(image)
        if len(calls) == len(again.samples):
            raise OSError("the disk is gone")
        return np.eye(8)

    with pytest.raises(OSError, match="the disk is gone"):
        write_report([again], {"model": fail_at_last}, path)
    assert len(calls) == 6
    assert path.read_text("utf-8") == first
    assert list(path.parent.iterdir()) == [path]
    write_report([again], {"model": lambda image: np.eye(8)}, str(path))
    assert path.read_text("utf-8") != first
    assert list(path.parent.iterdir()) == [path]


def test_a_page_that_cannot_be_encoded_leaves_the_old_one(make_evaluation, report, tmp_path):
    first = report(make_evaluation(random_scores((BIAS,), ["CC"]), ())).source
    with pytest.raises(UnicodeEncodeError):
        report(make_evaluation(random_scores((BIAS,), ["CC"]), (), dataset="\udcff"))
    (path,) = (tmp_path / "page").iterdir()
    assert path.read_text("utf-8") == first


def test_without_an_evaluation_there_is_no_page(tmp_path):
    with pytest.raises(ValueError, match="evaluations is empty"):
        write_report([], {}, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_model_without_its_predictor_is_named(make_evaluation, tmp_path):
    evaluation = make_evaluation(random_scores(("one", "two"), ["CC"]), ("one", "two"))
    with pytest.raises(ValueError, match="predictors lacks 'two'"):
        write_report([evaluation], {"one": lambda path: np.eye(8)}, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_an_example_that_is_gone_is_named(make_evaluation, tmp_path, report):
    samples = [Sample(tmp_path / "gone.png")]
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        report(make_evaluation({"model": {"CC": [0.5]}}, samples=samples))


def test_a_page_is_small_enough_to_be_sent(make_evaluation, write_sample, report):
    samples = [write_sample(number, (480, 640), points=[(320, 240)]) for number in range(12)]
    for number, sample in enumerate(samples):
        gradients = np.outer(np.linspace(0, 255, 480), np.linspace(0.2, 1, 640))
        picture = np.stack([gradients, gradients[::-1], gradients[:, ::-1]], axis=-1)
        assert cv2.imwrite(str(sample.image), np.uint8(np.roll(picture, number, axis=-1)))
    evaluation = make_evaluation(random_scores(("model", BIAS), METRICS, 12), samples=samples)
    page = report(evaluation, predict=lambda path: spot((480, 640), 0.3, 0.6))
    assert len(page.root.findall(".//img")) == 9 * 4 + 1
    assert len(page.source.encode()) < 1.5e6
