"""Which other images sAUC takes fixations of."""

import numpy as np
import pytest

from keras_salnet import metrics
from keras_salnet.data import Dataset
from keras_salnet.evaluation import evaluate
from keras_salnet.evaluation.others import Look, other_fixations

COUNT = 14
SIZE = (20, 60)
LOOKS = [Look(np.array([(2.0 * number, 5.0)]), 0, SIZE) for number in range(COUNT)]


def others_of(convention, seed=0, **options):
    """Image → the images that its sAUC takes fixations of."""
    found = {}
    for number in range(COUNT):
        points = other_fixations(LOOKS, number, seed, convention, **options)
        found[number] = (points[:, 0] // 2).astype(int).tolist()
    return found


def test_mit_takes_ten_other_images():
    found = others_of("mit")
    for image, others in found.items():
        assert len(others) == len(set(others)) == 10
        assert image not in others
    assert len({tuple(sorted(others)) for others in found.values()}) > 10
    assert found == others_of("mit")
    assert found != others_of("mit", seed=1)


def test_pysaliency_takes_all_other_images():
    for image, others in others_of("pysaliency").items():
        assert sorted(others) == [other for other in range(COUNT) if other != image]


def test_pysaliency_takes_enough_images_of_a_large_dataset():
    found = others_of("pysaliency", maximum=4)
    for image, others in found.items():
        assert len(set(others)) == 5
        assert image not in others
    assert found != others_of("pysaliency", seed=1, maximum=4)


@pytest.mark.parametrize("convention", ["mit", "pysaliency"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_scores_are_against_these_fixations(write_sample, convention, seed):
    samples = [write_sample(n, SIZE, points=[(2 * n, 5)]) for n in range(COUNT)]
    saliency = np.random.default_rng(0).random(SIZE)
    dataset = Dataset("made", {"test": samples})
    scores = evaluate(lambda image: saliency, dataset, convention=convention, seed=seed).scores
    for number, found in enumerate(scores["model"]["sAUC"]):
        others = other_fixations(LOOKS, number, seed, convention)
        assert found == metrics.shuffled_auc(
            saliency, LOOKS[number].points, others, convention=convention, seed=(seed, number)
        )
