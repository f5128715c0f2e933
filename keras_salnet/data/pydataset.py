"""Samples → batches in the network's frame, by numpy and OpenCV: training without TensorFlow.

The same two functions as in `keras_salnet.data.pipeline`, and the same batches.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import keras
import numpy as np

from keras_salnet.data.augmentation import draw_epoch, identity_warp
from keras_salnet.data.sharing import ONE_DEVICE

_BATCHES_AHEAD = 3


def training_batches(
    samples, input_size, *, resize, batch_size, seed, augment, first_epoch=0, sharing=ONE_DEVICE
):
    """Endless shuffled batches, epoch after epoch; each epoch ends with its partial batch.

    Arguments as in `pipeline.training_batches`.

    Returns:
        `keras.utils.PyDataset` without end: `fit` needs `steps_per_epoch` and ``shuffle=False``.
        Of each batch it has the process's part.
    """
    whole = sharing.even(len(samples))
    steps = -(-whole // batch_size)

    @lru_cache(maxsize=2)  # around its end, batches of two epochs are under way
    def draws(epoch):
        return draw_epoch(seed, epoch, len(samples), augment)

    def draw(step):
        epoch, step = divmod(step, steps)
        batch = slice(step * batch_size, min((step + 1) * batch_size, whole))
        order, warps = (sharing.own(drawn[batch]) for drawn in draws(first_epoch + epoch))
        return [samples[i] for i in order], warps

    return _Batches(draw, None, input_size, resize)


def validation_batches(samples, input_size, *, resize, batch_size, sharing=ONE_DEVICE):
    """Batches in the samples' order, once through. Arguments as in `training_batches`."""
    samples = samples[: sharing.even(len(samples))]

    def draw(step):
        batch = sharing.own(samples[step * batch_size : (step + 1) * batch_size])
        return batch, np.tile(identity_warp(), (len(batch), 1))

    return _Batches(draw, -(-len(samples) // batch_size), input_size, resize)


class _Batches(keras.utils.PyDataset):
    """Batches as a function of their step, the next ones loaded ahead on threads.

    Keras's own workers do not fit: they repeat, or go on after, the batch that `fit` takes a
    look at before the first step. Threads will do: OpenCV lets go of Python's lock.

    Args:
        draw: step → (list of samples, their warps).
        num_batches: int, or None without end.
        input_size, resize: as in `training_batches`.
    """

    def __init__(self, draw, num_batches, input_size, resize):
        super().__init__()
        self._draw = draw
        self._num_batches = num_batches
        self._input_size = input_size
        self._resize = resize
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._pending = {}

    @property
    def num_batches(self):
        return self._num_batches

    def __getitem__(self, step):
        ahead = range(step, min(step + _BATCHES_AHEAD, self._num_batches or step + _BATCHES_AHEAD))
        self._pending = {i: self._pending.get(i) or self._start(i) for i in ahead}
        loading, warps = self._pending[step]
        loaded = [sample.result() for sample in loading]
        image, density, mask = (np.stack(planes) for planes in zip(*loaded, strict=True))
        return {"image": image, "density": density, "mask": mask, "warp": warps}

    def _start(self, step):
        samples, warps = self._draw(step)
        return [self._pool.submit(_load, s, self._input_size, self._resize) for s in samples], warps


def _load(sample, input_size, resize):
    return sample.read_in(input_size, resize)
