"""The protocol against pysaliency on several images, and its promises."""

import dataclasses
import multiprocessing
import weakref

import cv2
import numpy as np
import pytest

from keras_salnet import metrics
from keras_salnet.data import Dataset
from keras_salnet.evaluation import evaluate
from keras_salnet.evaluation.references import REFERENCES, gaussian_centre
from keras_salnet.evaluation.scores import Truth, score
from keras_salnet.images.files import image_size

HUMANS = ("split-half humans", "leave-one-out human")
FRAME = (96, 128)


def unsplit(samples):
    return Dataset("made", {"test": samples})


def noise(image):
    """A coarse map, the same whenever this image is asked for."""
    return np.random.default_rng(int(image.stem)).random((20, 30))


def noise_of_its_size(image):
    return np.random.default_rng(int(image.stem)).random(image_size(image))


def centred(image):
    return gaussian_centre((30, 30))


# Against pysaliency


def test_pysaliency_gives_the_same_scores_on_images_of_several_sizes(pysaliency, write_samples):
    sizes = ((40, 60), (36, 36), (50, 32), (24, 64), (61, 47))
    samples = write_samples(5, sizes=sizes)
    maps = {size: noise_of_its_size(s.image) for size, s in zip(sizes, samples, strict=True)}

    class Model(pysaliency.SaliencyMapModel):
        def _saliency_map(self, stimulus):
            return maps[stimulus.shape[:2]]

    stimuli = pysaliency.Stimuli([np.zeros((*size, 3), np.uint8) for size in sizes])
    points = np.concatenate([sample.fixations for sample in samples])
    image = np.repeat(np.arange(5), [len(sample.fixations) for sample in samples])
    fixations = pysaliency.Fixations.create_without_history(*points.T, image)
    model = Model()
    expected = {
        "AUC": model.AUCs(stimuli, fixations, nonfixations="uniform"),
        "sAUC": model.AUCs(stimuli, fixations, nonfixations="shuffled"),
        "NSS": model.NSSs(stimuli, fixations),
    }
    evaluation = evaluate(noise_of_its_size, unsplit(samples), convention="pysaliency")
    for metric, values in expected.items():
        per_image = [values[image == number].mean() for number in range(5)]
        found = evaluation.scores["model"][metric]
        np.testing.assert_allclose(found, per_image, rtol=0, atol=1e-6, err_msg=metric)


# What a row is


def test_a_model_has_the_scores_of_its_maps(write_samples):
    samples = write_samples(4)
    evaluation = evaluate(noise, unsplit(samples))
    for number, sample in enumerate(samples):
        size = image_size(sample.image)
        density = sample.read_density(size)
        truth = Truth(size, density, sample.fixations, np.zeros((0, 2)), np.ones(size))
        expected = score(noise(sample.image), truth)
        for metric in ("KL", "CC", "SIM", "NSS", "AUC-Judd"):
            assert evaluation.scores["model"][metric][number] == expected[metric]


def test_the_truth_is_the_best_of_all_rows(write_samples):
    samples = write_samples(6)
    truth = {s.image: s.read_density(image_size(s.image)) for s in samples}
    summary = evaluate(truth.__getitem__, unsplit(samples)).summary
    means = {row: {m: v["mean"] for m, v in columns.items()} for row, columns in summary.items()}
    ours = means.pop("model")
    assert ours["KL"] == pytest.approx(0, abs=1e-9)
    assert ours["CC"] == ours["SIM"] == pytest.approx(1)
    for row, others in means.items():
        for metric in ("NSS", "AUC-Judd", "AUC-Borji", "sAUC"):
            assert ours[metric] > others[metric], (row, metric)


def test_all_rows_are_there_from_the_models_down(write_samples):
    samples = write_samples(3)
    several = evaluate({"b": noise, "a": centred}, unsplit(samples))
    assert list(several.scores) == ["b", "a", *REFERENCES]
    assert several.models == ("b", "a")
    assert several.samples == samples
    assert list(evaluate({}, unsplit(samples)).scores) == list(REFERENCES)


