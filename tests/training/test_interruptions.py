"""What a user is told when training stops, and when a run cannot be resumed."""

import contextlib
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
import tensorflow as tf

from keras_salnet.cli import main
from keras_salnet.data import load_dataset, pipeline, popout
from keras_salnet.training import run as training
from keras_salnet.training.callbacks import BestWeights, ResumeRecord, StopAtNaN
from keras_salnet.training.lock import locked
from keras_salnet.training.recipes import POPOUT
from keras_salnet.training.strategy import OneDevice

TINY = POPOUT.replace(
    model_args={"num_rga": 0, "filters": 8}, input_size=(32, 32), batch_size=2, epochs=2
)


@pytest.fixture
def displays(tmp_path):
    folder = tmp_path / "displays"
    popout.write(folder, {"train": 5, "val": 2, "test": 1})
    return folder


@pytest.fixture
def stopped_by(displays, tmp_path, monkeypatch):
    """Runs the command, which stops by an error or what a function raises: → exit status, run."""

    def stop(raised, *options):
        def no_fit(*arguments):
            raise raised() if callable(raised) else raised

        monkeypatch.setattr(training, "_fit", no_fit)
        run = tmp_path / "run"
        command = ["train", "--data", str(displays), "--out", str(run), "--num-rga", "0"]
        return main([*command, "--input-size", "32", "--backbone-weights", "none", *options]), run

    return stop


@pytest.fixture
def run(stopped_by, capsys):
    """A run that was interrupted in its first epoch."""
    _, run = stopped_by(KeyboardInterrupt())
    capsys.readouterr()
    return run


def told(capsys):
    """The line of the error; what is logged goes elsewhere."""
    (line,) = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith(("error", "interrupted"))
    ]
    return line


# While it trains


def test_ctrl_c_says_how_to_go_on(stopped_by, capsys):
    status, run = stopped_by(KeyboardInterrupt())
    assert status == 130
    assert told(capsys) == f"interrupted; go on with: keras-salnet train --resume {run}"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("UNKNOWN: x; No space left on device [Op:SaveV2]"),
    ],
)
def test_a_full_disk(stopped_by, capsys, error):
    status, run = stopped_by(error)
    assert status == 1
    assert told(capsys) == (
        f"error: {run}: there is no space left on the disk; "
        f"go on with: keras-salnet train --resume {run}"
    )


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
        [sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True
    )
    assert finished.stdout == "all refused\n", finished.stderr
    assert finished.returncode == 0
    assert "ignored" not in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_file_that_vanishes(stopped_by, displays, capsys):
    image = displays / "images" / "train" / "train_0002.jpg"

    def vanish():
        image.unlink()
        return RuntimeError("some graph: no such file")

    status, run = stopped_by(vanish)
    assert status == 1
    error = capsys.readouterr().err
    assert f"{image}: there is no such file." in error
    assert error.endswith(f"; go on with: keras-salnet train --resume {run}\n")


def test_a_folder_that_cannot_be_written(displays, capsys):
    command = ["train", "--data", str(displays), "--input-size", "32", "--num-rga", "0"]
    assert main([*command, "--backbone-weights", "none", "--out", "/proc/run"]) == 1
    assert "/proc/run" in told(capsys)


def test_a_loss_that_is_nan_names_epoch_batch_images_and_what_is_kept(
    displays, tmp_path, monkeypatch
):
    batches = pipeline.training_batches

    def one_is_nan(*arguments, **options):
        def spoil(step, batch):
            return {**batch, "density": tf.where(step == 4, np.nan, batch["density"])}

        return batches(*arguments, **options).enumerate().map(spoil)

    monkeypatch.setattr(pipeline, "training_batches", one_is_nan)
    order, _ = training.draw_epoch(4, 1, 5, augment=None)
    images = ", ".join(f"train_{i:04d}" for i in order[2:4])
    run = tmp_path / "run"
    told = (
        rf"in epoch 2 at batch 2 \({images}\)\. The best weights before are in {run}/best\..*--lea"
    )
    with pytest.raises(FloatingPointError, match=told) as raised:
        training.train(TINY, load_dataset(displays), run, seed=4)
    assert not hasattr(raised.value, "__notes__"), "going on would only repeat it"
    assert ResumeRecord(run / training.RECORD, {}, OneDevice()).epoch == 1


def test_a_validation_loss_that_is_nan(tmp_path):
    best = BestWeights(None, tmp_path / "best.weights.h5", OneDevice())
    best.path.touch()
    stop = StopAtNaN(None, best)
    stop.on_epoch_end(4, {"val_loss": 1.0})
    with pytest.raises(FloatingPointError, match=r"validation loss.*after epoch 5.*best\.weights"):
        stop.on_epoch_end(4, {"val_loss": float("inf")})


