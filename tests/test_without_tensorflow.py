"""Training, evaluating and predicting where TensorFlow is not installed."""

import csv
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import types
import venv
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from keras_salnet import cli, metrics, models
from keras_salnet.data import load_dataset, pipeline, popout
from keras_salnet.models import load_model
from keras_salnet.models.backbones import encoder_layers
from keras_salnet.prediction.predictor import Predictor
from keras_salnet.training.recipes import POPOUT

REPOSITORY = Path(__file__).parents[1]

# Runs commands in a Python that does not find some packages, on a narrow model.
COMMANDS = """
import contextlib, io, json, os, sys
from importlib.machinery import PathFinder

missing, commands, recipe = (json.loads(argument) for argument in sys.argv[2:])

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in missing:
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
del os.environ["KERAS_BACKEND"]

from keras_salnet.cli import main
from keras_salnet.training.recipes import POPOUT, RECIPES

recipe["input_size"] = tuple(recipe["input_size"])
RECIPES["vggrga"] = POPOUT.replace(**recipe)
os.chdir(sys.argv[1])
answers = []
for command in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(command)
    answers.append({"status": status, "out": out.getvalue(), "err": err.getvalue()})
import keras
answers.append({"backend": keras.backend.backend(), "found": sorted({*missing} & {*sys.modules})})
with open("answers.json", "w") as file:
    json.dump(answers, file)
"""

RECIPE = {
    "model_args": {"num_rga": 0, "filters": 8},
    "input_size": (64, 64),
    "epochs": 2,
    "batch_size": 2,
    "augment": "gaze",
}


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 3, "val": 2, "test": 1})
    return folder


@pytest.fixture(
    scope="module",
    params=[
        ("jax", ["tensorflow", "tensorboard"]),
        ("torch", ["tensorflow", "tensorboard", "jax"]),
    ],
    ids=["jax", "torch"],
)
def without(request, run_python, displays, tmp_path_factory):
    """What the commands leave and say without TensorFlow: on JAX, or without that on PyTorch."""
    backend, missing = request.param
    if util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folder = tmp_path_factory.mktemp(backend)
    image = str(displays / "images" / "test" / "test_0000.jpg")
    commands = [
        ["train", "--data", str(displays), "--out", "run"],
        ["evaluate", "run"],
        ["predict", image, "--model", "run", "--npy"],
        ["export", "run", "--out", "model.tflite"],
        ["export", "run", "--out", "saved_model", "--format", "savedmodel"],
    ]
    run_python(COMMANDS, folder, *map(json.dumps, (missing, commands, RECIPE)))
    *answers, python = json.loads((folder / "answers.json").read_text())
    return types.SimpleNamespace(
        backend=backend, folder=folder, run=folder / "run", answers=answers, python=python
    )


def test_another_backend_serves(without):
    assert [answer["status"] for answer in without.answers] == [0, 0, 0, 1, 1]
    assert without.python == {"backend": without.backend, "found": []}


