"""What a user is told when training stops, and when a run cannot be resumed."""

import errno
import json
import os
import shutil
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from keras_salnet.data import load_dataset
from keras_salnet.data.augmentation import draw_epoch
from keras_salnet.runs import Run
from keras_salnet.training import resume, train
from keras_salnet.training.callbacks import BestWeights, ResumeRecord, StopAtNaN
from keras_salnet.training.lock import locked
from keras_salnet.training.strategy import OneDevice


@pytest.fixture
def own_displays(displays, tmp_path):
    """A copy of the displays, to spoil."""
    return shutil.copytree(displays, tmp_path / "displays")


@pytest.fixture
def stopped_by(small, own_displays, tmp_path, failing):
    """Trains, which stops by an error, or by what a function returns: → the error, the run."""

    def stop(error, **options):
        run = tmp_path / "run"
        with pytest.raises(BaseException) as raised:  # noqa: PT011
            train(small, load_dataset(own_displays), run, callbacks=[failing(error)], **options)
        return raised.value, run

    return stop


@pytest.fixture
def run(stopped_by):
    """A run that was interrupted in its first epoch."""
    _, run = stopped_by(KeyboardInterrupt())
    return run


def how_to_resume(run):
    return [f"resume with: keras-salnet train --resume {run}"]


# While it trains


def test_ctrl_c_says_how_to_go_on(stopped_by):
    error, run = stopped_by(KeyboardInterrupt())
    assert isinstance(error, KeyboardInterrupt)
    assert error.__notes__ == how_to_resume(run)


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("UNKNOWN: x; No space left on device [Op:SaveV2]"),
    ],
)
def test_a_full_disk(stopped_by, raised):
    error, run = stopped_by(raised)
    assert isinstance(error, OSError)
    assert str(error) == f"{run}: no space left on the disk."
    assert error.__notes__ == how_to_resume(run)


FULL_DISK = """
import gc, resource, signal, sys
from pathlib import Path

import keras

from keras_salnet.training.callbacks import BestWeights, ResumeRecord
from keras_salnet.training.strategy import OneDevice

folder = Path(sys.argv[1])
inputs = keras.Input((100,))
net = keras.Model(inputs, keras.layers.Dense(100)(inputs))
best = BestWeights(net, folder / "best.weights.h5", OneDevice())
record = ResumeRecord(folder / "resume.weights.h5", {best: ["best"]}, OneDevice())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails, as on a full disk
for limit in (100, 5000, 20_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for write in (lambda: best.on_epoch_end(0, {"val_loss": 1 / limit}),
                  lambda: record.write(net, 1)):
        try:
            write()
        except OSError:
            assert not list(folder.iterdir())
        else:
            raise AssertionError("was written")
        gc.collect()
print("all refused")
"""


def test_a_full_disk_is_an_error_alone(tmp_path):
    """HDF5, writing there itself, would say more on the terminal and crash the process."""
    pytest.importorskip("resource")
    finished = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path],
        env={**os.environ, "KERAS_BACKEND": "numpy"},  # which starts fastest
        capture_output=True,
        text=True,
    )
    assert finished.stdout == "all refused\n", finished.stderr
    assert finished.returncode == 0
    assert "ignored" not in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_file_that_vanishes(stopped_by, own_displays):
    image = own_displays / "images" / "train" / "train_0002.jpg"

    def vanish():
        image.unlink()
        return RuntimeError("some graph: no such file")

    error, run = stopped_by(vanish)
    assert f"{image}: no such file." in str(error)
    assert error.__notes__ == how_to_resume(run)


