"""A dataset x models → scores: what is scored, and against what.

The rows of scores are the models and, where the data allow,

- split-half humans: half of the observers predict the other half; roughly the ceiling;
- leave-one-out human: each observer predicts all others;
- centre bias: the mean density of the training images or, if no other split is available, of the
  other images of the scored split. Every model must beat it;
- Gaussian centre: the same without any data;
- shuffled control: the density of another, random image of the split; the floor.

Against masks, the centre bias is the mean mask, the shuffled control another image's mask, and
there are no human rows. Metrics that give a curve over thresholds count at the threshold where
their mean over the images is highest, for each row its own.
"""

import contextlib

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from keras_salnet.data.checks import has_masks_only
from keras_salnet.evaluation.others import look, other_fixations, other_images
from keras_salnet.evaluation.references import REFERENCES, CentreBias, MaskBias
from keras_salnet.evaluation.results import Evaluation
from keras_salnet.evaluation.rows import GazeRows, MaskRows, score_sample
from keras_salnet.metrics.table import METRICS
from keras_salnet.parallel import look_ahead, processes


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
    """Score models next to baselines and human references, at the resolution of the ground truth.

    Where masks of the salient objects are known, predictions are scored against them too; if the
    dataset has nothing else, only against them. Images are taken one at a time: memory does not
    grow with their number, except for fixations and, with masks, two curves an image.

    Args:
        predictors: `Predictor`, `SavedMaps` or any function from an image's path to an (H, W) map;
            or a dict name → such; an empty one gives the reference rows alone.
        dataset: `Dataset`.
        split: split to score, or ``"all"``; `Dataset.held_out` by default.
        convention: of the metrics, ``"mit"`` or ``"pysaliency"``.
        emd: also compute EMD, which takes longer than all others together and needs POT.
        seed: random seed of the other images and of metrics that draw.
        workers: processes that compute scores while this one predicts; scores do not depend on it.
            More than one run the caller's script again, except what it does under
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
            raise ValueError(f"a model cannot be called {name!r}, like a reference row; rename it.")
    split = split or dataset.held_out
    with _mapping(workers) as mapped:
        options = {"convention": convention, "emd": emd, "seed": seed}
        return _Protocol(dataset, split, mapped, track).run(predictors, **options)


class _Protocol:
    """One evaluation.

    Args:
        dataset, split, track: as in `evaluate`.
        mapped: function (function, argument tuples) → results in order.
    """

    def __init__(self, dataset, split, mapped, track):
        self._dataset, self._split, self._mapped, self._track = dataset, split, mapped, track
        self._samples = dataset[split]
        no_training = split in ("train", "all")
        self._training = [] if no_training else dataset.splits.get("train", [])

    def run(self, predictors, convention, emd, seed):
        """Score the predictors (name → function) and the references: `Evaluation`."""
        samples, masked = self._samples, list(filter(_has_mask, self._samples))
        with_gaze = not has_masks_only(self._dataset)
        bias = self._learn(CentreBias, samples, self._training) if with_gaze else None
        if masked:
            mask_bias = self._learn(MaskBias, masked, list(filter(_has_mask, self._training)))
        looks = list(self._each(look, zip(samples), samples, "fixations"))

        def tasks():
            for number, sample in enumerate(samples):
                maps = {name: predict(sample.image) for name, predict in predictors.items()}
                others = [samples[n] for n in other_images(number, len(samples), seed)[::-1]]
                kinds = []
                if with_gaze:
                    points = other_fixations(looks, number, seed, convention)
                    other = next(iter(others), None)
                    rows = GazeRows(bias, points, other, convention, emd, (seed, number))
                    kinds.append(rows)
                if _has_mask(sample):
                    kinds.append(MaskRows(mask_bias, next(filter(_has_mask, others), None)))
                yield sample, maps, kinds

        title = f"scoring {self._dataset.name} {self._split}"
        rows = list(self._each(score_sample, tasks(), samples, title))
        training = f"{len(self._training)} training images" if self._training else None
        return Evaluation(
            dataset=self._dataset.name,
            split=self._split,
            convention=convention,
            seed=seed,
            centre_bias=training or "the other images",
            dropped=sum(look.dropped for look in looks),
            models=tuple(predictors),
            samples=samples,
            scores=_columns(rows, (*predictors, *REFERENCES)),
        )

    def _learn(self, kind, scored, training):
        """A centre bias of the training samples or, where there are none, leave-one-out."""
        source = training or scored
        planes = self._each(kind.small_density, zip(source), source, "centre bias")
        return kind(planes, leave_out=not training)

    def _each(self, function, tasks, items, title):
        results = self._mapped(function, tasks)
        return (next(results) for _ in (self._track(items, title) if self._track else items))


def _has_mask(sample):
    return sample.mask is not None


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
    """A function (function, argument tuples) → results in order, computed by so many processes."""
    if workers > 1:
        with processes(workers, _start_worker) as pool:
            yield lambda function, tasks: look_ahead(pool, function, tasks, 2 * workers)
        return
    threads = ThreadpoolController()

    def alone(function, tasks):
        for task in tasks:
            with threads.limit(limits=1, user_api="blas"):  # several add in another order
                result = function(*task)
            yield result

    yield alone
