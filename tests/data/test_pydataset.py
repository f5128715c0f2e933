"""Batches without TensorFlow: those of the tf.data pipeline, in any order in which Keras asks."""

import importlib.util
import math
import threading
import time
from itertools import chain

import cv2
import keras
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import scipy.io

from keras_salnet.data import Sample, pydataset
from keras_salnet.data.augmentation import draw_epoch, identity_warp
from keras_salnet.data.pydataset import training_batches, validation_batches
from keras_salnet.images.geometry import MODES

FRAME = (24, 32)
PLANES = ("image", "density", "mask", "warp")


def numbers(batch):
    """Which of `numbered` a batch holds."""
    return [round(float(level) / 10) for level in batch["image"][:, 0, 0, 0]]


def train(samples, **options):
    defaults = {"resize": "stretch", "batch_size": 3, "seed": 0, "augment": None}
    return training_batches(samples, (6, 8), **{**defaults, **options})


def validate(samples, **options):
    return validation_batches(samples, (6, 8), **{"resize": "stretch", "batch_size": 3, **options})


def pure(step, seed=0, batch_size=3, samples=7, first_epoch=0):
    """(which samples the batch of a step holds, their warps), by definition."""
    epoch, step = divmod(step, math.ceil(samples / batch_size))
    order, warps = draw_epoch(seed, first_epoch + epoch, samples, "gaze")
    batch = slice(batch_size * step, batch_size * (step + 1))
    return order[batch].tolist(), warps[batch]


# What a batch is


@pytest.mark.parametrize("resize", MODES)
def test_a_batch_is_what_the_pipeline_says(numbered, resize):
    training = training_batches(
        numbered, FRAME, resize=resize, batch_size=4, seed=0, augment="gaze"
    )
    validation = validation_batches(numbered, FRAME, resize=resize, batch_size=4)
    for batches in (training, validation):
        for step, size in ((0, 4), (1, 3)):
            batch = batches[step]
            assert {name: value.shape for name, value in batch.items()} == {
                "image": (size, *FRAME, 3),
                "density": (size, *FRAME, 1),
                "mask": (size, *FRAME, 1),
                "warp": (size, 9),
            }
            assert {value.dtype for value in batch.values()} == {np.dtype("f4")}
            np.testing.assert_allclose(batch["density"].sum(axis=(1, 2, 3)), 1, atol=1e-5)
    assert np.array_equal(validation[1]["warp"], np.tile(identity_warp(), (3, 1)))


@pytest.mark.parametrize(("images", "batch_size"), [(7, 3), (6, 3), (1, 3), (7, 1), (7, 10)])
def test_epochs_are_whole(numbered, images, batch_size):
    validation = validate(numbered[:images], batch_size=batch_size)
    assert isinstance(validation, keras.utils.PyDataset)
    steps = math.ceil(images / batch_size)
    assert validation.num_batches == steps
    seen = chain(*(numbers(validation[step]) for step in range(steps)))
    assert list(seen) == list(range(images)), "in the samples' order"
    training = train(numbered[:images], batch_size=batch_size)
    assert training.num_batches is None, "without end"
    for epoch in range(3):
        batches = [numbers(training[epoch * steps + step]) for step in range(steps)]
        assert sorted(chain(*batches)) == list(range(images))
        assert {len(batch) for batch in batches[:-1]} <= {batch_size}


# Against tf.data


