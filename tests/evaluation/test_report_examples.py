"""Example images of the report."""

import itertools

import cv2
import numpy as np
import pytest
from report_pages import (
    Page,
    signed,
    spot,
)

from keras_salnet.evaluation import write_report

# matplotlib warns its caller of what it cannot draw.
pytestmark = pytest.mark.filterwarnings("error::UserWarning:keras_salnet")


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
