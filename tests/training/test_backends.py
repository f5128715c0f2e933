"""Training and loading on TensorFlow, JAX and PyTorch: the same numbers, the same files."""

import csv
import json
from importlib import util

import h5py
import keras
import numpy as np
import pytest

from keras_salnet import models
from keras_salnet.data import load_dataset, popout
from keras_salnet.training import train
from keras_salnet.training.recipes import POPOUT

pytestmark = pytest.mark.slow

BACKENDS = ("tensorflow", "jax", "torch")
# The smallest and narrowest on which RGA finds enough nodes.
FRAME, NARROW = (112, 128), {"num_rga": 1, "filters": 7}
RATE, STEPS = 1e-4, 3

# Trains for an epoch of three steps and leaves the run, and beside it what each step logged.
TRAIN = """
import json, sys
from pathlib import Path

data, start, out = map(Path, sys.argv[1:4])
changes = json.loads(sys.argv[4])

import keras
from keras_salnet.data import load_dataset
from keras_salnet.training import train
from keras_salnet.training.recipes import POPOUT

logged = []

class Recording(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        logged.append({name: float(value) for name, value in logs.items()})

recipe = POPOUT.replace(**{**changes, "input_size": tuple(changes["input_size"])})
options = {"callbacks": [Recording()], "exports": False}
train(recipe, load_dataset(data), out, seed=2, init=str(start), **options)
out.with_suffix(".json").write_text(json.dumps(logged))
"""

# What the models of all runs say of some images: by their weights alone, and whole.
PREDICT = """
import json, sys
from pathlib import Path

import keras
import numpy as np

from keras_salnet import models

folder, frame, narrow = Path(sys.argv[1]), *map(json.loads, sys.argv[2:4])
images, answers = np.load(folder / "images.npy"), {}
net = models.create("vggrga", input_shape=(*frame, 3), backbone_weights=None, **narrow)
for run in sys.argv[4:]:
    net.load_weights(folder / run / "best.weights.h5")
    answers[f"{run}, weights"] = net.predict_on_batch(images)
    answers[f"{run}, whole"] = models.load_model(folder / run / "model.keras").predict_on_batch(
        images
    )
np.savez(folder / f"{keras.backend.backend()}.npz", **answers)
"""


def installed(backend):
    return util.find_spec(backend) is not None


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    """As many as fill three batches, of which the last is smaller."""
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 5, "val": 2, "test": 1})
    return folder


def build():
    return models.create("vggrga", input_shape=(*FRAME, 3), backbone_weights=None, **NARROW)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights of which none is zero, so that each has its part in the maps and in the gradient."""
    path = tmp_path_factory.mktemp("start") / "start.weights.h5"
    keras.utils.set_random_seed(0)
    net = build()
    random = np.random.default_rng(0)
    for weight in net.weights:
        weight.assign(weight + random.normal(0, 0.02, weight.shape).astype("float32"))
    net.save_weights(path)
    return path


@pytest.fixture(scope="module")
def runs(run_python, displays, start, tmp_path_factory):
    """A folder with a run of each backend that is installed, called as it is."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = {
        "model_args": NARROW,
        "input_size": FRAME,
        "augment": "gaze",
        "epochs": 1,
        "batch_size": 2,
        "schedule": "step",
        "learning_rate": RATE,
    }
    for backend in filter(installed, BACKENDS):
        run_python(TRAIN, displays, start, folder / backend, json.dumps(recipe), backend=backend)
    return folder