def write_truth(path, kind, size, rng):
    """What is known of an image of this size, in one of the kinds that datasets hold."""
    height, width = size
    points = np.stack([rng.uniform(0, width - 1, 5), rng.uniform(0, height - 1, 5)], axis=1)
    if kind == "points":
        return {"fixations": points, "sigma": 0.1 * max(size)}
    looked = np.zeros(size, np.uint8)
    looked[tuple(points[:, ::-1].astype(int).T)] = 255
    if kind == "fixation map":
        cv2.imwrite(str(path.with_suffix(".looked.png")), looked)
        return {"fixations": path.with_suffix(".looked.png"), "sigma": 0.1 * max(size)}
    if kind == "gaze":
        scipy.io.savemat(path.with_suffix(".mat"), {"gaze": {"fixations": points + 1}})
        return {"fixations": path.with_suffix(".mat"), "sigma": 0.1 * max(size)}
    level = cv2.GaussianBlur(looked / 255, (0, 0), 0.1 * max(size))
    if "mask" in kind:  # its edges are grey
        ending = ".mask.jpg" if kind == "JPEG mask" else ".mask.png"
        cv2.imwrite(str(path.with_suffix(ending)), np.round(255 * level / level.max()))
        return {"mask": path.with_suffix(ending)}
    if kind == "half a map":
        level = level[::2, ::2]
    dtype = np.uint16 if kind == "16-bit map" else np.uint8
    pixels = np.round(level / level.max() * np.iinfo(dtype).max).astype(dtype)
    ending = ".map.jpg" if kind == "JPEG map" else ".map.png"
    cv2.imwrite(str(path.with_suffix(ending)), pixels)
    return {"density": path.with_suffix(ending)}


