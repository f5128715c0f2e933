"""Errors of an evaluation name the image, and nothing hangs."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

from keras_salnet.data import Dataset
from keras_salnet.evaluation import evaluate
from keras_salnet.evaluation.references import REFERENCES


def unsplit(samples):
    return Dataset("made", {"test": samples})


def noise(image):
    """A coarse map, the same whenever this image is asked for."""
    return np.random.default_rng(int(image.stem)).random((20, 30))


@pytest.fixture(autouse=True)
def _no_hang():
    """Ends a test that takes over a minute."""

    def fail(number, input_size):
        raise TimeoutError("this takes over a minute")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("row", REFERENCES)
def test_a_model_cannot_be_called_as_a_reference_row(write_samples, row):
    with pytest.raises(ValueError, match=f"a model cannot be called '{row}'.*rename"):
        evaluate({"model": pytest.fail, row: pytest.fail}, unsplit(write_samples(1)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_map_without_a_score_is_told_with_its_image_and_model(write_samples, workers):
    def predict(image):
        return noise(image) - 0.5 * (image.stem == "3")

    models = {"fine": noise, "my-maps": predict}
    with pytest.raises(ValueError, match=r"3\.png: cannot score the map of my-maps: .*negative"):
        evaluate(models, unsplit(write_samples(6)), workers=workers)
    assert multiprocessing.active_children() == []


def test_what_a_predictor_raises_arrives_as_itself(write_samples):
    def predict(image):
        raise ZeroDivisionError(image.stem)

    with pytest.raises(ZeroDivisionError, match="0"):
        evaluate(predict, unsplit(write_samples(3)), workers=2)
    assert multiprocessing.active_children() == []


def test_an_unreadable_image_is_named(write_samples):
    samples = write_samples(3)
    samples[1].image.write_text("no image")
    with pytest.raises(ValueError, match=r"1\.png: not a readable image"):
        evaluate({}, unsplit(samples))
    samples[1].image.unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png"):
        evaluate({}, unsplit(samples))


def test_an_unreadable_ground_truth_is_named(write_samples, write_sample):
    samples = write_samples(2)
    dataset = Dataset("made", {"train": samples, "test": [write_sample("looked at by nobody")]})
    with pytest.raises(ValueError, match=r"nobody\.png: there is neither a density map nor a fix"):
        evaluate({}, dataset)
    empty = write_sample("4", density=np.zeros((40, 60), np.uint8))
    with pytest.raises(ValueError, match=r"map of 4\.png: the density map is empty"):
        evaluate({}, Dataset("made", {"train": samples, "test": [empty]}))


class Fatal:
    """Ends the process that it is sent to."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_worker_that_dies_is_told_and_nothing_hangs(write_samples):
    def predict(image):
        return Fatal() if image.stem == "3" else noise(image)

    with pytest.raises(ChildProcessError, match=r"a worker process died.*fewer --workers"):
        evaluate(predict, unsplit(write_samples(12)), workers=2)
    assert multiprocessing.active_children() == []
