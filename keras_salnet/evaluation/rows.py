"""Scores of one image: row → metric → value, a row for each model, baseline and human reference."""

from dataclasses import dataclass

import numpy as np

from keras_salnet.data import Sample
from keras_salnet.data.density import fixation_density
from keras_salnet.evaluation.references import (
    CENTRE_BIAS,
    GAUSSIAN,
    SHUFFLED,
    CentreBias,
    gaussian_centre,
    people,
)
from keras_salnet.evaluation.scores import Truth, resized, score, score_mask
from keras_salnet.images.files import image_size


@dataclass(frozen=True)
class GazeRows:
    """Rows of scores against where people look.

    Args:
        bias: `CentreBias`.
        others: (m, 2) fixations of other images, scaled to this one, for sAUC.
        other: `Sample` of another image, the shuffled control, or None.
        convention, emd, seed: as in `score`.
    """

    bias: CentreBias
    others: np.ndarray
    other: Sample | None
    convention: str
    emd: bool
    seed: tuple

    def __call__(self, sample, maps):
        """Score maps (model → (H, W)) and references; human rows are means over the observers."""
        size, gaze = image_size(sample.image), sample.read_gaze()
        bias = resized(self.bias(sample), size)
        bias = bias / bias.sum(dtype=np.float64)

        def scored(saliency, density, fixations):
            truth = Truth(size, density, fixations, self.others, bias)
            return score(saliency, truth, self.convention, emd=self.emd, seed=self.seed)

        truth = sample.read_density(size), gaze.points
        rows = _score_models(sample, maps, lambda saliency: scored(saliency, *truth))
        rows[CENTRE_BIAS] = scored(bias, *truth)
        rows[GAUSSIAN] = scored(gaussian_centre(size), *truth)
        if self.other is not None:
            rows[SHUFFLED] = scored(self.other.read_density(image_size(self.other.image)), *truth)
        humans = {}
        for row, saliency, rest in people(gaze, size, sample.sigma, bias):
            density = fixation_density(rest, size, sample.sigma)
            humans.setdefault(row, []).append(scored(saliency, density, rest))
        for row, scores in humans.items():
            rows[row] = {metric: np.mean([s[metric] for s in scores]) for metric in scores[0]}
        return rows


@dataclass(frozen=True)
class MaskRows:
    """Rows of scores against the mask of the salient objects.

    Args:
        bias: `MaskBias`.
        other: `Sample` of another image with a mask, the shuffled control, or None.
    """

    bias: CentreBias
    other: Sample | None

    def __call__(self, sample, maps):
        """Score maps (model → (H, W)) and references."""
        mask = sample.read_mask()
        rows = _score_models(sample, maps, lambda saliency: score_mask(saliency, mask))
        rows[CENTRE_BIAS] = score_mask(self.bias(sample), mask)
        rows[GAUSSIAN] = score_mask(gaussian_centre(mask.shape), mask)
        if self.other is not None:
            rows[SHUFFLED] = score_mask(self.other.read_mask(), mask)
        return rows


def score_sample(sample, maps, kinds):
    """Rows of one image, of all kinds of ground truth: `GazeRows`, `MaskRows` or both."""
    rows = {}
    for score_kind in kinds:
        for row, scores in score_kind(sample, maps).items():
            rows.setdefault(row, {}).update(scores)
    return rows


def _score_models(sample, maps, scored):
    rows = {}
    for name, saliency in maps.items():
        try:
            rows[name] = scored(saliency)
        except ValueError as error:
            raise ValueError(f"{sample.image}: cannot score the map of {name}: {error}") from None
    return rows