TRUTHS = {
    "maps": ["map", "16-bit map", "half a map", "JPEG map"],
    "points": ["points", "fixation map", "gaze"],
    "masks": ["mask", "JPEG mask"],
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Images of many sizes with maps, and with points."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    samples = {truth: [] for truth in TRUTHS}
    sizes = [(50, 70), (70, 50), (24, 32), (13, 11), (20, 90), (300, 8), (64, 48)]
    for truth, kinds in TRUTHS.items():
        for number, size in enumerate(sizes):
            kind = kinds[number % len(kinds)]
            path = folder / f"{truth}{number}{'.png' if number % 2 else '.jpg'}"
            noise = cv2.GaussianBlur(rng.uniform(-400, 655, (*size, 3)), (0, 0), 2)
            image = PIL.Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
            exif = PIL.Image.Exif()
            if number == 6:  # lies on its side
                image = image.transpose(PIL.Image.Transpose.ROTATE_90)
                exif[PIL.ExifTags.Base.Orientation] = 6
            image.save(path, exif=exif)
            samples[truth].append(Sample(path, **write_truth(path, kind, size, rng)))
            assert samples[truth][-1].read_image().shape[:2] == size
    return samples


def assert_same(batch, expected, case):
    assert batch.keys() == expected.keys(), case
    for name in ("mask", "warp"):
        assert np.array_equal(batch[name], expected[name]), (name, case)
    assert np.abs(batch["image"] - expected["image"]).max() < 0.02, case
    for density, map_of_tf in zip(batch["density"], expected["density"], strict=True):
        assert np.abs(density - map_of_tf).max() < 1e-4 * map_of_tf.max(), case


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("truth", TRUTHS)
def test_the_batches_are_tf_datas(mixed, resize, truth):
    pipeline = pytest.importorskip("keras_salnet.data.pipeline", exc_type=ImportError)
    options = {"resize": resize, "batch_size": 3}
    drawn = {**options, "seed": 4, "augment": "gaze", "first_epoch": 2}
    training = training_batches(mixed[truth], FRAME, **drawn)
    expected = pipeline.training_batches(mixed[truth], FRAME, **drawn).take(3 * 3)
    for step, batch in enumerate(expected.as_numpy_iterator()):
        assert_same(training[step], batch, step)
    assert step == 3 * 3 - 1
    validation = validation_batches(mixed[truth], FRAME, **options)
    expected = pipeline.validation_batches(mixed[truth], FRAME, **options)
    for batch, one_of_tf in zip(validation, expected.as_numpy_iterator(), strict=True):
        assert_same(batch, one_of_tf, "validation")


def test_real_batches_are_tf_datas(shared_data):
    from keras_salnet.data import load_dataset

    pipeline = pytest.importorskip("keras_salnet.data.pipeline", exc_type=ImportError)
    samples = load_dataset(shared_data / "salicon-mini")["val"]
    samples += load_dataset(shared_data / "eyecrowd")["val"][:3]
    options = {"resize": "pad", "batch_size": 4, "seed": 0, "augment": None}
    training = training_batches(samples, (96, 128), **options)
    expected = pipeline.training_batches(samples, (96, 128), **options).take(2)
    for step, batch in enumerate(expected.as_numpy_iterator()):
        assert_same(training[step], batch, step)


# The order


@pytest.mark.parametrize(
    "steps",
    [
        range(9),
        [0, *range(9)],
        [0, 0, 0, 1, 2, 3],
        [*range(3), *range(6)],
        [0, 1, 2, 0, 1, 2, 3, 4, 5],
        [5, 4, 3, 2, 1, 0],
        [8, 0, 1, 7, 30, 2],
    ],
    ids=lambda steps: "-".join(map(str, steps)),
)
def test_a_batch_is_a_function_of_its_step(numbered, steps):
    batches = train(numbered, augment="gaze")
    for step in steps:
        order, warps = pure(step)
        batch = batches[step]
        assert numbers(batch) == order
        assert np.array_equal(batch["warp"], warps)
        columns = batch["density"].max(axis=1).argmax(axis=1)[:, 0]
        assert columns.tolist() == order, "density and image are of one sample"


def test_seed_batch_size_and_first_epoch_count(numbered):
    for options in ({"seed": 3}, {"batch_size": 2}, {"first_epoch": 5}, {"batch_size": 10}):
        batches = train(numbered, **options)
        for step in range(5):
            assert numbers(batches[step]) == pure(step, **options)[0]


def test_a_resumed_run_goes_on_as_an_uninterrupted_one(numbered):
    whole, resumed = train(numbered, augment="gaze"), train(numbered, augment="gaze", first_epoch=2)
    for step in range(4):
        for name in PLANES:
            assert np.array_equal(resumed[step][name], whole[2 * 3 + step][name])


def test_without_augmentation_the_order_is_the_same(numbered):
    batches = train(numbered)
    for step in range(6):
        batch = batches[step]
        assert numbers(batch) == pure(step)[0]
        assert np.array_equal(batch["warp"], np.tile(identity_warp(), (len(batch["warp"]), 1)))


def test_validation_goes_through_in_order_each_time(numbered):
    batches = validate(numbered)
    for steps in ([0], [0, 1, 2], [0, 1, 2], [2, 1]):
        for step in steps:
            assert numbers(batches[step]) == [[0, 1, 2], [3, 4, 5], [6]][step]


# Loading ahead


@pytest.fixture
def loads(monkeypatch):
    """The names of the samples that were loaded, in this order."""
    names, load, lock = [], pydataset._load, threading.Lock()

    def watch(sample, *arguments):
        with lock:
            names.append(int(sample.name))
        return load(sample, *arguments)

    monkeypatch.setattr(pydataset, "_load", watch)
    return names


def wait_until(condition):
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_the_next_batches_are_loaded_before_they_are_asked_for(numbered, loads):
    batches = train(numbered)
    batches[0]
    ahead = [number for step in range(pydataset._BATCHES_AHEAD) for number in pure(step)[0]]
    assert wait_until(lambda: len(loads) == len(ahead)), "without another word"
    assert sorted(loads) == sorted(ahead)


def test_nothing_is_loaded_twice(numbered, loads):
    batches = train(numbered)
    for step in (0, *range(7)):  # the first is asked for twice, as `fit` does
        batches[step]
    last = 6 + pydataset._BATCHES_AHEAD
    expected = [number for step in range(last) for number in pure(step)[0]]
    assert wait_until(lambda: len(loads) == len(expected))
    assert sorted(loads) == sorted(expected)


def test_validation_loads_nothing_beyond_its_end(numbered, loads):
    batches = validate(numbered)
    for _ in range(2):
        for step in range(3):
            batches[step]
    assert set(loads) == set(range(7))
    assert len(loads) <= 2 * 7


def test_the_samples_of_a_batch_are_loaded_at_once(numbered, monkeypatch):
    together = threading.Barrier(2)
    load = pydataset._load

    def meet(*arguments):
        together.wait(timeout=20)  # fails unless two are under way
        return load(*arguments)

    monkeypatch.setattr(pydataset, "_load", meet)
    monkeypatch.setattr(pydataset.os, "cpu_count", lambda: 2)
    batches = validate(numbered[:6], batch_size=2)
    assert [numbers(batches[step]) for step in range(3)] == [[0, 1], [2, 3], [4, 5]]


# Bad files


def truncate(sample):
    sample.image.write_bytes(sample.image.read_bytes()[:40])


def blacken(sample):
    cv2.imwrite(str(sample.density), np.zeros((6, 8), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda sample: sample.image.unlink(), FileNotFoundError, r"4\.png: no such file"),
        (truncate, ValueError, r"4\.png: not a readable image"),
        (
            lambda sample: sample.density.unlink(),
            FileNotFoundError,
            r"4_map\.png: no such",
        ),
        (blacken, ValueError, r"4_map\.png: the density map is empty"),
    ],
    ids=["image missing", "image truncated", "map missing", "map empty"],
)
def test_a_bad_file_is_named_when_its_batch_is_due(tmp_path, write_image, spoil, error, message):
    samples = []
    for number in range(7):
        path = write_image(tmp_path / f"{number}.png", value=10 * number)
        density = write_image(tmp_path / f"{number}_map.png", value=9)
        samples.append(Sample(path, density))
    spoil(samples[4])
    batches = validate(samples)
    assert numbers(batches[0]) == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(error, match=message):
            batches[1]
    assert numbers(batches[2]) == [6]


