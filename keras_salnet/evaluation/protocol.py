"""A dataset x models → scores: what is scored, and against what."""

import contextlib
from functools import partial
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from keras_salnet.data.checks import has_masks_only
from keras_salnet.data.density import fixation_density
from keras_salnet.evaluation.references import (
    CENTRE_BIAS,
    GAUSSIAN,
    OTHER_IMAGE,
    REFERENCES,
    CentreBias,
    MaskBias,
    gaussian_centre,
    people,
)
from keras_salnet.evaluation.results import Evaluation
from keras_salnet.evaluation.scores import METRICS, Truth, resized, score, score_mask
from keras_salnet.images.files import image_size
from keras_salnet.parallel import look_ahead, processes

# sAUC's fixations of other images: MIT's code takes those of ten. pysaliency takes all, which here
# are sampled where there are more than so many.
_OTHER_IMAGES = 10
_MOST_FIXATIONS = 100_000


def evaluate(
    predictors,
    dataset,
    split=None,
    convention="mit",
    *,
    emd=False,
    seed=0,
    workers=1,
    track=None,
):
    """Score models beside the centre bias and people, at the ground truth's own resolution.

    Where masks of the salient objects are known, predictions are scored against them too; against
    them alone where the dataset has nothing else. The F- and E-measures are those at the threshold
    at which their mean over the images is highest, for each row of scores its own.

    The rows of scores are the models and, where the data allow,

    - ``half against half``: half of the observers predict the other half, about the ceiling;
    - ``one human against the rest``;
    - ``centre bias``: the mean density of the training images, or, where the dataset has none
      beside the scored split, of the other images of that split. What any model must beat;
    - ``Gaussian centre``: the same without any data;
    - ``another image``: the density of another image of the split, drawn at random. The floor.

    Against masks, the centre bias is the mean mask, another image's mask is the floor, and there
    are no rows of people.

    Images are taken one at a time: memory does not grow with their number, fixations and two curves
    a mask aside.

    Args:
        predictors: `Predictor`, `SavedMaps` or any function from an image's path to an (H, W) map;
            or a dict of such by their names; an empty one gives the reference rows alone.
        dataset: `Dataset`.
        split: split to score, or ``"all"``; `Dataset.held_out` by default.
        convention: of the metrics, ``"mit"`` or ``"pysaliency"``.
        emd: also compute EMD, which takes longer than all others together and needs POT.
        seed: of what is drawn: other images, and AUC-Borji's and sAUC's pixels.
        workers: processes that compute the scores while this one predicts; the scores do not
            depend on it. More than one run the caller's script anew, but for what it does under
            ``if __name__ == "__main__"``.
        track: function (items, description) → items, to show progress.

    Returns:
        `Evaluation`.

    Raises:
        ValueError, FileNotFoundError: an image or its ground truth cannot be read, a map cannot be
            scored, or a model has the name of a reference row.
        ChildProcessError: a worker died.
    """
    if callable(predictors):
        predictors = {getattr(predictors, "name", "model"): predictors}
    for name in predictors:
        if name in REFERENCES:
            raise ValueError(f"a model cannot be called {name!r}, as a reference row; rename it.")
    split = split or dataset.held_out
    samples = dataset[split]
    training = [] if split in ("train", "all") else dataset.splits.get("train", [])
    looked_at, masked = not has_masks_only(dataset), list(filter(_has_mask, samples))
    with _mapping(workers) as mapped:

        def each(function, tasks, items, title):
            results = mapped(function, tasks)
            return (next(results) for _ in (track(items, title) if track else items))

        def learn(kind, source, leave_out):
            planes = each(kind.preprocess, zip(source), source, "centre bias")
            return kind(planes, leave_out)

        if looked_at:
            bias = learn(CentreBias, training or samples, not training)
        if masked:
            masked_training = list(filter(_has_mask, training))
            mask_bias = learn(MaskBias, masked_training or masked, not masked_training)
        looks = list(each(_look, zip(samples), samples, "fixations"))

        def tasks():
            for number, sample in enumerate(samples):
                maps = {name: predict(sample.image) for name, predict in predictors.items()}
                # The other images in random order.
                order = np.random.default_rng((seed, number)).permutation(len(samples))
                order = order[order != number]
                kinds = []
                if looked_at:
                    others = _fixations_elsewhere(looks, order, looks[number].size, convention)
                    other = samples[order[-1]] if len(order) else None  # MIT's ten come first
                    kinds.append(
                        partial(
                            _score_gaze,
                            bias=bias,
                            others=others,
                            other=other,
                            convention=convention,
                            emd=emd,
                            seed=(seed, number),
                        )
                    )
                if _has_mask(sample):
                    other = next((samples[n] for n in order[::-1] if _has_mask(samples[n])), None)
                    kinds.append(partial(_score_mask, bias=mask_bias, other=other))
                yield sample, maps, kinds

        title = f"scoring {dataset.name} {split}"
        rows = list(each(_score_sample, tasks(), samples, title))
    return Evaluation(
        dataset=dataset.name,
        split=split,
        convention=convention,
        seed=seed,
        centre_bias=f"{len(training)} training images" if training else "the other images",
        dropped=sum(look.dropped for look in looks),
        models=tuple(predictors),
        samples=samples,
        scores=_columns(rows, (*predictors, *REFERENCES)),
    )


