"""A run on several devices, or of several processes, learns what a run on one device learns."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_salnet import models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, popout, pydataset
from keras_salnet.data.sharing import Sharing
from keras_salnet.training import RECIPES, strategy
from keras_salnet.training import run as training

# Trains, or resumes where there is a run already; one worker may kill itself.
RUN = """
import json, os, signal, sys

data, out, strategy, devices, recipe, victim = sys.argv[1:]
devices, recipe = int(devices), json.loads(recipe)
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * devices,
    )
else:
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"

from pathlib import Path
from keras_salnet import cli
from keras_salnet.training import callbacks, recipes

if victim == os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID"):
    step = callbacks.StopAtNaN.on_train_batch_end

    def die_in_the_second_epoch(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        step(self, batch, logs)

    callbacks.StopAtNaN.on_train_batch_end = die_in_the_second_epoch

recipe["input_size"] = tuple(recipe["input_size"])
recipes.RECIPES["vggrga"] = recipes.RECIPES["popout"].replace(**recipe)
command = ["train", "--data", data, "--out", out]
if strategy != "none":
    command += ["--strategy", strategy]
if Path(out, "config.json").exists():
    command = ["train", "--resume", out]
sys.exit(cli.main(command))
"""

# The fastest model with batch normalization.
RECIPE = {
    "model_args": {"num_rga": 1, "filters": 8, "attention": "cbam_cs"},
    "input_size": [32, 48],
    "augment": "gaze",
    "batch_size": 4,
    "epochs": 2,
    "learning_rate": 1e-5,  # at higher ones, rounding grows to more than what is compared
    "schedule": "step",
    "encoder_rate": 0.5,
    "ema": 0.8,
}


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 10, "val": 6, "test": 1})  # with partial batches of two
    return folder


def launch(data, out, backend, strategy="none", devices=1, workers=1, victim=None):
    """Starts a run → its processes, whose output is piped."""
    recipe = RECIPE if backend == "tensorflow" else {**RECIPE, "clip_norm": 1.0, "accumulate": 2}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-c", RUN, data, out, strategy, str(devices)),
                *(json.dumps(recipe), str(victim)),
            ],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(workers),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(worker),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for worker in range(workers)
    ]


@pytest.fixture
def begin(displays):
    """`launch` on the displays; none of the processes outlives the test."""
    processes = []

    def start(*arguments, **options):
        started = launch(displays, *arguments, **options)
        processes.extend(started)
        return started

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def history(run):
    with (run / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def statistics(run):
    """What batch normalization has seen."""
    net = models.load_model(run / "model.keras")
    return [weight.numpy() for weight in net.weights if weight.name.startswith("moving_")]


def assert_same(run, other):
    for ours, theirs in zip(history(run), history(other), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    ours, theirs = statistics(run), statistics(other)
    assert ours
    for array, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def alone(displays, tmp_path_factory):
    """Runs on one device, by backend."""
    runs = {}

    def run(backend):
        pytest.importorskip(backend)
        if backend not in runs:
            runs[backend] = tmp_path_factory.mktemp("alone") / backend
            (process,) = launch(displays, runs[backend], backend)
            told, _ = process.communicate(timeout=600)
            assert process.returncode == 0, told
        return runs[backend]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_learn_what_one_does(alone, begin, tmp_path, backend):
    one = alone(backend)
    (process,) = begin(tmp_path / "two", backend, "mirrored", devices=2)
    told, _ = process.communicate(timeout=600)
    assert process.returncode == 0, told
    assert_same(tmp_path / "two", one)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in one.iterdir()
    }


@pytest.mark.slow
def test_two_processes_learn_what_one_does_though_each_is_killed_once(alone, begin, tmp_path):
    one, run = alone("jax"), tmp_path / "run"

    def kill(victim):
        workers = begin(run, "jax", "multi-worker", workers=2, victim=victim)
        assert workers[victim].wait(timeout=600) == -signal.SIGKILL
        killed = time.monotonic()
        told, _ = workers[1 - victim].communicate(timeout=150)
        assert time.monotonic() - killed < 120
        assert len(history(run)) == 1
        assert not (run / "model.keras").exists()
        return workers[1 - victim].returncode, told

    status, told = kill(1)
    assert status == 1
    assert "error: another worker exited" in told
    assert f"train --resume {run}" in told
    assert "Traceback" not in told
    status, told = kill(0)  # whose part is also to know of the others: JAX itself ends them
    assert status != 0
    assert "another worker exited" in told or "another task died" in told

    for process in begin(run, "jax", "multi-worker", workers=2):
        told, _ = process.communicate(timeout=600)
        assert process.returncode == 0, told
    assert_same(run, one)


# What each process reads


def test_the_parts_of_the_workers_make_up_the_batch(displays):
    dataset = load_dataset(displays)
    options = {"input_size": (8, 8), "resize": "stretch", "batch_size": 4}
    seeded = {"seed": 3, "augment": "gaze", "first_epoch": 1, **options}

    def both(function, samples, **options):
        whole = function(samples, **options)
        parts = [function(samples, sharing=Sharing(2, worker, 2), **options) for worker in (0, 1)]
        return whole, parts

    for function, samples, steps, given in (
        (pydataset.training_batches, dataset["train"], 6, seeded),
        (pydataset.validation_batches, dataset["val"], 2, options),
    ):
        whole, parts = both(function, samples, **given)
        for step in range(steps):
            for name, expected in whole[step].items():
                joined = np.concatenate([part[step][name] for part in parts])
                np.testing.assert_array_equal(joined, expected)


def test_an_epoch_leaves_out_what_the_devices_cannot_share(displays):
    from keras_salnet.data import pipeline

    dataset = load_dataset(displays)
    options = {
        "input_size": (8, 8),
        "resize": "stretch",
        "batch_size": 6,
        "sharing": Sharing(devices=3),
    }
    seeded = {"seed": 3, "augment": None, **options}
    on_numpy = pydataset.training_batches(dataset["train"], **seeded)
    on_tensorflow = pipeline.training_batches(dataset["train"], **seeded)
    for step, batch in enumerate(on_tensorflow.take(4)):
        assert len(batch["image"]) == (6, 3)[step % 2]
        np.testing.assert_allclose(batch["image"], on_numpy[step]["image"], atol=1e-2)
    val = dataset["val"][:5]
    assert pydataset.validation_batches(val, **options)[0]["image"].shape[0] == 3
    (batch,) = pipeline.validation_batches(val, **options)
    assert len(batch["image"]) == 3


# What cannot be


@pytest.fixture
def on_backend(monkeypatch):
    return lambda name: monkeypatch.setattr(strategy.keras.backend, "backend", lambda: name)


def test_a_strategy_of_another_backend_is_refused(on_backend):
    on_backend("tensorflow")
    with pytest.raises(
        ValueError, match="tensorflow backend has no --strategy multi-worker; set KER"
    ):
        strategy.start("multi-worker")
    on_backend("torch")
    with pytest.raises(ValueError, match="torch backend has no --strategy mirrored"):
        strategy.start("mirrored")
    with pytest.raises(ValueError, match="mirrored or multi-worker, not 'parameter-server'"):
        strategy.start("parameter-server")


def test_nobody_says_who_the_workers_are(run_python):
    pytest.importorskip("jax")
    run_python(
        "from keras_salnet.training import strategy\n"
        "try:\n    strategy.start('multi-worker')\n"
        "except ValueError as error:\n    assert 'KERAS_DISTRIBUTION_NUM_PROCESSES' in str(error)\n"
        "else:\n    assert False",
        backend="jax",
    )


def test_workers_are_told_where_the_run_is(displays, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--data", str(displays), "--strategy", "multi-worker"])
    assert stopped.value.code == 2
    assert "give --out, a folder that all workers see" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["clip_norm", "accumulate"])
def test_what_tensorflow_would_do_to_each_device_alone_is_refused(option, displays):
    mirrored = strategy.start("mirrored")
    dataset = load_dataset(displays)
    mirrored.check(RECIPES["vggrga"], dataset)
    with pytest.raises(ValueError, match=option.replace("_", "-")):
        mirrored.check(RECIPES["vggrga"].replace(**{option: 2}), dataset)


@pytest.mark.parametrize(
    ("devices", "batch", "said"),
    [
        (3, 4, "3 devices cannot share a batch of 4; give a --batch-size that is a multiple of 3"),
        (8, 8, "6 images in val are too few for 8 devices"),
    ],
)
def test_what_devices_cannot_share_is_refused(
    displays, tmp_path, monkeypatch, capsys, devices, batch, said
):
    several = strategy.OneDevice()
    several.sharing = Sharing(devices)
    monkeypatch.setattr(training, "start", lambda name: several)
    out = tmp_path / "run"
    command = ["train", "--data", str(displays), "--out", str(out), "--backbone-weights", "none"]
    assert main([*command, "--batch-size", str(batch), "--strategy", "mirrored"]) == 1
    assert said in capsys.readouterr().err
    assert not out.exists()
