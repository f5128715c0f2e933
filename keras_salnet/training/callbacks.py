"""Callbacks of training that Keras does not have."""

import io
import json
import math
import time

import h5py
import keras

from keras_salnet.files import atomic


class _Memory(io.BytesIO):
    """A file in memory, with a name that Keras accepts.

    On a full disk, HDF5 itself would print to the terminal, and may crash the process.
    """

    def __str__(self):
        return "memory.weights.h5"


class BestWeights(keras.callbacks.Callback):
    """Write a model's weights whenever the validation loss is the best so far.

    `keras.callbacks.ModelCheckpoint` would save the training graph around the model, and does not
    replace its file atomically.

    Args:
        net: the model inside the training graph.
        path: the ``.weights.h5`` file.
        devices: as returned by `training.strategy.start`; only the chief writes.
    """

    def __init__(self, net, path, devices):
        super().__init__()
        self.net = net
        self.path = path
        self.devices = devices
        self.best = float("inf")

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            if self.devices.is_chief:
                memory = _Memory()
                with self.devices.alone():
                    self.net.save_weights(memory)
                with atomic(self.path) as draft:
                    draft.write_bytes(memory.getbuffer())


class StopAtNaN(keras.callbacks.Callback):
    """Raise FloatingPointError at the first batch whose loss is not finite, and name its images.

    `keras.callbacks.TerminateOnNaN` knows neither the epoch nor the images, and does not look at
    the validation loss.

    Args:
        images: function (epoch, batch) → names of the images in the batch.
        best: `BestWeights`, to name the weights that are kept.
    """

    def __init__(self, images, best):
        super().__init__()
        self.images = images
        self.best = best

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            images = ", ".join(self.images(self.epoch, batch))
            self._stop("loss", f"in epoch {self.epoch + 1} at batch {batch + 1} ({images})")

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["val_loss"]):
            self._stop("validation loss", f"after epoch {epoch + 1}")

    def _stop(self, what, where):
        if self.best.path.exists():
            kept = f"The best weights so far are in {self.best.path}."
        else:
            kept = "No weights were kept: no epoch was finished."
        raise FloatingPointError(
            f"the {what} became NaN or infinite {where}. {kept} Try a smaller --learning-rate, "
            "--clip-norm, or no --mixed-precision."
        )


class TimeLimit(keras.callbacks.Callback):
    """Stop training at the first batch that ends after a time limit.

    Its `spent` counts the seconds so far, including those of earlier processes of the run.

    Args:
        seconds: number above 0.
    """

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.spent = 0.0

    def on_train_begin(self, logs=None):
        self._seen = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        self.spent += now - self._seen
        self._seen = now
        if self.spent >= self.seconds:
            self.model.stop_training = True


class ResumeRecord(keras.callbacks.Callback):
    """Keep on disk what is needed to resume after the process is killed.

    A single file, replaced atomically at the beginning of each epoch: the weights and the
    optimizer, and in an attribute the epoch and the state of other callbacks.
    `keras.callbacks.BackupAndRestore` keeps no state of other callbacks and writes two files in
    place, which a kill between them leaves unusable.

    It must be the last callback: then the others have written everything about the epoch before,
    and `keras.callbacks.SwapEMAWeights` has put the weights back.

    Its `epoch` is the first one that the file says is not done, or 0 without a file.

    Args:
        path: the ``.weights.h5`` file.
        remembered: callback → names of the attributes to keep.
        devices: as returned by `training.strategy.start`; only the chief writes.
    """

    def __init__(self, path, remembered, devices):
        super().__init__()
        self.path = path
        self.remembered = remembered
        self.devices = devices
        self.epoch, self._values = 0, []
        if path.exists():
            try:
                with h5py.File(path) as file:
                    self.epoch, self._values = json.loads(file.attrs["state"])
            except (OSError, KeyError, ValueError) as error:
                raise ValueError(
                    f"{path}: damaged ({error}); remove it to restart the run from its beginning."
                ) from error

    def restore(self, graph):
        """Load the state of a compiled graph and its built optimizer."""
        graph.load_weights(self.path)

    def write(self, graph, epoch):
        """Write the file. `epoch` is the first one that is not done."""
        values = [
            {name: getattr(callback, name) for name in names}
            for callback, names in self.remembered.items()
        ]
        if self.devices.is_chief:
            memory = _Memory()
            with self.devices.alone():
                graph.save_weights(memory)
            with h5py.File(memory, "a") as file:
                file.attrs["state"] = json.dumps([epoch, values])
            with atomic(self.path) as draft:
                draft.write_bytes(memory.getbuffer())
        self.epoch = epoch

    def on_train_begin(self, logs=None):
        # Not earlier: Keras's callbacks reset their state here.
        for callback, values in zip(self.remembered, self._values, strict=False):
            vars(callback).update(values)
        self._values = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch > self.epoch:
            self.write(self.model, epoch)
