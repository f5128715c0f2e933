"""A run that is killed, really, and resumed ends as one that was left alone."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from keras_salnet import models
from keras_salnet.data import popout
from keras_salnet.training import resume

NARROW = {"num_rga": 0, "filters": 8}

# Trains, or resumes where there is a run already, and kills itself at a moment.
WORKER = """
import os, signal, sys
from pathlib import Path

moment, data, out, start = sys.argv[1:]

import keras
from keras_salnet.data import load_dataset
from keras_salnet.training import resume, train
from keras_salnet.training.recipes import POPOUT

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def before(owner, name, act):
    function = getattr(owner, name)
    def acted(*arguments, **options):
        act(*arguments)
        return function(*arguments, **options)
    setattr(owner, name, acted)

class Killer(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if moment == "epoch" and (self.epoch, batch) == (1, 2):
            die()

killer = Killer()

def half_a_line(self, epoch, *logs):
    if epoch == 1:
        self.csv_file.write(f"{epoch},0.12")
        self.csv_file.flush()
        die()

def half_a_record(path, content):
    if path.name.startswith(".resume") and killer.epoch == 2:
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        die()

def half_a_model(self, path):
    path.with_name(".model-0123abcd.keras").write_bytes(b"half")
    die()

def at_the_end(self):
    if self.name == "resume.weights.h5":
        die()

if moment == "history":
    before(keras.callbacks.CSVLogger, "on_epoch_end", half_a_line)
elif moment == "record":
    before(Path, "write_bytes", half_a_record)
elif moment == "model":
    before(keras.Model, "save", half_a_model)
elif moment == "end":
    before(Path, "unlink", at_the_end)
else:
    assert moment in ("epoch", "never")

options = {"callbacks": [killer], "exports": False}
if Path(out).exists():
    resume(out, **options)
else:
    recipe = POPOUT.replace(
        model_args={"num_rga": 0, "filters": 8}, input_size=(32, 32), epochs=4, batch_size=2,
        augment="gaze", freeze_encoder=1, encoder_rate=0.5, accumulate=2, clip_norm=5.0, ema=0.8,
        early_stopping=3, loss="edge_hold", loss_args={"alpha": [1.0, 0.7]},
    )
    train(recipe, load_dataset(data), out, seed=3, init=start, deterministic=True, **options)
"""

# In the order of a run. The last is killed between writing the model and removing the record.
MOMENTS = {
    "tensorflow": ("epoch", "history", "record", "model", "end"),
    "jax": ("epoch", "record"),
}


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 7, "val": 3, "test": 1})
    return folder


@pytest.fixture(scope="module")
def worker(displays, tmp_path_factory):
    """Runs until a moment in a process of its own: (moment, out) → its exit status."""
    start = tmp_path_factory.mktemp("start") / "start.weights.h5"
    models.create("vggrga", input_shape=(32, 32, 3), backbone_weights=None, **NARROW).save_weights(
        start
    )

    def work(moment, out, backend="tensorflow"):
        finished = subprocess.run(
            [sys.executable, "-c", WORKER, moment, displays, out, start],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
        assert finished.returncode in (0, -signal.SIGKILL), finished.stderr
        return finished.returncode

    return work


def weights(run):
    return models.load_model(run / "model.keras").get_weights()


def contents(run):
    return {path.relative_to(run) for path in run.rglob("*") if "logs" not in path.parts}


@pytest.mark.slow
@pytest.mark.parametrize("backend", MOMENTS)
def test_a_run_killed_again_and_again_ends_as_one_left_alone(worker, tmp_path, backend):
    pytest.importorskip(backend)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert worker("never", whole, backend) == 0
    for moment in MOMENTS[backend]:
        assert worker(moment, killed, backend) == -signal.SIGKILL, moment
    if backend == "jax":
        assert worker("never", killed, backend) == 0
    else:
        with pytest.raises(ValueError, match="is finished"):
            resume(killed)
    assert contents(killed) == contents(whole)
    for name in ("config.json", "history.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    for ours, theirs in zip(weights(killed), weights(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
