"""All metrics of one prediction, against the metrics themselves."""

import dataclasses

import cv2
import numpy as np
import pytest

from keras_salnet import metrics
from keras_salnet.evaluation.scores import Truth, resized, score
from keras_salnet.metrics.table import METRICS

SIZE = (48, 64)
CONVENTIONS = ("mit", "pysaliency")

both_conventions = pytest.mark.parametrize("convention", CONVENTIONS)


@pytest.fixture
def saliency():
    return np.random.default_rng(1).random(SIZE)


@pytest.fixture
def truth():
    """Everything at the image's size."""
    random = np.random.default_rng(2)
    density, baseline = random.random((2, *SIZE)) + 0.01
    fixations, others = (random.random((count, 2)) * SIZE[::-1] for count in (30, 200))
    return Truth(SIZE, density, fixations, others, baseline)


def test_mit_s_scores_are_the_metrics_of_mit(saliency, truth):
    assert score(saliency, truth, seed=3) == {
        "KL": metrics.kl_divergence(saliency, truth.density),
        "CC": metrics.correlation_coefficient(saliency, truth.density),
        "SIM": metrics.similarity(saliency, truth.density),
        "NSS": metrics.nss(saliency, truth.fixations),
        "IG": metrics.information_gain(saliency, truth.fixations, truth.baseline),
        "AUC-Judd": metrics.auc_judd(saliency, truth.fixations),
        "AUC-Borji": metrics.auc_borji(saliency, truth.fixations, seed=3),
        "sAUC": metrics.shuffled_auc(saliency, truth.fixations, truth.others, seed=3),
    }


def test_pysaliency_s_scores_are_the_metrics_of_pysaliency(saliency, truth):
    rules = {"convention": "pysaliency"}
    gaze = saliency, truth.fixations
    assert score(saliency, truth, "pysaliency") == {
        "KL": metrics.kl_divergence(saliency, truth.density, **rules),
        "CC": metrics.correlation_coefficient(saliency, truth.density, **rules),
        "SIM": metrics.similarity(saliency, truth.density, **rules),
        "NSS": metrics.nss(*gaze, **rules),
        "IG": metrics.information_gain(*gaze, truth.baseline, **rules),
        "AUC": metrics.auc(*gaze),
        "AUC-Judd": metrics.auc_judd(*gaze, **rules),
        "sAUC": metrics.shuffled_auc(*gaze, truth.others, **rules),
    }


@both_conventions
def test_emd_comes_on_request_only(saliency, truth, convention):
    pytest.importorskip("ot")
    without, with_emd = (score(saliency, truth, convention, emd=emd) for emd in (False, True))
    assert with_emd == {**without, "EMD": metrics.emd(saliency, truth.density)}
    assert with_emd.keys() <= METRICS.keys()


def test_the_arrows_of_the_table_point_to_the_truth(truth):
    truth = dataclasses.replace(truth, fixations=np.argwhere(truth.density > 0.9)[:, ::-1])
    noise = np.random.default_rng(3).random(SIZE)
    for convention in CONVENTIONS:
        best, worse = (score(p, truth, convention) for p in (truth.density, noise))
        for metric, entry in METRICS.items():
            if metric in best:
                assert (best[metric] > worse[metric]) == entry.more_is_better, metric


def test_the_prediction_is_resized_and_the_density_never(truth):
    # Each pixel of the density four times: shrunk, the prediction is the density exactly. Grown,
    # the density would be smooth.
    density = truth.density[:24, :32]
    doubled = np.repeat(np.repeat(density, 2, axis=0), 2, axis=1)
    for size in (SIZE, (24, 32), (480, 640)):
        scores = score(doubled, dataclasses.replace(truth, density=density, size=SIZE))
        assert scores["KL"] == pytest.approx(0, abs=1e-6), size
        assert scores["CC"] == pytest.approx(1, abs=1e-6)
        assert scores["SIM"] == pytest.approx(1, abs=1e-6)
    smooth = resized(density, SIZE)
    assert metrics.correlation_coefficient(doubled, smooth) < 0.99