def test_a_single_predictor_goes_by_its_name(write_samples):
    class Named:
        name = "runs/vggrga"

        def __call__(self, image):
            return noise(image)

    dataset = unsplit(write_samples(2))
    assert evaluate(Named(), dataset).models == ("runs/vggrga",)
    assert evaluate(noise, dataset).models == ("model",)


def test_a_predictor_is_asked_once_for_each_image(write_samples):
    samples = write_samples(5)
    asked = []

    def predict(image):
        asked.append(image)
        return noise(image)

    evaluate({"one": predict}, unsplit(samples))
    assert asked == [sample.image for sample in samples]


def test_the_gaussian_centre_knows_no_data(write_samples):
    samples = write_samples(4)
    found = evaluate({}, unsplit(samples)).scores["Gaussian centre"]["NSS"]
    for value, sample in zip(found, samples, strict=True):
        expected = metrics.nss(gaussian_centre(image_size(sample.image)), sample.fixations)
        assert value == expected


def test_another_image_is_never_the_image_itself(write_samples):
    pair = write_samples(2, sizes=((40, 60), (80, 120)))
    small, large = (sample.read_density(image_size(sample.image)) for sample in pair)
    shrunk = cv2.resize(np.float32(large), (60, 40), interpolation=cv2.INTER_AREA)
    grown = cv2.resize(np.float32(small), (120, 80), interpolation=cv2.INTER_LINEAR)
    expected = [metrics.similarity(shrunk, small), metrics.similarity(grown, large)]
    for seed in range(8):
        found = evaluate({}, unsplit(pair), seed=seed).scores["shuffled control"]["SIM"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_another_image_is_any_of_the_others(write_samples):
    samples = write_samples(4, sizes=((30, 40),))
    densities = [sample.read_density((30, 40)) for sample in samples]
    first = {round(metrics.similarity(density, densities[0]), 9) for density in densities[1:]}
    found = {
        round(float(evaluate({}, unsplit(samples), seed=s).scores["shuffled control"]["SIM"][0]), 9)
        for s in range(20)
    }
    assert found == first


def test_a_row_of_people_is_the_mean_over_who_predicts(write_samples):
    (sample,) = write_samples(1, observers=3)
    size = image_size(sample.image)
    uniform = np.full(size, 1 / np.prod(size))  # the centre bias of a single image
    expected = {"split-half humans": [], "leave-one-out human": []}
    for row, groups in zip(expected, (((1,), (0, 2)), ((0,), (1,), (2,))), strict=True):
        for group in groups:
            some = np.isin(sample.observer, group)
            seen = dataclasses.replace(sample, fixations=sample.fixations[some])
            count = some.sum()
            saliency = (count * seen.read_density(size) + uniform) / (count + 1)
            rest = dataclasses.replace(sample, fixations=sample.fixations[~some])
            truth = rest.read_density(size)
            expected[row].append(
                (metrics.nss(saliency, rest.fixations), metrics.kl_divergence(saliency, truth))
            )
    found = evaluate({}, unsplit([sample])).scores
    for row, scores in expected.items():
        for metric, values in zip(("NSS", "KL"), zip(*scores, strict=True), strict=True):
            assert found[row][metric][0] == pytest.approx(np.mean(values), rel=1e-5), (row, metric)


def test_an_image_alone_has_no_other(write_samples):
    evaluation = evaluate(noise, unsplit(write_samples(1)))
    assert "shuffled control" not in evaluation.scores
    assert "sAUC" not in evaluation.metrics
    assert "sAUC" in evaluate(noise, unsplit(write_samples(2))).metrics


# Centre bias


def centre_bias_nss(sample, sources):
    """NSS of a sample under the mean of these samples' densities and a uniform one."""
    densities = [source.read_density_in(FRAME) for source in sources]
    mean = (sum(densities) + 1 / np.prod(FRAME)) / (len(sources) + 1)
    size = image_size(sample.image)
    mean = cv2.resize(np.float32(mean), size[::-1], interpolation=cv2.INTER_AREA)
    return metrics.nss(mean, sample.fixations)


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_centre_bias_is_learnt_from_the_training_images_alone(write_samples, split):
    samples = write_samples(9)
    dataset = Dataset("made", {"train": samples[:4], "val": samples[4:6], "test": samples[6:]})
    evaluation = evaluate({}, dataset, split)
    assert evaluation.centre_bias == "4 training images"
    expected = [centre_bias_nss(sample, samples[:4]) for sample in dataset[split]]
    found = evaluation.scores["centre bias"]["NSS"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("trained_on", "split"), [(0, "test"), (4, "train"), (4, "all")])
def test_where_training_images_are_missing_or_scored_each_is_left_out(
    write_samples, trained_on, split
):
    samples = write_samples(7)
    splits = {"train": samples[:trained_on], "test": samples[trained_on:]}
    dataset = Dataset("made", {name: images for name, images in splits.items() if images})
    scored = dataset[split]
    evaluation = evaluate({}, dataset, split)
    assert evaluation.centre_bias == "the other images"
    expected = [
        centre_bias_nss(sample, [other for other in scored if other is not sample])
        for sample in scored
    ]
    found = evaluation.scores["centre bias"]["NSS"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("convention", ["mit", "pysaliency"])
def test_information_gain_is_over_the_centre_bias(write_samples, convention):
    samples = write_samples(6)
    dataset = Dataset("made", {"train": samples[:3], "test": samples[3:]})
    gains = evaluate({}, dataset, convention=convention).scores["centre bias"]["IG"]
    assert gains.tolist() == [0, 0, 0]


# Splits


def test_the_held_out_split_is_scored_unless_another_is_named(write_samples):
    samples = write_samples(5)
    dataset = Dataset("made", {"train": samples[:2], "val": samples[2:3], "test": samples[3:]})
    for split, scored in (
        (None, samples[3:]),
        ("val", samples[2:3]),
        ("train", samples[:2]),
        ("all", samples),
    ):
        evaluation = evaluate(noise, dataset, split)
        assert evaluation.split == (split or "test")
        assert evaluation.samples == scored
        assert len(evaluation.scores["model"]["NSS"]) == len(scored)
    with pytest.raises(ValueError, match=r"no split 'tset'; it has train, val, test, all"):
        evaluate(noise, dataset, "tset")


def test_progress_is_that_of_the_images(write_samples):
    samples = write_samples(5)
    seen = {}

    def track(items, title):
        seen[title] = 0
        for item in items:
            seen[title] += 1
            yield item

    evaluate(noise, Dataset("made", {"train": samples[:2], "test": samples[2:]}), track=track)
    assert seen == {"centre bias": 2, "fixations": 3, "scoring made test": 3}


# What scores do not depend on


class Watched:
    """A predictor that counts how many of its maps are alive."""

    def __init__(self):
        self.maps = []
        self.most = 0

    def __call__(self, image):
        saliency = noise(image)
        self.maps.append(weakref.ref(saliency))
        self.most = max(self.most, sum(reference() is not None for reference in self.maps))
        return saliency


def test_scores_do_not_depend_on_the_workers_and_memory_not_on_the_images(write_samples):
    # SALICON has as many fixations as the last image, and their density is multiplied by threads.
    dataset = unsplit([*write_samples(29), *write_samples(30, 3, 300)[29:]])
    alone, helped = Watched(), Watched()
    expected = evaluate(alone, dataset).scores
    np.testing.assert_equal(evaluate(helped, dataset, workers=2).scores, expected)
    assert len(alone.maps) == len(helped.maps) == 30
    assert alone.most <= 2
    assert helped.most <= 8
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("convention", ["mit", "pysaliency"])
def test_scores_do_not_depend_on_what_else_is_scored(write_samples, convention):
    dataset = unsplit(write_samples(5))
    both = evaluate({"first": centred, "noise": noise}, dataset, convention=convention).scores
    alone = evaluate({"noise": noise}, dataset, convention=convention).scores
    del both["first"]
    np.testing.assert_equal(both, alone)


@pytest.mark.parametrize(
    ("convention", "drawn"), [("mit", {"AUC-Borji", "sAUC"}), ("pysaliency", set())]
)
def test_a_seed_decides_what_is_drawn_and_nothing_else(write_samples, convention, drawn):
    dataset = unsplit(write_samples(14))
    first, again, other = (
        evaluate(noise, dataset, convention=convention, seed=seed).scores for seed in (1, 1, 2)
    )
    np.testing.assert_equal(first, again)
    del first["shuffled control"], other["shuffled control"]
    for row, columns in first.items():
        changed = {m for m in columns if not np.array_equal(columns[m], other[row][m])}
        assert changed == drawn, row


def test_emd_is_scored_on_request_only(write_samples):
    pytest.importorskip("ot")
    dataset = unsplit(write_samples(2, sizes=((40, 60),)))
    assert "EMD" not in evaluate(noise, dataset).metrics
    scored = evaluate({}, dataset, emd=True).scores
    assert all("EMD" in columns for columns in scored.values())


# What may be missing


def test_without_observers_there_are_no_rows_of_people(write_samples):
    samples = [dataclasses.replace(sample, observer=None) for sample in write_samples(3)]
    scores = evaluate({}, unsplit(samples)).scores
    assert list(scores) == [row for row in REFERENCES if row not in HUMANS]


def test_where_some_images_lack_observers_people_have_no_score_there(write_samples):
    first, second, third = write_samples(3)
    unknown = dataclasses.replace(second, observer=None)
    one = dataclasses.replace(third, observer=np.zeros(len(third.fixations), int))
    evaluation = evaluate({}, unsplit([first, unknown, one]))
    for row in HUMANS:
        for values in evaluation.scores[row].values():
            assert np.isfinite(values).tolist() == [True, False, False]
    assert evaluation.summary["split-half humans"]["NSS"]["n"] == 1
    assert evaluation.summary["centre bias"]["NSS"]["n"] == 3


@pytest.mark.parametrize("convention", ["mit", "pysaliency"])
def test_images_without_fixations_are_scored_by_their_maps(write_samples, write_sample, convention):
    random = np.random.default_rng(3)
    blank = write_sample("3", (40, 60), density=random.integers(1, 256, (20, 30)).astype(np.uint8))
    looked = write_samples(3)
    evaluation = evaluate(noise, unsplit([*looked, blank]), convention=convention)
    for metric, values in evaluation.scores["model"].items():
        known = [True, True, True, metric in ("KL", "CC", "SIM")]
        assert np.isfinite(values).tolist() == known, metric
    only_maps = evaluate(noise, unsplit([blank]), convention=convention)
    assert only_maps.metrics == ["KL", "CC", "SIM"]
    assert list(only_maps.scores) == ["model", "centre bias", "Gaussian centre"]


def test_a_density_map_of_another_size_is_met_as_it_is(write_sample):
    random = np.random.default_rng(4)
    density = random.integers(1, 256, (20, 30)).astype(np.uint8)
    points = random.random((10, 2)) * (60, 40)
    sample = write_sample("0", (40, 60), points, density=density)
    doubled = np.repeat(np.repeat(np.float64(density), 2, axis=0), 2, axis=1)
    scores = evaluate(lambda image: doubled, unsplit([sample])).scores["model"]
    assert scores["KL"][0] == pytest.approx(0, abs=1e-6)
    assert scores["CC"][0] == pytest.approx(1, abs=1e-6)
    assert scores["NSS"][0] == metrics.nss(doubled, points)


def test_dropped_fixations_of_the_scored_images_are_counted(write_samples):
    samples = [
        dataclasses.replace(sample, dropped=number + 1)
        for number, sample in enumerate(write_samples(4))
    ]
    dataset = Dataset("made", {"train": samples[:2], "test": samples[2:]})
    assert evaluate({}, dataset).dropped == 3 + 4
    assert evaluate({}, dataset, "all").dropped == 1 + 2 + 3 + 4
