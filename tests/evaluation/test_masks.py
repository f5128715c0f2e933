"""Scoring against masks: against pysodmetrics on whole datasets, and by its promises."""

import csv
import importlib.util
import io
import json

import cv2
import numpy as np
import pytest
from rich.console import Console

from keras_salnet import metrics
from keras_salnet.data import Dataset, Sample
from keras_salnet.evaluation import evaluate, write_csv, write_json, write_report
from keras_salnet.evaluation.table import tables
from keras_salnet.metrics.table import GAZE_METRICS, MASK_METRICS

SIZES = ((40, 60), (36, 36), (50, 32), (24, 64), (61, 47))
FRAME = (96, 128)


@pytest.fixture
def write_masked(tmp_path):
    def write(count, first=0, **known):
        """Samples of several sizes with the mask of an ellipse, and what else is known."""
        samples = []
        for number in range(first, first + count):
            random = np.random.default_rng(number)
            height, width = size = SIZES[number % len(SIZES)]
            image, mask = tmp_path / f"{number}.png", tmp_path / f"mask of {number}.png"
            assert cv2.imwrite(str(image), np.full((*size, 3), 8 * number, np.uint8))
            centre = random.uniform(0.3, 0.7, 2) * (width, height)
            axes = random.uniform(0.1, 0.3, 2) * (width, height)
            drawn = np.zeros(size, np.uint8)
            ellipse = centre.astype(int), axes.astype(int) + 1
            cv2.ellipse(drawn, *(part.tolist() for part in ellipse), 0, 0, 360, 255, cv2.FILLED)
            assert cv2.imwrite(str(mask), drawn)
            samples.append(Sample(image, mask=mask, **known))
        return samples

    return write


@pytest.fixture
def looked_at(write_masked):
    """Samples with fixations of three observers and masks."""
    points = np.random.default_rng(0).uniform(2, 22, (9, 2))
    return write_masked(4, fixations=points, observer=np.arange(9) % 3, sigma=3.0)


def of(samples, **splits):
    return Dataset("made", {**splits, "test": samples})


def noise(image):
    """A coarse map, the same whenever this image is asked for; of an odd scale."""
    return 7 * np.random.default_rng(int(image.stem)).random((20, 30)) - 3


def noise_of_its_size(image):
    height, width = cv2.imread(str(image)).shape[:2]
    random = np.random.default_rng(int(image.stem))
    return cv2.GaussianBlur(random.random((height, width)), (0, 0), 3) ** 2


def guess(sample):
    """The mask, blurred, and noise: about what a model finds."""
    blurred = cv2.GaussianBlur(np.float64(sample.read_mask()), (0, 0), 4)
    return blurred + 0.3 * np.random.default_rng(int(sample.name)).random(blurred.shape)


def guesses(samples):
    return {sample.image: guess(sample) for sample in samples}.__getitem__


# Against pysodmetrics


@pytest.mark.filterwarnings("ignore:This class will be removed:UserWarning")
@pytest.mark.parametrize("kind", ["noise", "guess"])
def test_pysodmetrics_gives_the_same_for_the_dataset(write_masked, kind):
    if importlib.util.find_spec("py_sod_metrics") is None:
        pytest.skip("pysodmetrics is not installed")
    import py_sod_metrics

    samples = write_masked(7)
    predict = noise_of_its_size if kind == "noise" else guesses(samples)
    sides = {
        "MAE": py_sod_metrics.MAE(),
        "F": py_sod_metrics.Fmeasure(),
        "Fw": py_sod_metrics.WeightedFmeasure(),
        "S": py_sod_metrics.Smeasure(),
        "E": py_sod_metrics.Emeasure(),
    }
    for sample in samples:
        for side in sides.values():
            side.step(predict(sample.image), cv2.imread(str(sample.mask), cv2.IMREAD_GRAYSCALE))
    results = {name: side.get_results() for name, side in sides.items()}
    expected = {
        "MAE": results["MAE"]["mae"],
        "maxF": results["F"]["fm"]["curve"].max(),
        "Fw": results["Fw"]["wfm"],
        "S": results["S"]["sm"],
        "maxE": results["E"]["em"]["curve"].max(),
    }
    summary = evaluate(predict, of(samples)).summary["model"]
    found = {metric: estimate["mean"] for metric, estimate in summary.items()}
    assert list(found) == list(MASK_METRICS)
    for metric in MASK_METRICS:
        assert found[metric] == pytest.approx(expected[metric], abs=1e-6), metric


# What a row is