# In Keras


FIT = """
import sys

for name in ("tensorflow", "tensorboard"):
    sys.modules[name] = None  # as where it is not installed

import keras
import numpy as np
from keras import ops

from keras_salnet.data import Sample
from keras_salnet.data.augmentation import draw_epoch
from keras_salnet.data.pydataset import training_batches, validation_batches
from keras_salnet.training.graph import training_graph

backend, folder = sys.argv[1:]
assert keras.backend.backend() == backend


class LastBatch(keras.metrics.Metric):
    # The samples that the last step was given, in their order, as one number.
    def __init__(self):
        super().__init__(name="batch")
        self.code = self.add_weight(name="code", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        # A sample's density peaks in the column of its number.
        columns = ops.argmax(ops.max(y_true, axis=(1, 3)), axis=-1)
        places = ops.arange(ops.shape(columns)[0])
        self.code.assign(ops.sum(ops.cast((columns + 1) * 9**places, "float32")))

    def result(self):
        return ops.convert_to_tensor(self.code)


def code(batch):
    return sum((number + 1) * 9**place for place, number in enumerate(batch))


class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append({"epoch": epoch, "train": [], "val": []})

    def on_train_batch_end(self, step, logs):
        self.seen[-1]["train"].append(round(float(logs["batch"])))

    def on_test_batch_end(self, step, logs):
        self.seen[-1]["val"].append(round(float(logs["batch"])))


samples = [
    Sample(f"{folder}/{number}.png", fixations=np.array([[number, 3.0]]), sigma=1.5)
    for number in range(7)
]
options = {"input_size": (6, 8), "resize": "stretch", "batch_size": 3}
image = keras.Input((6, 8, 3))
net = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
graph = training_graph(net, augment=False)
graph.compile("sgd", loss="mse", weighted_metrics=[LastBatch()])
watch = Watch()
# In two parts, as where the encoder thaws.
for first, last in ((0, 3), (3, 5)):
    graph.fit(
        training_batches(samples, seed=1, augment=None, first_epoch=first, **options),
        initial_epoch=first,
        epochs=last,
        steps_per_epoch=3,
        shuffle=False,
        validation_data=validation_batches(samples, **options),
        callbacks=[watch],
        verbose=0,
    )
for epoch in range(5):
    order, _ = draw_epoch(1, epoch, 7, None)
    expected = {
        "epoch": epoch,
        "train": [code(order[0:3]), code(order[3:6]), code(order[6:])],
        "val": [code([0, 1, 2]), code([3, 4, 5]), code([6])],
    }
    assert watch.seen[epoch] == expected, (watch.seen[epoch], expected)
assert len(watch.seen) == 5
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_fit_sees_each_epoch_in_its_order(numbered, run_python, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    run_python(FIT, backend, numbered[0].image.parent, backend=backend)