# When it is resumed


def test_what_a_run_needs_to_be_resumed_is_checked_before_it_is_touched(run, displays, capsys):
    def refused():
        assert main(["train", "--resume", str(run)]) == 1
        return told(capsys)

    config = json.loads((run / "config.json").read_text())

    def change(**changes):
        (run / "config.json").write_text(json.dumps({**config, **changes}))

    change(versions={"jax": "0"})
    assert "KERAS_BACKEND=jax" in refused()
    change(data=None)
    assert "made by hand" in refused()
    change(recipe={**config["recipe"], "momentum": 1})
    assert "momentum" in refused()
    (run / "config.json").write_text(json.dumps({"recipe": config["recipe"]}))
    assert "it lacks data, deterministic" in refused()
    (run / "config.json").write_text("{")
    assert "config.json: not the settings of a run" in refused()
    change()
    (run / "model.keras").touch()
    assert refused() == f"error: {run}: this run is finished; there is nothing to resume."
    (run / "model.keras").unlink()

    image = displays / "images" / "train" / "train_0003.jpg"
    image.rename(image.with_name("train_0009.jpg"))
    for kind in ("maps", "fixations"):
        for path in (displays / kind / "train").glob("train_0003.*"):
            path.rename(path.with_name(f"train_0009{path.suffix}"))
    assert "the split train of" in (line := refused())
    assert "(5 images now, 5 then, others)" in line
    for path in displays.rglob("train_0009.*"):
        path.unlink()
    assert "(4 images now, 5 then)" in refused()

    shutil.rmtree(run)
    assert refused() == f"error: {run}: is no run folder; it has no config.json."


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--data", "popout"], "--data"),
        (["--seed", "0", "--augment", "none", "--warmup", "2"], "--warmup, --augment, --seed"),
    ],
)
def test_no_option_goes_with_resume(options, named, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", *options, "--resume", "run"])
    assert stopped.value.code == 2
    usage, _, error = capsys.readouterr().err.partition("keras-salnet train: error: ")
    assert usage.startswith("usage: keras-salnet train ")
    assert error.startswith("--resume goes on as the run began; leave out ")
    assert sorted(error.split("leave out ")[1].strip().split(", ")) == sorted(named.split(", "))


def test_a_run_that_another_process_trains_is_left_alone(run, capsys):
    draft = run / ".best-0123abcd.weights.h5"
    draft.write_bytes(b"the other one writes it")
    with locked(run):
        before = sorted(run.iterdir())
        assert main(["train", "--resume", str(run)]) == 1
        assert told(capsys).startswith(f"error: {run}: another process is training this run; ")
        assert sorted(run.iterdir()) == before


@pytest.mark.parametrize("other", ["trains", "has begun"])
def test_two_runs_that_begin_in_one_folder(displays, tmp_path, monkeypatch, capsys, other):
    """Both have found it empty, and one is the first to write there."""
    run = tmp_path / "run"
    build = training._build_all
    with contextlib.ExitStack() as stack:

        def build_slowly(*arguments):
            run.mkdir()
            stack.enter_context(locked(run))
            (run / "config.json").write_text("the other's")
            if other == "has begun":
                stack.close()
            return build(*arguments)

        monkeypatch.setattr(training, "_build_all", build_slowly)
        command = ["train", "--data", str(displays), "--out", str(run), "--num-rga", "0"]
        assert main([*command, "--input-size", "32", "--backbone-weights", "none"]) == 1
        assert f"{run}: another " in told(capsys)
        assert (run / "config.json").read_text() == "the other's"


def test_the_settings_of_the_run_are_those_it_goes_on_with(stopped_by, monkeypatch, capsys):
    _, run = stopped_by(
        KeyboardInterrupt(), "--seed", "7", "--jit", "--mixed-precision", "bfloat16", "--augment"
    )
    went_on = []

    def no_run(graph, net, recipe, dataset, config, out, devices):
        went_on.append((net.layers[-2].compute_dtype, recipe, config, out))
        return out

    monkeypatch.setattr(training, "_run", no_run)
    assert main(["train", "--resume", str(run)]) == 0
    ((dtype, recipe, config, out),) = went_on
    assert dtype == "bfloat16"
    assert recipe.augment
    assert (config["seed"], config["jit"], out) == (7, True, run)


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "a.jpg", "--model"]])
def test_a_run_that_is_not_finished_is_not_used(run, command, capsys):
    assert main([*command, str(run)]) == 1
    assert told(capsys) == (
        f"error: {run}: this run is not finished; go on with: keras-salnet train --resume {run}"
    )


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