def weights(path):
    """{path in an HDF5 file: its values}."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def change(of, since, names):
    """Length of the difference of two sets of weights, over these of them together."""
    return np.sqrt(sum(np.sum((of[name] - since[name]) ** 2) for name in names))


each_other = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(name, marks=pytest.mark.skipif(not installed(name), reason=f"no {name} here"))
        for name in BACKENDS[1:]
    ],
)


# Three steps


@each_other
def test_three_steps_log_what_tensorflow_does(runs, backend):
    """The first step's numbers are of the batches and the model alone, not of what was learnt."""
    ours, theirs = (
        json.loads((runs / f"{name}.json").read_text()) for name in (backend, "tensorflow")
    )
    assert len(ours) == len(theirs) == STEPS
    assert ours[0].keys() == {"loss", "kl", "cc", "sim"}
    for step, tolerance in enumerate((1e-5, 1e-4, 1e-4)):
        assert ours[step] == pytest.approx(theirs[step], rel=tolerance, abs=tolerance), step
    (ours,), (theirs,) = (
        csv.DictReader((runs / name / "history.csv").open()) for name in (backend, "tensorflow")
    )
    assert len(ours) == 9
    for name, value in theirs.items():
        # Of the weights after the last step.
        assert float(ours[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-3), name


@each_other
def test_three_steps_end_at_tensorflows_weights(runs, start, backend):
    """Weights, and what batch normalization has seen.

    Adam moves a weight by the learning rate however small its gradient is: where that is hardly
    more than rounding, or than what tf.data and OpenCV differ by when they resize, it may go the
    other way. So weights are compared by the length of what they differ by, of all weights and of
    each tensor, with how far they went: 4 % of all and 19 % of the worst tensor when this was
    written. A scalar may go to and fro, so that a tensor that went less far is held to a fifth of
    the way that Adam can take it. Adam's ε of 1e-5 for 1e-7 made that 19 % and 99 %, another ε of
    the normalization 140 % of the worst, another draw of the augmentation more than 80 % of all.
    """
    before = weights(start)
    ours, theirs = (weights(runs / name / "best.weights.h5") for name in (backend, "tensorflow"))
    assert ours.keys() == theirs.keys() == before.keys()
    statistics = {name for name in before if name.endswith(("bn/vars/2", "bn/vars/3"))}
    assert len(statistics) == 2 * 24
    for names, together, each, least in (
        (before.keys() - statistics, 0.1, 0.5, 0.2 * STEPS * RATE),
        (statistics, 0.005, 0.05, 0),
    ):
        assert change(ours, theirs, names) < together * change(theirs, before, names)
        for name in names:
            way = change(theirs, before, [name])
            assert way > 0, f"{name} has not been trained"
            way = max(way, least * before[name].size ** 0.5)
            assert change(ours, theirs, [name]) < each * way, name


# Files


@pytest.fixture(scope="module")
def answers(runs, displays, run_python):
    """What each backend's models answer on each backend: → {(of, form, on): maps}."""
    samples = load_dataset(displays)["val"]
    np.save(runs / "images.npy", np.stack([sample.read_in(FRAME)[0] for sample in samples]))
    names, found = list(filter(installed, BACKENDS)), {}
    for on in names:
        run_python(PREDICT, runs, json.dumps(FRAME), json.dumps(NARROW), *names, backend=on)
        with np.load(runs / f"{on}.npz") as maps:
            found |= {(*key.split(", "), on): maps[key] for key in maps}
    return found


def test_every_backends_files_mean_the_same_on_every_other(answers):
    names = list(filter(installed, BACKENDS))
    assert len(answers) == len(names) * 2 * len(names)
    for of in names:
        expected = answers[of, "weights", of]
        assert expected.std() > 1e-3
        for form in ("weights", "whole"):
            for on in names:
                error = np.abs(answers[of, form, on] - expected).max()
                assert error < 1e-5, (of, form, on)


class Start(keras.callbacks.Callback):
    """Keeps the weights that training starts from."""

    def on_train_begin(self, logs=None):
        self.weights = {weight.path: weight.numpy().copy() for weight in self.model.weights}


@each_other
def test_another_backends_weights_are_trained_on(runs, displays, tmp_path, backend):
    source, start = runs / backend / "best.weights.h5", Start()
    recipe = POPOUT.replace(model_args=NARROW, input_size=FRAME, epochs=1, batch_size=5)
    options = {"callbacks": [start], "exports": False}
    run = train(recipe, load_dataset(displays), tmp_path / "run", init=source, **options)
    net, ended = build(), models.load_model(run / "model.keras")
    net.load_weights(source)
    for weight, after in zip(net.weights, ended.weights, strict=True):
        np.testing.assert_array_equal(start.weights[weight.path], weight.numpy())
        assert np.abs(after.numpy() - weight.numpy()).max() > 0
