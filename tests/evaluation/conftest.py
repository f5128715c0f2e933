"""Images with gaze on disk, and evaluations made by hand."""

import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_salnet.data import Sample
from keras_salnet.evaluation import Evaluation
from keras_salnet.images.visualize import to_grey

sys.path.append(str(Path(__file__).parent))  # pytest's importlib mode leaves it out

from report_pages import written

SIZES = ((40, 60), (36, 36), (50, 32), (24, 64))


@pytest.fixture
def write_sample(tmp_path):
    def write(name, size=(40, 60), points=(), observer=None, density=None, sigma=4.0, dropped=0):
        """The sample of a black image; `density` is the array that becomes its map."""
        image = tmp_path / f"{name}.png"
        assert cv2.imwrite(str(image), np.zeros((*size, 3), np.uint8))
        path = None
        if density is not None:
            path = tmp_path / f"map of {name}.png"
            assert cv2.imwrite(str(path), density)
        points = np.array(points, float).reshape(-1, 2)
        observer = None if observer is None else np.asarray(observer)
        return Sample(image, path, points, observer, sigma, dropped)

    return write


@pytest.fixture
def write_samples(write_sample):
    def write(count, observers=3, fixations=5, sizes=SIZES):
        """Samples of several sizes, where observers look around a place of each image's own."""
        random = np.random.default_rng(0)
        samples = []
        for number in range(count):
            size = sizes[number % len(sizes)]
            input_size = np.array(size[::-1])
            centre = random.uniform(0.25, 0.75, 2) * input_size
            points = random.normal(centre, input_size / 6, (observers * fixations, 2))
            observer = np.repeat(np.arange(observers), fixations)
            samples.append(write_sample(number, size, points.clip(0, input_size - 1), observer))
        return samples

    return write


@pytest.fixture(scope="session")
def make_evaluation():
    def make(scores, models=("model",), **options):
        """An `Evaluation` of these scores: row → metric → values."""
        scores = {
            row: {metric: np.array(values, float) for metric, values in columns.items()}
            for row, columns in scores.items()
        }
        count = max(len(values) for columns in scores.values() for values in columns.values())
        about = {
            "dataset": "made",
            "split": "test",
            "convention": "mit",
            "seed": 0,
            "centre_bias": "3 training images",
            "dropped": 0,
            "samples": [Sample(Path(f"{number}.png")) for number in range(count)],
        }
        return Evaluation(**about | options, models=models, scores=scores)

    return make


# Reports


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


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "page" / "report.html"
    return lambda *evaluations, **options: written(path, list(evaluations), **options)


# Saved maps


@pytest.fixture(scope="module")
def values():
    """(H, W) float64 in 0…1, smooth as saliency is, from the lowest to the highest."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 1, (24, 40)), (0, 0), 4)
    return (noise - noise.min()) / np.ptp(noise)


@pytest.fixture(scope="module")
def grey(values):
    return to_grey(values)


@pytest.fixture(scope="module")
def grey16(values):
    return np.round(values * 65535).astype(np.uint16)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "deepgaze"
    folder.mkdir()
    return folder
