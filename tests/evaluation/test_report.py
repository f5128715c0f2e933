"""The report: a page that needs nothing else, and says what the evaluation found."""

import datetime
import platform
import re
from collections import Counter

import cv2
import matplotlib
import numpy as np
import pytest
from report_pages import (
    BIAS,
    FEW,
    HALVES,
    HEADINGS,
    SHUFFLED,
    decoded,
    labels,
    random_scores,
    signed,
    spot,
    text,
    written,
)

from keras_salnet.data import Sample
from keras_salnet.evaluation import write_report
from keras_salnet.metrics.table import MASK_METRICS, METRICS

# matplotlib warns its caller of what it cannot draw.
pytestmark = pytest.mark.filterwarnings("error::UserWarning:keras_salnet")

NAMES = [
    """<em>&lt;"'>""",
    "{{ 7*7 }}{% x %}",
    r"$x_1$ $\frac$",
    "%s {0} -->",
    "модель 写真 é",
    "हिन्दी",
]


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