class Spoiled(keras.callbacks.Callback):
    """A weight becomes NaN before the second batch of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            weight = self.model.trainable_variables[-1]
            weight.assign(np.nan * weight.numpy())


def test_a_loss_that_is_nan_names_epoch_batch_images_and_what_is_kept(small, dataset, tmp_path):
    order, _ = draw_epoch(4, 1, 5, augment=None)
    images = ", ".join(f"train_{i:04d}" for i in order[2:4])
    run = Run(tmp_path / "run")
    message = (
        rf"in epoch 2 at batch 2 \({images}\)\. The best weights so far are in {run.weights}\..*--l"
    )
    with pytest.raises(FloatingPointError, match=message) as raised:
        train(small, dataset, run.path, seed=4, callbacks=[Spoiled()])
    assert not hasattr(raised.value, "__notes__"), "resuming would only repeat it"
    assert ResumeRecord(run.resume, {}, OneDevice()).epoch == 1


def test_a_validation_loss_that_is_nan(tmp_path):
    best = BestWeights(None, tmp_path / "best.weights.h5", OneDevice())
    best.path.touch()
    stop = StopAtNaN(None, best)
    stop.on_epoch_end(4, {"val_loss": 1.0})
    with pytest.raises(FloatingPointError, match=r"validation loss.*after epoch 5.*best\.weights"):
        stop.on_epoch_end(4, {"val_loss": float("inf")})


# When it is resumed


def test_what_a_run_needs_to_be_resumed_is_checked_before_it_is_touched(run, own_displays):
    def refused():
        with pytest.raises((ValueError, FileNotFoundError)) as raised:
            resume(run)
        return str(raised.value)

    config = json.loads((run / "config.json").read_text())

    def change(**changes):
        (run / "config.json").write_text(json.dumps({**config, **changes}))

    change(versions={"jax": "0"})
    assert "KERAS_BACKEND=jax" in refused()
    change(data=None)
    assert "made in memory" in refused()
    change(recipe={**config["recipe"], "momentum": 1})
    assert "momentum" in refused()
    (run / "config.json").write_text(json.dumps({"recipe": config["recipe"]}))
    assert "it lacks data, deterministic" in refused()
    (run / "config.json").write_text("{")
    assert "config.json: not the settings of a run" in refused()
    change()
    (run / "model.keras").touch()
    (run / "resume.weights.h5").touch()  # as a process leaves it that is killed at the very end
    assert refused() == f"{run}: this run is finished; there is nothing to resume."
    assert not (run / "resume.weights.h5").exists()
    (run / "model.keras").unlink()

    image = own_displays / "images" / "train" / "train_0003.jpg"
    image.rename(image.with_name("train_0009.jpg"))
    for kind in ("maps", "fixations"):
        for path in (own_displays / kind / "train").glob("train_0003.*"):
            path.rename(path.with_name(f"train_0009{path.suffix}"))
    assert "the split train of" in (message := refused())
    assert "(5 images now, 5 then, with other names)" in message
    for path in own_displays.rglob("train_0009.*"):
        path.unlink()
    assert "(4 images now, 5 then)" in refused()

    shutil.rmtree(run)
    assert refused() == f"{run} is not a run folder (no config.json)."


def test_a_run_that_another_process_trains_is_left_alone(run):
    draft = run / ".best-0123abcd.weights.h5"
    draft.write_bytes(b"the other one writes it")
    with locked(run):
        before = sorted(run.iterdir())
        with pytest.raises(BlockingIOError, match=f"{run}: another process is training this run; "):
            resume(run)
        assert sorted(run.iterdir()) == before


class Look(keras.callbacks.Callback):
    """Keeps how training begins, and stops it."""

    def on_train_begin(self, logs=None):
        self.layers = {layer.name: layer for layer in self.model.layers}
        self.jit = self.model.jit_compile
        self.weights = self.model.get_weights()
        raise KeyboardInterrupt


def test_the_settings_of_the_run_are_those_it_goes_on_with(small, dataset, tmp_path):
    first, then = Look(), Look()
    settings = {"seed": 7, "jit": True, "mixed_precision": "bfloat16"}
    recipe = small.replace(augment="gaze")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, dataset, tmp_path / "run", **settings, callbacks=[first])
    before = (tmp_path / "run" / "config.json").read_bytes()
    keras.utils.set_random_seed(1)
    with pytest.raises(KeyboardInterrupt):
        resume(tmp_path / "run", callbacks=[then])
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert then.layers["opensalicon"].layers[-3].compute_dtype == "bfloat16"
    assert "augment" in then.layers
    assert then.jit is True
    for ours, theirs in zip(then.weights, first.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# The record


def model(scaled=False):
    inputs = keras.Input((2,))
    net = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    optimizer = keras.optimizers.Adam(use_ema=True, gradient_accumulation_steps=2)
    if scaled:  # as training in float16 has it
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 4.0, dynamic_growth_steps=2)
    net.compile(optimizer, "mse")
    net.optimizer.build(net.trainable_variables)
    return net


def test_the_record_keeps_what_callbacks_remember(tmp_path):
    def callbacks():
        return (
            BestWeights(None, tmp_path / "best.weights.h5", OneDevice()),
            keras.callbacks.EarlyStopping(patience=3),
        )

    def record(best, stopping):
        return ResumeRecord(
            tmp_path / "resume.weights.h5",
            {best: ["best"], stopping: ["best", "wait"]},
            OneDevice(),
        )

    best, stopping = callbacks()
    first = record(best, stopping)
    assert first.epoch == 0
    best.best, stopping.best, stopping.wait = 0.1, 0.25, 2
    first.write(model(), 5)

    best, stopping = callbacks()
    again = record(best, stopping)
    assert again.epoch == 5
    for part in range(2):
        for callback in (best, stopping, again):
            callback.on_train_begin()
        assert best.best == 0.1
        # A second `fit` begins anew, as it does where nothing was resumed.
        assert (stopping.best, stopping.wait) == ((0.25, 2) if part == 0 else (None, 0))


@pytest.mark.parametrize("scaled", [False, True])
def test_the_record_keeps_the_optimizer(tmp_path, scaled):
    net, again = model(scaled), model(scaled)
    net.fit(np.ones((3, 2)), np.ones((3, 1)), batch_size=1, verbose=0)
    record = ResumeRecord(tmp_path / "resume.weights.h5", {}, OneDevice())
    record.write(net, 1)
    record.restore(again)
    theirs = [variable.numpy() for variable in net.optimizer.variables]
    for ours, value in zip(again.optimizer.variables, theirs, strict=True):
        np.testing.assert_array_equal(ours.numpy(), value)
    assert {3, 8} <= {value.item() for value in theirs if value.size == 1} or not scaled


def test_a_record_of_something_else_is_refused(tmp_path):
    path = tmp_path / "resume.weights.h5"
    path.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"resume\.weights\.h5: damaged"):
        ResumeRecord(path, {}, OneDevice())
    h5py.File(path, "w").close()
    with pytest.raises(ValueError, match="remove it"):
        ResumeRecord(path, {}, OneDevice())
