"""Maps, fixations and parameters that tests of the metrics share."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import settings

from keras_salnet.metrics import (
    auc,
    auc_borji,
    auc_judd,
    correlation_coefficient,
    information_gain,
    kl_divergence,
    nss,
    shuffled_auc,
    similarity,
)

SHAPE = (48, 64)
EPS = 2.2204e-16
CONVENTIONS = ("mit", "pysaliency")
TO_DENSITY = (kl_divergence, correlation_coefficient, similarity)
TO_FIXATIONS = (nss, auc_judd)


def auc_whatever_the_convention(saliency, fixations, convention="mit"):
    return auc(saliency, fixations)


def auc_borji_whatever_the_convention(saliency, fixations, convention="mit"):
    return auc_borji(saliency, fixations)


def shuffled_auc_against_the_corner(saliency, fixations, convention="mit"):
    return shuffled_auc(saliency, fixations, [(0, 0)], convention=convention)


LOCATION_METRICS = (
    *TO_FIXATIONS,
    information_gain,
    auc_whatever_the_convention,
    auc_borji_whatever_the_convention,
    shuffled_auc_against_the_corner,
)

both_conventions = pytest.mark.parametrize("convention", CONVENTIONS)
each_to_density = pytest.mark.parametrize("metric", TO_DENSITY)
each_to_fixations = pytest.mark.parametrize("metric", TO_FIXATIONS)
each_location_metric = pytest.mark.parametrize("metric", LOCATION_METRICS)
each_metric = pytest.mark.parametrize("metric", TO_DENSITY + LOCATION_METRICS)
some_examples = settings(max_examples=50, deadline=None, derandomize=True, database=None)


def blob(shape, x, y, sigma):
    """A Gaussian around pixel (x, y), not normalized."""
    rows, columns = np.indices(shape)
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def prediction(kind, shape=SHAPE):
    random = np.random.default_rng(1)
    noise = random.random(shape)
    smooth = blob(shape, 30, 20, 9) + 0.6 * blob(shape, 10, 35, 6)
    return {
        "noise": noise,
        "smooth": smooth,
        "floor": smooth + 2,
        "sums to 1": smooth / smooth.sum(),
        "8-bit": np.uint8(255 * smooth / smooth.max()),
        "float32": np.float32(noise),
        "log density": np.log(smooth / smooth.sum() + 1e-9),
        "peaky": np.exp(20 * noise),
    }[kind]


KINDS = ("noise", "smooth", "floor", "sums to 1", "8-bit", "float32", "log density", "peaky")


def mit_fixated(fixations):
    return {(math.floor(x), math.floor(y)) for x, y in fixations}


def mit_area(saliency, fixated, draws):
    """The mean over `draws`, lists of pixels (x, y), of the area with thresholds 0, 0.1, ..."""
    low, high = min(saliency.flat), max(saliency.flat)

    def stretched(pixels):
        return [(saliency[y, x] - low) / (high - low) for x, y in pixels]

    areas = []
    for drawn in map(stretched, draws):
        values = stretched(fixated)
        curve = [(0.0, 0.0)]
        for step in reversed(range(1 + math.floor(10 * max(values + drawn)))):
            hits = sum(value >= step / 10 for value in values) / len(values)
            alarms = sum(value >= step / 10 for value in drawn) / len(drawn)
            curve.append((alarms, hits))
        curve.append((1.0, 1.0))
        steps = itertools.pairwise(curve)
        areas.append(math.fsum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in steps))
    return math.fsum(areas) / len(areas)