def _has_mask(sample):
    return sample.mask is not None


class _Look(NamedTuple):
    """What all images' scores need of one: fixations (n, 2), how many were dropped, its size."""

    points: np.ndarray
    dropped: int
    size: tuple[int, int]


def _look(sample):
    gaze = sample.read_gaze()
    return _Look(gaze.points, gaze.dropped, image_size(sample.image))


def _fixations_elsewhere(looks, order, size, convention):
    """Fixations of other images, in this order, scaled to one of (height, width): (m, 2)."""
    found, count = [np.zeros((0, 2))], 0
    for other in order[:_OTHER_IMAGES] if convention == "mit" else order:
        # As pysaliency scales them, so that its values are met.
        found.append(looks[other].points * np.divide(size, looks[other].size)[::-1])
        count += len(found[-1])
        if count > _MOST_FIXATIONS:
            break
    return np.concatenate(found)


def _score_sample(sample, maps, kinds):
    """Row → metric → value, of one image: of all kinds of ground truth."""
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
            raise ValueError(f"{sample.image}: the map of {name} has no score: {error}") from None
    return rows


def _score_mask(sample, maps, bias, other):
    """Row → metric of `MASK_METRICS` → value, of one image."""
    mask = sample.read_mask()
    rows = _score_models(sample, maps, lambda saliency: score_mask(saliency, mask))
    rows[CENTRE_BIAS] = score_mask(bias(sample), mask)
    rows[GAUSSIAN] = score_mask(gaussian_centre(mask.shape), mask)
    if other is not None:
        rows[OTHER_IMAGE] = score_mask(other.read_mask(), mask)
    return rows


def _score_gaze(sample, maps, bias, others, other, convention, emd, seed):
    """Row → metric of `GAZE_METRICS` → value, of one image; rows of people are means over them."""
    size = image_size(sample.image)
    gaze = sample.read_gaze()
    bias = resized(bias(sample), size)
    bias = bias / bias.sum(dtype=np.float64)

    def scored(saliency, density, fixations):
        truth = Truth(size, density, fixations, others, bias)
        return score(saliency, truth, convention, emd=emd, seed=seed)

    truth = sample.read_density(size), gaze.points
    rows = _score_models(sample, maps, lambda saliency: scored(saliency, *truth))
    rows[CENTRE_BIAS] = scored(bias, *truth)
    rows[GAUSSIAN] = scored(gaussian_centre(size), *truth)
    if other is not None:
        rows[OTHER_IMAGE] = scored(other.read_density(image_size(other.image)), *truth)
    humans = {}
    for row, saliency, rest in people(gaze, size, sample.sigma, bias):
        density = fixation_density(rest, size, sample.sigma)
        humans.setdefault(row, []).append(scored(saliency, density, rest))
    for row, scores in humans.items():
        rows[row] = {metric: np.mean([s[metric] for s in scores]) for metric in scores[0]}
    return rows


def _columns(images, rows):
    """Each image's row → metric → value, as row → metric → (n,) float64, without empty ones."""
    columns = {
        row: {
            metric: _column([image.get(row, {}).get(metric, np.nan) for image in images])
            for metric in METRICS
            if any(metric in image.get(row, {}) for image in images)
        }
        for row in rows
    }
    return {row: metrics for row, metrics in columns.items() if metrics}


def _column(values):
    """Values of the images, (n,) float64; of curves, those where their mean is highest."""
    values = np.stack(np.broadcast_arrays(*values))
    return values if values.ndim == 1 else values[:, np.nanmean(values, axis=0).argmax()]


def _start_worker():
    threadpool_limits(1)  # the processes are enough for all cores


@contextlib.contextmanager
def _mapping(workers):
    """A function (function, argument tuples) → results in their order, by so many processes."""
    if workers == 1:
        threads = ThreadpoolController()

        def alone(function, tasks):
            for task in tasks:
                with threads.limit(limits=1, user_api="blas"):  # several add in another order
                    result = function(*task)
                yield result

        yield alone
        return
    with processes(workers, _start_worker) as pool:
        yield lambda function, tasks: look_ahead(pool, function, tasks, 2 * workers)