def test_an_image_has_the_f_measure_of_the_threshold_that_is_best_for_the_dataset(write_masked):
    samples = write_masked(5)
    predict = guesses(samples)
    scores = evaluate(predict, of(samples)).scores["model"]
    for metric, curve in (("maxF", metrics.f_measure_curve), ("maxE", metrics.e_measure_curve)):
        curves = np.stack([curve(predict(s.image), s.read_mask()) for s in samples])
        best = curves.mean(axis=0).argmax()
        assert scores[metric].tolist() == curves[:, best].tolist()
        assert scores[metric].mean() < curves.max(axis=1).mean(), "not each image's own"


def test_predictions_are_resized_and_masks_never(write_masked):
    samples = write_masked(3)
    found = evaluate(noise, of(samples)).scores["model"]
    for number, sample in enumerate(samples):
        mask = sample.read_mask()
        height, width = mask.shape
        shrunk = cv2.resize(noise(sample.image), (30, 20), interpolation=cv2.INTER_AREA)
        grown = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
        assert found["S"][number] == pytest.approx(metrics.s_measure(grown, mask), abs=1e-9)
        assert found["MAE"][number] == pytest.approx(metrics.mean_absolute_error(grown, mask))


def test_the_scale_of_a_prediction_says_nothing(write_masked):
    dataset = of(write_masked(3))
    one = evaluate(noise, dataset).scores["model"]
    other = evaluate(lambda image: 0.01 * noise(image) + 5, dataset).scores["model"]
    for metric, values in one.items():
        np.testing.assert_allclose(values, other[metric], atol=1e-6, err_msg=metric)


def test_the_truth_is_the_best_of_all_rows(write_masked):
    samples = write_masked(6)
    truth = {sample.image: sample.read_mask() for sample in samples}
    summary = evaluate(truth.__getitem__, of(samples)).summary
    means = {row: {m: v["mean"] for m, v in columns.items()} for row, columns in summary.items()}
    assert list(means) == ["model", "centre bias", "Gaussian centre", "shuffled control"]
    ours = means.pop("model")
    assert ours["MAE"] == 0
    for metric in ("maxF", "Fw", "S"):
        assert ours[metric] == pytest.approx(1)
    for row, others in means.items():
        for metric, entry in MASK_METRICS.items():
            assert (ours[metric] > others[metric]) == entry.more_is_better, (row, metric)


def bias_of(samples):
    """The mean of these masks in a small frame."""
    width_height = FRAME[::-1]
    planes = []
    for sample in samples:
        white = np.float64(sample.read_mask())
        height, width = white.shape
        smaller = min(width, FRAME[1]), min(height, FRAME[0])
        shrunk = cv2.resize(white, smaller, interpolation=cv2.INTER_AREA)
        planes.append(cv2.resize(shrunk, width_height, interpolation=cv2.INTER_LINEAR))
    return np.mean(planes, axis=0)


