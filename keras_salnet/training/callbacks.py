"""What happens beside `fit` that Keras's own callbacks do not do."""

import io
import json
import math
import time

import h5py
import keras

from keras_salnet.files import atomic


class _Memory(io.BytesIO):
    """A file in memory, of a name that Keras takes.

    On a full disk HDF5 would write to the terminal itself, and may crash the process.
    """

    def __str__(self):
        return "memory.weights.h5"


class BestWeights(keras.callbacks.Callback):
    """Write a model's weights whenever the validation loss is the best so far.

    Not Keras's ModelCheckpoint: that would save the graph around the model, and its optimizer.

    Args:
        net: the model inside the training graph.
        path: the ``.weights.h5`` file, replaced atomically.
        devices: as of `training.strategy.start`; only the chief writes.
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
    """Raise FloatingPointError at the batch whose loss is not finite, and say which that is.

    Keras's TerminateOnNaN says neither, and lets the epoch's other callbacks go on.

    Args:
        images: function (epoch, batch) → names of the images in it.
        best: `BestWeights`, to say what is kept.
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
            kept = f"The best weights before are in {self.best.path}."
        else:
            kept = "No weights are kept: no epoch was finished."
        raise FloatingPointError(
            f"the {what} became NaN or infinite {where}. {kept} Try a smaller --learning-rate, "
            "--clip-norm, or no --mixed-precision."
        )


class TimeLimit(keras.callbacks.Callback):
    """Stop training, at a batch, when it has taken so long.

    Its `spent` are the seconds so far, those of earlier processes included that worked on the run.

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
    """Keep on disk what it takes to go on after the process is killed.

    One file, replaced atomically when an epoch begins: the weights and the optimizer, and in an
    attribute that epoch and what other callbacks remember. It comes last among the callbacks, when
    they have written all of the epoch before, and SwapEMAWeights has put the weights back.

    Its `epoch` is the first that is not done, by the file that is there; 0 without one.

    Args:
        path: the ``.weights.h5`` file.
        remembered: callback → names of its attributes that are kept.
        devices: as of `training.strategy.start`; only the chief writes.
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
                    f"{path}: damaged ({error}); remove it to start the run from its beginning."
                ) from error

    def restore(self, graph):
        """Give a compiled graph, its optimizer built, their state back."""
        graph.load_weights(self.path)

    def write(self, graph, epoch):
        """Put the file in place. `epoch` is the first that is not done."""
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
        # Not earlier: Keras's callbacks begin by forgetting.
        for callback, values in zip(self.remembered, self._values, strict=False):
            vars(callback).update(values)
        self._values = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch > self.epoch:
            self.write(self.model, epoch)
