"""A run that is killed, really, and resumed ends as one that was left alone."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from keras_salnet import models
from keras_salnet.data import load_dataset, popout
from keras_salnet.training import run as training
from keras_salnet.training.callbacks import StopAtNaN
from keras_salnet.training.recipes import POPOUT

NARROW = {"num_rga": 0, "filters": 8}

# Trains, or resumes where there is a run already, and kills itself at a moment.
WORKER = """
import os, signal, sys
from pathlib import Path

moment, data, out, start = sys.argv[1:]

import keras
from keras_salnet.data import load_dataset
from keras_salnet.files import atomic
from keras_salnet.training import callbacks, run as training
from keras_salnet.training.recipes import POPOUT

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def before(owner, name, act):
    function = getattr(owner, name)
    def acted(*arguments, **options):
        act(*arguments)
        return function(*arguments, **options)
    setattr(owner, name, acted)

def at_batch(self, batch):
    if (self.epoch, batch) == {"first epoch": (0, 1), "thawed epoch": (1, 2)}[moment]:
        die()

def half_a_line(self, epoch, *logs):
    if epoch == 1:
        self.csv_file.write(f"{epoch},0.12")
        self.csv_file.flush()
        die()

def half_a_record(path, content):
    if path.name.startswith(".resume") and fit.ResumeRecord.writes == 2:
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        die()

def count(self, graph, epoch):
    fit.ResumeRecord.writes = epoch

def after_best(self, epoch, *logs):
    if epoch == 2:
        die()

def half_an_export(history, path):
    path.with_name(".model-0123abcd.tflite").write_bytes(b"half")
    die()

def at_the_end(self):
    if self.name == fit.RECORD:
        die()

if moment in ("first epoch", "thawed epoch"):
    before(callbacks.StopAtNaN, "on_train_batch_end", at_batch)
elif moment == "history":
    before(keras.callbacks.CSVLogger, "on_epoch_end", half_a_line)
elif moment == "record":
    before(fit.ResumeRecord, "write", count)
    before(Path, "write_bytes", half_a_record)
elif moment == "best":
    before(keras.callbacks.CSVLogger, "on_epoch_end", after_best)
elif moment == "export":
    fit.plot_curves = half_an_export
elif moment == "end":
    before(Path, "unlink", at_the_end)
else:
    assert moment == "never"

if Path(out).exists():
    fit.resume(out)
else:
    recipe = POPOUT.replace(
        model_args={"num_rga": 0, "filters": 8}, input_size=(32, 32), epochs=4, batch_size=2,
        augment="gaze", freeze_encoder=1, encoder_rate=0.5, accumulate=2, clip_norm=5.0, ema=0.8,
        early_stopping=3, loss="edge_hold",
    )
    fit.train(recipe, load_dataset(data), out, seed=3, init=start, deterministic=True)
"""


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
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_run_killed_again_and_again_ends_as_one_left_alone(worker, tmp_path, backend):
    pytest.importorskip(backend)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert worker("never", whole, backend) == 0
    for moment in ("first epoch", "thawed epoch", "history", "record", "best", "export", "end"):
        assert worker(moment, killed, backend) == -signal.SIGKILL, moment
    with pytest.raises(ValueError, match="is finished"):
        training.resume(killed)
    assert contents(killed) == contents(whole)
    for name in ("config.json", "history.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    for ours, theirs in zip(weights(killed), weights(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_an_interrupted_run_goes_on(displays, tmp_path, monkeypatch):
    """The same within one process, and without `deterministic`, so not to the last bit."""
    for name in ("export_savedmodel", "export_tflite", "plot_curves"):
        monkeypatch.setattr(training, name, lambda *arguments, **options: None)
    recipe = POPOUT.replace(
        model_args=NARROW,
        input_size=(32, 32),
        epochs=3,
        batch_size=2,
        augment="gaze",
        accumulate=2,
        ema=0.8,
        encoder_rate=0.5,
    )
    dataset = load_dataset(displays)
    whole = training.train(recipe, dataset, tmp_path / "whole", seed=3)

    class Interrupting(StopAtNaN):
        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (2, 1):
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "StopAtNaN", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            training.train(recipe, dataset, tmp_path / "run", seed=3)
    with (tmp_path / "run" / "history.csv").open("a") as file:
        file.write("2,0.1")
    (tmp_path / "run" / ".best-0123abcd.weights.h5").write_bytes(b"half")
    run = training.resume(tmp_path / "run")
    assert contents(run) == contents(whole)
    for ours, theirs in zip(weights(run), weights(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    ours, theirs = (np.loadtxt(r / "history.csv", delimiter=",", skiprows=1) for r in (run, whole))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