@both_conventions
def test_density_and_fixations_are_met_at_their_own_resolution(truth, convention):
    prediction = np.random.default_rng(4).random((20, 40))
    density = truth.density[:24, :32]
    scores = score(prediction, dataclasses.replace(truth, density=density), convention)

    grown = cv2.resize(np.float32(prediction), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    nss = metrics.nss(grown, truth.fixations, convention=convention)
    gain = metrics.information_gain(grown, truth.fixations, truth.baseline, convention=convention)
    assert scores["NSS"] == pytest.approx(nss, rel=1e-6)
    assert scores["IG"] == pytest.approx(gain, rel=1e-6)

    # Along y it grows, along x it shrinks.
    fewer = cv2.resize(np.float32(prediction), (32, 20), interpolation=cv2.INTER_AREA)
    as_density = cv2.resize(fewer, (32, 24), interpolation=cv2.INTER_LINEAR)
    cc = np.corrcoef(as_density.ravel(), density.ravel())[0, 1]
    assert scores["CC"] == pytest.approx(cc, rel=1e-6)


def test_a_map_may_be_of_any_scale_whatever_its_size(truth):
    prediction = np.random.default_rng(7).random((20, 30))
    expected = score(prediction, truth)
    for scale in (1e-60, 1e60):
        assert score(scale * prediction, truth) == pytest.approx(expected, rel=1e-6)


@both_conventions
def test_the_gain_over_itself_is_nothing_at_any_size(truth, convention):
    coarse = np.random.default_rng(5).random((12, 16)) + 0.1
    truth = dataclasses.replace(truth, baseline=coarse)
    assert score(coarse, truth, convention)["IG"] == pytest.approx(0, abs=1e-12)
    assert score(resized(coarse, SIZE), truth, convention)["IG"] == pytest.approx(0, abs=1e-12)


@both_conventions
def test_without_fixations_the_metrics_of_densities_remain(saliency, truth, convention):
    everything = score(saliency, truth, convention)
    nobody = dataclasses.replace(truth, fixations=np.zeros((0, 2)))
    remaining = {metric: everything[metric] for metric in ("KL", "CC", "SIM")}
    assert score(saliency, nobody, convention) == remaining


@both_conventions
def test_without_fixations_elsewhere_only_shuffled_auc_is_missing(saliency, truth, convention):
    everything = score(saliency, truth, convention)
    alone = score(saliency, dataclasses.replace(truth, others=np.zeros((0, 2))), convention)
    assert everything.keys() - alone.keys() == {"sAUC"}
    assert alone == {metric: everything[metric] for metric in alone}


def test_the_seed_matters_for_what_mit_draws_and_nothing_else(saliency, truth):
    changed = {}
    for convention in CONVENTIONS:
        one, same, other = (score(saliency, truth, convention, seed=seed) for seed in (1, 1, 2))
        assert one == same
        changed[convention] = {metric for metric in one if one[metric] != other[metric]}
    assert changed == {"mit": {"AUC-Borji", "sAUC"}, "pysaliency": set()}


@pytest.mark.parametrize("size", [SIZE, (20, 30)])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p[..., None], r"shape \(\d+, \d+, 1\); it must be a map"),
        (lambda p: p[0], r"shape \(\d+,\); it must be a map"),
        (lambda p: p[:0], r"shape \(0, \d+\)"),
        (lambda p: np.where(p < 0.5, np.nan, p), "NaN"),
        (lambda p: p - 0.5, "negative values"),
        (lambda p: None, "real numbers"),
    ],
)
def test_what_is_no_map_is_refused_whatever_its_size(truth, size, change, told):
    prediction = np.random.default_rng(6).random(size)
    with pytest.raises(ValueError, match=f"saliency .*{told}"):
        score(change(prediction), truth)


def test_an_unknown_convention_is_refused(saliency, truth):
    with pytest.raises(ValueError, match="convention is 'MIT'"):
        score(saliency, truth, "MIT")
