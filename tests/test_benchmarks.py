"""The benchmarks, end to end and tiny; they check themselves that their sides compute the same."""

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from keras_salnet import models
from keras_salnet.data import popout
from keras_salnet.layers import SelfAttention

_BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
_ONCE = ("--rounds", "1", "--repeats", "1", "--threads", "1")
_NETWORK = ("--num-rga", "1", "--size", "128", "--filters", "8")


def run(script, *arguments, once=_ONCE):
    """What it prints."""
    finished = subprocess.run(
        [sys.executable, str(_BENCHMARKS / script), *once, *arguments],
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


def test_litert():
    output = run("training_step.py", *_NETWORK, "--sides", "litert-int8")
    assert set(rows(output)) == {"litert-int8"}


def test_the_torch_twin_computes_the_same():
    """In processes without TensorFlow, which the benchmark itself checks."""
    if not importlib.util.find_spec("torch"):
        pytest.skip("torch is not installed")
    sides = ["torch-direct-channels-first", "torch-linear-channels-last"]
    output = run("training_step.py", *_NETWORK, "--sides", *sides)
    assert set(rows(output)) == set(sides)
    assert output.count("from the same weights as Keras: maps differ") == 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_keras(backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    precision = ("--backend", backend, "--precision", "bfloat16")
    output = run("training_step.py", *_NETWORK, *precision, "--sides", "keras")
    assert set(rows(output)) == {"keras"}
    assert ("of matmul rate" in output) == (backend == "jax")


@pytest.mark.slow
def test_rga():
    output = rows(run("rga.py", "--cases", "8:64", "32:64", "--memory", "0.01"))
    assert "does not fit" not in output["8 x 8 x 64"]
    assert "does not fit" in output["32 x 32 x 64"]


@pytest.mark.slow
def test_memory():
    pytest.importorskip("jax")
    case = ("--cases", "1", "1:direct", "--size", "256", "--filters", "8", "--batch", "2")
    printed = rows(run("memory.py", *case, once=()))
    default, direct = printed.values()
    weights = float(default[-1]) * 1e6
    assert direct[-1] == default[-1], "256 pixels are all related by default, too"
    for linear, built in zip(default[:4:2], direct[:4:2], strict=True):
        # Both keep the weights and Adam's two moments, in float32; the direct form also keeps
        # the relations of the 256 pixels, 2 stages and 2 images, and their rows and columns.
        assert 3 * 4 * weights / 2**20 < float(linear) < float(built)


@pytest.mark.slow
def test_input_pipeline():
    sides = ["decode alone", "tf.data, files", "OpenCV processes, files", "PyDataset, shards"]
    output = run(
        "input_pipeline.py", "--images", "4", "--batch", "2", "--size", "64", "--sides", *sides
    )
    assert set(rows(output)) == {*sides, "augmentation"}
    assert output.count("pixels differ by at most") == len(sides) - 1


@pytest.mark.slow
def test_export(tmp_path):
    popout.write(tmp_path / "displays", {"train": 3, "test": 3})
    net = models.create(
        "vggrga", input_shape=(32, 32, 3), backbone_weights=None, num_rga=0, filters=8
    )
    net.save(tmp_path / "model.keras")
    sides = ["LiteRT none", "LiteRT int8"]
    command = ("export.py", str(tmp_path / "model.keras"), "--images", "2", "--sides", *sides)
    output = run(*command, "--data", str(tmp_path / "displays"))
    assert "2 images of displays" in output
    printed = rows(output)
    assert list(printed) == ["Keras", *sides]
    assert [row[3] for row in printed.values()][:2] == ["1.00000", "1.00000"]
    assert 0.9 < float(printed["LiteRT int8"][3]) < 1
    sizes = [float(row[0]) for row in printed.values()]
    assert sizes[2] < sizes[1] / 2
    assert all(float(row[1]) > 0 for row in printed.values())


@pytest.mark.slow
def test_compare_models(tmp_path):
    popout.write(tmp_path / "displays", {"train": 3, "val": 2, "test": 3})
    command = ("compare_models.py", "--data", str(tmp_path / "displays"), "--epochs", "1")
    options = ("--set", "ablation", "--filters", "8", "--out", str(tmp_path / "runs"))
    names = ["VGGM", "VGGRGA(1)"]
    output = run(*command, *options, "--models", *names)
    printed = rows(output)
    assert {*names, "centre bias", "VGGRGA(1) − VGGM"} < set(printed)
    weights = (tmp_path / "runs" / "VGGM" / "best.weights.h5").stat().st_mtime_ns
    again = rows(run(*command, *options, "--models", *names))
    assert printed["VGGM"][:-2] == again["VGGM"][:-2], "but for the speed"
    assert (tmp_path / "runs" / "VGGM" / "best.weights.h5").stat().st_mtime_ns == weights


@pytest.fixture
def count_multiply_adds(monkeypatch):
    monkeypatch.syspath_prepend(_BENCHMARKS)
    return runpy.run_path(str(_BENCHMARKS / "models.py"))["count_multiply_adds"]


def test_multiply_adds_of_vgg16(count_multiply_adds):
    net = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 96, 3))
    expected, channels, pixels = 0, 3, 64 * 96
    for convolutions, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(convolutions):
            expected += pixels * 9 * channels * width
            channels = width
        pixels //= 4
    assert count_multiply_adds(net) == expected


def test_multiply_adds_of_attention_and_deconvolution(count_multiply_adds):
    images = keras.Input((4, 6, 64))
    net = keras.Model(images, SelfAttention(ratio=8, value_ratio=8)(images))
    assert count_multiply_adds(net) == 24 * 4 * 64 * 8 + 2 * 24**2 * 8
    doubling = keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same")
    net = keras.Model(images, doubling(images))
    assert count_multiply_adds(net) == 24 * 4**2 * 64 * 5


@pytest.mark.slow
def test_models():
    output = rows(run("models.py", "--models", "pfa"))
    _, parameters, multiply_adds, keras, litert = output["PFA"]
    assert parameters == "16,186,089"
    assert float(multiply_adds) == pytest.approx(33, abs=1)
    assert float(keras) > 0
    assert float(litert) > 0


@pytest.mark.slow
def test_serving():
    if not importlib.util.find_spec("uvicorn"):
        pytest.skip("the server needs pip install 'keras-salnet[serve]'")
    short = ("--rounds", "1", "--seconds", "1", "--clients", "2", "--malformed", "80")
    output = run("serving.py", *short, once=())
    printed = rows(output)
    assert list(printed) == ["bare loop", "model alone", "server, 2 clients"]
    assert printed["bare loop"][1] == "1.00×"
    assert all(float(row[0]) > 0 for row in printed.values())
    told = output.replace("\n", " ")
    assert "× 500" not in told
    assert "80 malformed requests" in told
    assert " 0 broken off" in told
    assert "Ended with status 0" in told