def scored_bias(bias, sample):
    mask = sample.read_mask()
    shrunk = cv2.resize(bias, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    return metrics.s_measure(shrunk, mask)


def test_the_centre_bias_is_the_mean_of_the_training_masks_whatever_their_areas(write_masked):
    training, samples = write_masked(4), write_masked(3, first=4)
    evaluation = evaluate({}, of(samples, train=training))
    assert evaluation.centre_bias == "4 training images"
    expected = [scored_bias(bias_of(training), sample) for sample in samples]
    np.testing.assert_allclose(evaluation.scores["centre bias"]["S"], expected, atol=1e-6)


def test_where_no_training_image_has_a_mask_each_scored_image_is_left_out(write_masked):
    samples = write_masked(4)
    expected = [scored_bias(bias_of([s for s in samples if s is not one]), one) for one in samples]
    found = evaluate({}, of(samples)).scores["centre bias"]["S"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_another_image_is_the_mask_of_another(write_masked):
    pair = write_masked(2)
    masks = [sample.read_mask() for sample in pair]
    found = evaluate({}, of(pair)).scores["shuffled control"]["MAE"]
    for value, mask, other in zip(found, masks, masks[::-1], strict=True):
        shape = tuple(np.minimum(mask.shape, other.shape))[::-1]
        shrunk = cv2.resize(np.float64(other), shape, interpolation=cv2.INTER_AREA)
        grown = cv2.resize(shrunk, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        assert value == pytest.approx(metrics.mean_absolute_error(grown, mask))
    assert "shuffled control" not in evaluate(noise, of(pair[:1])).scores


# Gaze and masks


def test_where_both_are_known_both_are_scored_and_neither_changes_the_other(looked_at):
    both = evaluate(noise_of_its_size, of(looked_at))
    masks = evaluate(noise_of_its_size, of([Sample(s.image, mask=s.mask) for s in looked_at]))
    gaze = evaluate(
        noise_of_its_size,
        of([Sample(s.image, None, s.fixations, s.observer, s.sigma) for s in looked_at]),
    )
    assert both.metrics == gaze.metrics + masks.metrics
    assert both.gaze_metrics == gaze.metrics
    assert both.mask_metrics == masks.metrics == list(MASK_METRICS)
    for row, columns in both.scores.items():
        for metric, values in columns.items():
            alone = gaze if metric in GAZE_METRICS else masks
            assert np.array_equal(values, alone.scores[row][metric]), (row, metric)
    assert both.scores["split-half humans"].keys() == set(gaze.metrics)


def test_where_some_images_lack_a_mask_the_others_are_scored(looked_at):
    lacking = Sample(looked_at[1].image, fixations=looked_at[1].fixations, sigma=3.0)
    some = [looked_at[0], lacking, *looked_at[2:]]
    found = evaluate(noise_of_its_size, of(some))
    expected = evaluate(noise_of_its_size, of([s for s in some if s is not lacking]))
    for metric in MASK_METRICS:
        values = found.scores["model"][metric]
        assert np.isnan(values).tolist() == [False, True, False, False]
        assert np.array_equal(values[[0, 2, 3]], expected.scores["model"][metric])
        assert not np.isnan(found.scores["shuffled control"][metric][[0, 2, 3]]).any()
    assert found.summary["model"]["S"]["n"] == 3
    assert found.summary["model"]["CC"]["n"] == 4


def test_scores_do_not_depend_on_the_workers(looked_at):
    one, two = (evaluate(noise_of_its_size, of(looked_at), workers=n).scores for n in (1, 2))
    for row, columns in one.items():
        for metric, values in columns.items():
            assert np.array_equal(values, two[row][metric])


def test_a_map_without_a_score_is_told_with_its_image_and_model(write_masked):
    (sample,) = write_masked(1)
    with pytest.raises(ValueError, match=r"0\.png: cannot score the map of bad: .*NaN"):
        evaluate({"bad": lambda image: np.full((4, 4), np.nan)}, of([sample]))


# Tables and files


def printed(evaluation):
    console = Console(width=80, file=io.StringIO())
    console.print(*tables(evaluation))
    return console.file.getvalue()


def test_masks_alone_leave_no_trace_of_gaze(write_masked, tmp_path):
    samples = write_masked(4)
    predictors = {"one": noise, "two": guesses(samples)}
    evaluation = evaluate(predictors, of(samples))
    text = printed(evaluation)
    write_json([evaluation], tmp_path / "scores.json")
    write_csv([evaluation], tmp_path / "scores.csv")
    write_report([evaluation], predictors, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "made, test split, 4 images, against masks; mean" in " ".join(text.split())
    assert len(tables(evaluation)) == 2  # the scores, and one minus two
    assert "convention" not in text
    assert "Convention <code>" not in page
    for metric in GAZE_METRICS:
        assert metric not in text.split()
        assert f'<th scope="col">{metric} ' not in page
    assert "split-half humans" not in text
    for metric in MASK_METRICS:
        assert metric in text.split()
        assert f'<th scope="col">{metric} ' in page
        assert f"<dt>{metric}</dt>" in page
    assert "which objects stand out" in page
    assert "where people look" not in page
    assert "The mean mask of the other images" in page
    assert "Best by S" in page
    (found,) = json.loads((tmp_path / "scores.json").read_text())["evaluations"]
    assert found["scores"]["two"].keys() == MASK_METRICS.keys()
    assert found["summary"]["two"] == evaluation.summary["two"]
    with open(tmp_path / "scores.csv", newline="") as file:
        table = csv.DictReader(file)
        assert table.fieldnames == ["dataset", "split", "image", "row", *MASK_METRICS]
        assert len(list(table)) == 4 * 5


def test_gaze_and_masks_are_both_shown(looked_at, tmp_path):
    evaluation = evaluate(noise_of_its_size, of(looked_at))
    text = printed(evaluation)
    assert "…" not in text
    gaze, masks = text.split("against masks")
    assert "mit convention" in gaze
    assert "split-half humans" in " ".join(gaze.split())
    assert "half" not in masks.split("interval")[1], "people find no masks"
    assert set(evaluation.gaze_metrics) <= set(gaze.split())
    assert set(MASK_METRICS) <= set(masks.split())
    write_report([evaluation], {"model": noise_of_its_size}, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    for metric in evaluation.metrics:
        assert f'<th scope="col">{metric} ' in page
    assert "where people look and which objects stand out" in page
    assert "The mean density and mask of" in page
    assert "Best by CC" in page
