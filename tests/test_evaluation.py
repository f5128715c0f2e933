"""Evaluation against scores that are known."""

import dataclasses
import io

import cv2
import numpy as np
import pytest
from rich.console import Console

from keras_salnet import metrics
from keras_salnet.data import Dataset, Sample
from keras_salnet.data.density import fixation_density
from keras_salnet.evaluation import Evaluation, evaluate
from keras_salnet.evaluation.scores import METRICS, centre_bias, half_against_half, score
from keras_salnet.evaluation.table import summary_table

SIZE = (60, 80)


@pytest.fixture
def dataset(tmp_path):
    """Six images of one size, with random fixations and no density maps."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8))
        fixations = rng.uniform((0, 0), (80, 60), (20, 2))
        samples.append(Sample(path, fixations=fixations, sigma=5.0))
    return Dataset("six", {"train": samples[:4], "val": samples[4:]})


def test_the_truth_itself_has_the_best_scores(dataset):
    truth = {sample.image: sample.read_density(SIZE) for sample in dataset["val"]}
    evaluation = evaluate(truth.__getitem__, dataset)
    assert evaluation.split == "val"
    means = {m: value["mean"] for m, value in evaluation.summary()["model"].items()}
    assert means["KL"] == pytest.approx(0, abs=1e-9)
    assert means["CC"] == pytest.approx(1)
    assert means["SIM"] == pytest.approx(1)
    bias = evaluation.summary()["centre bias"]
    assert means["NSS"] > bias["NSS"]["mean"]
    assert means["AUC-Judd"] > bias["AUC-Judd"]["mean"]


def test_centre_bias_is_the_mean_of_the_training_densities(dataset):
    bias = centre_bias(dataset["train"])
    assert bias.sum() == pytest.approx(1)
    expected = np.mean(
        [
            fixation_density(
                (s.fixations + 0.5) * np.array([128 / 80, 96 / 60]) - 0.5, (96, 128), (8, 8)
            )
            for s in dataset["train"]
        ],
        axis=0,
    )
    np.testing.assert_allclose(bias, expected, rtol=1e-5)


def test_the_prediction_is_resized_and_never_the_truth():
    density = fixation_density([[40, 30]], SIZE, 6)
    coarse = fixation_density([[19.75, 14.75]], (30, 40), 3)
    scores = score(coarse, SIZE, density, np.array([[40.0, 30.0]]))
    assert scores["CC"] > 0.99
    assert scores["NSS"] > 3


def test_images_without_fixations_are_left_out_of_the_mean():
    evaluation = Evaluation(
        "three", "val", "mit", ["a", "b", "c"], {"m": {"NSS": np.array([1.0, np.nan, 3.0])}}
    )
    assert evaluation.summary()["m"]["NSS"] == {"mean": 2.0, "sem": 1.0, "n": 2}
    density = fixation_density([[40, 30]], SIZE, 6)
    scores = score(density, SIZE, density, np.zeros((0, 2)))
    assert np.isnan(scores["NSS"])
    assert scores["CC"] == pytest.approx(1)


def test_conventions_differ_where_they_should(dataset):
    def shifted(path):  # a floor, which MIT's SIM subtracts
        return np.linspace(1, 2, 80)[None] * np.ones((60, 1))

    mit = evaluate(shifted, dataset).summary()["model"]
    pysaliency = evaluate(shifted, dataset, convention="pysaliency").summary()["model"]
    assert abs(mit["SIM"]["mean"] - pysaliency["SIM"]["mean"]) > 0.01
    assert mit["CC"]["mean"] == pytest.approx(pysaliency["CC"]["mean"])


def with_observers(sample, observer):
    return dataclasses.replace(sample, observer=np.asarray(observer))


def test_half_the_observers_predict_the_other_half(dataset):
    sample = dataset["val"][0]
    scores = half_against_half(with_observers(sample, np.repeat([3, 7, 8, 9], 5)), SIZE)
    halves = sample.fixations[[0, 1, 2, 3, 4, 10, 11, 12, 13, 14]], sample.fixations[5:10]
    halves = halves[0], np.concatenate([halves[1], sample.fixations[15:]])
    maps = [fixation_density(half, SIZE, 5.0) for half in halves]
    assert scores["CC"] == pytest.approx(np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1])
    expected = (metrics.nss(maps[0], halves[1]) + metrics.nss(maps[1], halves[0])) / 2
    assert scores["NSS"] == pytest.approx(expected)


def test_observers_who_agree_predict_each_other(dataset):
    points = np.tile(dataset["val"][0].fixations[:3], (2, 1))
    sample = dataclasses.replace(dataset["val"][0], fixations=points)
    scores = half_against_half(with_observers(sample, [0, 0, 0, 1, 1, 1]), SIZE)
    assert scores["CC"] == pytest.approx(1)
    assert scores["KL"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("observer", [None, np.zeros(20, int)])
def test_without_two_observers_there_is_no_ceiling(dataset, observer):
    sample = dataclasses.replace(dataset["val"][0], observer=observer)
    assert all(np.isnan(value) for value in half_against_half(sample, SIZE).values())
    scores = evaluate(lambda path: np.eye(60, 80), dataset).scores
    assert set(scores) == {"model", "centre bias"}


def test_the_ceiling_has_its_row_where_observers_are_known(dataset):
    observer = np.arange(20) % 4
    known = {"train": dataset["train"], "val": [with_observers(dataset["val"][0], observer)]}
    scores = evaluate(lambda path: np.eye(60, 80), dataset.replace(known)).scores
    assert set(scores) == {"model", "centre bias", "half against half"}


def test_unknown_split_is_told(dataset):
    with pytest.raises(ValueError, match="train, val"):
        evaluate(lambda path: None, dataset, "test")


def test_table_has_all_metrics_and_rows(dataset):
    evaluation = evaluate(lambda path: np.eye(60, 80), dataset)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary_table(evaluation))
    text = console.export_text()
    for word in (*METRICS, "model", "centre bias", "val split, 2 images", "mit"):
        assert word in text
