"""The benchmarks, end to end and tiny; they check themselves that their sides compute the same."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

_BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
_ONCE = ("--rounds", "1", "--repeats", "1", "--threads", "1")
_NETWORK = ("--num-rga", "1", "--size", "128", "--filters", "8")


def run(script, *arguments):
    """What it prints."""
    finished = subprocess.run(
        [sys.executable, str(_BENCHMARKS / script), *_ONCE, *arguments],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def rows(output):
    """The rows of the table: {first cell: [other cells]}."""
    lines = [line.strip("| ") for line in output.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines[2:]]
    return {first: others for first, *others in cells}


def test_twin_and_litert():
    sides = ["litert-int8"]
    if importlib.util.find_spec("torch"):
        sides += ["torch-direct-channels-first", "torch-linear-channels-last"]
    output = run("training_step.py", *_NETWORK, "--sides", *sides)
    assert set(rows(output)) == set(sides)
    assert output.count("from the same weights as Keras: maps differ") == len(sides) - 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_keras(backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    precision = ("--backend", backend, "--precision", "bfloat16")
    output = run("training_step.py", *_NETWORK, *precision, "--sides", "keras")
    assert set(rows(output)) == {"keras"}
    assert ("of matmul rate" in output) == (backend == "jax")


def test_rga():
    output = rows(run("rga.py", "--cases", "8:64", "32:64", "--memory", "0.01"))
    assert "does not fit" not in output["8 x 8 x 64"]
    assert "does not fit" in output["32 x 32 x 64"]


def test_input_pipeline():
    sides = ["decode alone", "tf.data, files", "OpenCV processes, files", "PyDataset, shards"]
    output = run(
        "input_pipeline.py", "--images", "4", "--batch", "2", "--size", "64", "--sides", *sides
    )
    assert set(rows(output)) == {*sides, "augmentation"}
    assert output.count("pixels differ by at most") == len(sides) - 1


@pytest.mark.slow
def test_memory():
    if not importlib.util.find_spec("jax"):
        pytest.skip("jax is not installed")
    sides = ("4", "4 exact")
    arguments = [sys.executable, str(_BENCHMARKS / "memory.py"), "--size", "160", "--batch", "1"]
    finished = subprocess.run(
        [*arguments, "--filters", "56", "--sides", *sides], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    pooled, exact = ([float(cell) for cell in rows(finished.stdout)[side][:3]] for side in sides)
    assert all(less < more for less, more in zip(pooled, exact, strict=True))