def test_run_folder_lacks_tensorflows_exports_alone(without):
    assert {path.name for path in without.run.iterdir()} == {
        "best.weights.h5",
        "config.json",
        "evaluation.json",
        "history.csv",
        "model.keras",
        "training.png",
    }
    assert "saved_model" not in without.answers[0]["out"]
    versions = json.loads((without.run / "config.json").read_text())["versions"]
    assert without.backend in versions
    rows = list(csv.DictReader((without.run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def test_export_says_where_it_can_be_done(without):
    for answer, what in zip(without.answers[3:], ("tflite", "savedmodel"), strict=True):
        assert answer["out"] == ""
        (line,) = answer["err"].splitlines()
        assert line.startswith(f"error: the export as {what} needs TensorFlow")
    assert not (without.folder / "model.tflite").exists()
    assert not (without.folder / "saved_model").exists()


def test_tensorflow_predicts_the_same(without, displays):
    ours = np.load(without.folder / "predictions" / "test_0000_saliency.npy")
    theirs = Predictor.load(without.run)(displays / "images" / "test" / "test_0000.jpg")
    assert ours.std() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_tensorflow_exports_it(without, displays, tmp_path):
    assert cli.main(["export", str(without.run), "--out", str(tmp_path / "model.tflite")]) == 0
    ours = np.load(without.folder / "predictions" / "test_0000_saliency.npy")
    lite = Predictor.load(tmp_path / "model.tflite")
    np.testing.assert_allclose(
        lite(displays / "images" / "test" / "test_0000.jpg"), ours, atol=1e-4
    )


def test_the_model_has_the_loss_that_the_history_says(without, displays):
    """Computed under TensorFlow. So the weights are those of the best epoch's end."""
    net, samples = load_model(without.run / "model.keras"), load_dataset(displays)["val"]
    (batch,) = pipeline.validation_batches(samples, (64, 64), resize="stretch", batch_size=2)
    losses = [
        10 * metrics.kl_divergence(saliency, density)
        - metrics.correlation_coefficient(saliency, density)
        - metrics.similarity(saliency, density)
        for saliency, density in zip(
            net.predict_on_batch(batch["image"])[..., 0],
            np.asarray(batch["density"])[..., 0],
            strict=True,
        )
    ]
    rows = csv.DictReader((without.run / "history.csv").open())
    best = min(float(row["val_loss"]) for row in rows)
    assert np.mean(losses) == pytest.approx(best, rel=1e-3)


# Which backend is chosen


@pytest.mark.parametrize(
    ("wanted", "installed", "chosen"),
    [
        (None, {"tensorflow", "jax", "torch"}, "tensorflow"),
        (None, {"jax", "torch"}, "jax"),
        ("", {"torch"}, "torch"),
        ("torch", {"tensorflow", "jax", "torch"}, "torch"),
        ("jax", {"tensorflow"}, "jax"),  # Keras itself will tell that it is missing
    ],
)
def test_the_backend_is_the_users_or_the_first_installed(monkeypatch, wanted, installed, chosen):
    monkeypatch.setenv("KERAS_BACKEND", "")
    if wanted is None:
        monkeypatch.delenv("KERAS_BACKEND")
    else:
        monkeypatch.setenv("KERAS_BACKEND", wanted)
    monkeypatch.setattr(cli.environment.util, "find_spec", lambda name: name in installed or None)
    cli.environment.start_keras()
    assert os.environ["KERAS_BACKEND"] == chosen


def test_without_any_backend_a_line_says_what_to_install(monkeypatch, displays, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setattr(cli.environment.util, "find_spec", lambda name: None)
    assert cli.main(["train", "--data", str(displays), "--out", "nowhere"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "error: Keras needs TensorFlow, JAX or PyTorch; install one of them."


# The guide, as it stands


@pytest.fixture
def environment(tmp_path):
    """Runs a line in a virtual environment made as the guide says, and returns what it printed."""
    checkout, folder = tmp_path / "checkout", tmp_path / "venv"
    checkout.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, checkout)
    for name in ("keras_salnet", "datasets"):
        shutil.copytree(REPOSITORY / name, checkout / name)
    venv.create(folder, with_pip=True)
    variables = {
        key: value
        for key, value in os.environ.items()
        if key not in ("KERAS_BACKEND", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    variables["PATH"] = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])

    def run(line, status=0):
        finished = subprocess.run(
            ["bash", "-ec", line], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert finished.returncode == status, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr

    guide = (REPOSITORY / "docs" / "without_tensorflow.md").read_text("utf-8")
    install = re.search(r"^```sh\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)[1]
    install, replaced = re.subn(r"(?<=\s)keras-salnet(?=\s)", shlex.quote(str(checkout)), install)
    assert replaced == 1
    run(install)
    yield run
    shutil.rmtree(folder)  # some hundred megabytes


@pytest.mark.slow
def test_the_guide_in_a_new_environment(environment, displays, tmp_path):
    """It fine-tunes a model that was made with TensorFlow."""
    assert "No module named 'tensorflow'" in environment("python -c 'import tensorflow'", status=1)
    start = tmp_path / "start"
    start.mkdir()
    net = models.create(
        "vggrga", input_shape=(64, 64, 3), backbone_weights=None, **RECIPE["model_args"]
    )
    net.save(start / "model.keras")
    recipe = POPOUT.replace(**RECIPE)
    (start / "config.json").write_text(json.dumps({"recipe": dataclasses.asdict(recipe)}))

    train = f"keras-salnet train --data {displays} --init start --batch-size 2 --encoder-rate 0.1"
    environment(f"{train} --freeze-encoder 1 --epochs 1 --out frozen")
    frozen = load_model(tmp_path / "frozen" / "model.keras")
    given = {weight.path: weight for weight in net.weights}
    encoder = {weight.path for layer in encoder_layers(net) for weight in layer.weights}
    for weight in frozen.weights:
        same = np.array_equal(weight.numpy(), given[weight.path].numpy())
        assert same == (weight.path in encoder), weight.path

    environment(f"{train} --freeze-encoder 1 --epochs 2 --augment --out runs/thawed")
    rows = list(csv.DictReader((tmp_path / "runs" / "thawed" / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert "centre bias" in environment("keras-salnet evaluate")
    image = displays / "images" / "test" / "test_0000.jpg"
    environment(f"keras-salnet predict {image} --out fast")  # the shipped model
    environment(f"keras-salnet predict {image} --npy --model runs/thawed")
    ours = np.load(tmp_path / "predictions" / "test_0000_saliency.npy")
    theirs = Predictor.load(tmp_path / "runs" / "thawed")(image)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
