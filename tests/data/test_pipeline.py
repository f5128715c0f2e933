"""The tf.data pipeline against the numpy path, and the order in which training sees samples."""

import math
from itertools import chain

import cv2
import keras
import numpy as np
import PIL.Image
import pytest

pytest.importorskip("tensorflow", exc_type=ImportError)

from keras_salnet.data import Sample
from keras_salnet.data.augmentation import draw_warps, identity_warp
from keras_salnet.data.pipeline import training_batches, validation_batches
from keras_salnet.images.geometry import MODES, Placement

each_resize = pytest.mark.parametrize("resize", MODES)
FRAME = (24, 32)


def numbers(batch):
    """Which of `numbered` a batch holds."""
    return [round(float(level) / 10) for level in batch["image"][:, 0, 0, 0]]


def train(samples, **options):
    defaults = {"resize": "stretch", "batch_size": 3, "seed": 0, "augment": None}
    return training_batches(samples, (6, 8), **{**defaults, **options})


def epochs(batches, count, batch_size=3):
    """The numbers in each of the first batches, epoch by epoch as `fit` counts them."""
    steps = math.ceil(7 / batch_size)
    drawn = [numbers(batch) for batch in batches.take(count * steps)]
    return [drawn[start : start + steps] for start in range(0, count * steps, steps)]


# What a batch is


@pytest.mark.parametrize(("resize", "augment"), [("stretch", None), ("pad", "gaze")])
def test_a_batch_is_what_the_module_says(numbered, resize, augment):
    training = training_batches(
        numbered, FRAME, resize=resize, batch_size=4, seed=0, augment=augment
    ).take(2)
    validation = validation_batches(numbered, FRAME, resize=resize, batch_size=4)
    for batches in (training, validation):
        for batch, size in zip(batches, (4, 3), strict=True):
            assert {name: value.shape for name, value in batch.items()} == {
                "image": (size, *FRAME, 3),
                "density": (size, *FRAME, 1),
                "mask": (size, *FRAME, 1),
                "warp": (size, 9),
            }
            image, density, mask, warp = (
                batch[name].numpy() for name in ("image", "density", "mask", "warp")
            )
            assert {values.dtype for values in (image, density, mask, warp)} == {np.dtype("f4")}
            assert image.min() >= 0
            assert image.max() <= 255
            assert density.min() >= 0
            np.testing.assert_allclose(density.sum(axis=(1, 2, 3)), 1, atol=1e-5)
            assert set(np.unique(mask)) <= {0, 1}
            if batches is validation or not augment:
                assert np.array_equal(warp, np.tile(identity_warp(), (size, 1)))


@pytest.mark.parametrize(
    "make", [train, lambda s: validation_batches(s, (6, 8), resize="pad", batch_size=3)]
)
def test_shapes_are_known_before_the_first_batch(numbered, make):
    # Keras builds the model from these; None is the batch.
    spec = make(numbered).element_spec
    assert {name: tuple(part.shape) for name, part in spec.items()} == {
        "image": (None, 6, 8, 3),
        "density": (None, 6, 8, 1),
        "mask": (None, 6, 8, 1),
        "warp": (None, 9),
    }


# The order


@pytest.mark.parametrize("batch_size", [3, 10])
def test_each_epoch_holds_each_sample_once(numbered, batch_size):
    for batches in epochs(train(numbered, batch_size=batch_size), 3, batch_size):
        assert sorted(chain(*batches)) == list(range(7))
        sizes = [len(batch) for batch in batches]
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
        assert sizes[-1] == 7 - sum(sizes[:-1]), "the partial batch ends the epoch"


def test_the_order_is_a_function_of_seed_and_epoch(numbered):
    first = epochs(train(numbered), 3)
    assert first == epochs(train(numbered, augment="gaze"), 3), "whether or not it augments"
    orders = [tuple(chain(*batches)) for batches in first]
    assert len(set(orders)) == 3, "another epoch, another order"
    assert tuple(range(7)) not in orders
    assert epochs(train(numbered, seed=1), 1) != first[:1]
    # The same samples in other batches.
    by_two = epochs(train(numbered, batch_size=2), 3, batch_size=2)
    assert [tuple(chain(*batches)) for batches in by_two] == orders


def test_a_resumed_run_goes_on_as_an_uninterrupted_one(numbered):
    whole = train(numbered, augment="gaze").take(3 * 3).skip(3)
    resumed = train(numbered, augment="gaze", first_epoch=1).take(3 * 2)
    for batch, expected in zip(resumed, whole, strict=True):
        for name in expected:
            assert np.array_equal(batch[name], expected[name]), name


def test_warps_belong_to_samples(numbered):
    for step, batch in enumerate(train(numbered, seed=5, augment="gaze").take(6)):
        assert np.array_equal(batch["warp"], draw_warps(5, step // 3, numbers(batch)))


def test_validation_goes_once_through_in_order(numbered):
    batches = validation_batches(numbered, (6, 8), resize="stretch", batch_size=3)
    for _ in range(2):
        assert [numbers(batch) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="sees into TensorFlow's step")
def test_fits_epochs_are_the_pipelines(numbered):
    seen = []

    class Watch(keras.Model):
        def train_step(self, batch):
            seen.append(("train", numbers(batch)))
            return {"loss": 0.0}

        def test_step(self, batch):
            seen.append(("val", numbers(batch)))
            return {"loss": 0.0}

    model = Watch()
    model.compile(run_eagerly=True)

    validation = validation_batches(numbered, (6, 8), resize="stretch", batch_size=3)
    model.fit(
        train(numbered),
        epochs=2,
        steps_per_epoch=3,
        shuffle=False,
        validation_data=validation,
        verbose=0,
    )
    assert len(seen) == 2 * (3 + 3)
    for epoch, expected in enumerate(epochs(train(numbered), 2)):
        steps = seen[6 * epoch : 6 * epoch + 6]
        assert steps[:3] == [("train", batch) for batch in expected]
        assert steps[3:] == [("val", [0, 1, 2]), ("val", [3, 4, 5]), ("val", [6])]


# Against the numpy path


def write_pixels(path, kind, size):
    """A picture of smoothed noise in one of the kinds that datasets hold."""
    random = np.random.default_rng(hash_of(kind))
    pixels = cv2.GaussianBlur(random.uniform(-400, 655, (*size, 4)), (0, 0), 2)
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    mode = {"grey": "L", "palette": "P", "rgba": "RGBA", "grey and alpha": "LA"}.get(kind, "RGB")
    image = PIL.Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3]).convert(mode)
    options = {"quality": 90} if path.suffix == ".jpg" else {}
    image.save(path, **options)


def hash_of(text):
    return sum(text.encode())


IMAGES = [
    ("rgb", ".jpg"),
    ("grey", ".jpg"),
    ("rgb", ".png"),
    ("grey", ".png"),
    ("palette", ".png"),
    ("rgba", ".png"),
    ("grey and alpha", ".png"),
    ("rgb", ".bmp"),
    ("rgb", ".webp"),
]


@each_resize
@pytest.mark.parametrize("size", [(50, 70), (20, 90), (13, 11)])
def test_images_are_the_same(tmp_path, resize, size):
    samples = []
    for kind, ending in IMAGES:
        path = tmp_path / f"{kind}{ending}"
        write_pixels(path, kind, size)
        samples.append(Sample(path, fixations=np.array([[3.0, 4.0]]), sigma=2.0))
    (batch,) = validation_batches(samples, FRAME, resize=resize, batch_size=len(samples))
    geometry = Placement(size, FRAME, resize)
    for (kind, ending), sample, image, mask in zip(
        IMAGES, samples, batch["image"].numpy(), batch["mask"].numpy(), strict=True
    ):
        read = sample.read_image()
        assert read.std() > 10, "not a blank picture"
        expected = geometry.image(read)
        assert np.abs(image - expected).max() < 0.02, (kind, ending)
        assert np.array_equal(mask, geometry.mask())
        assert not image[mask[..., 0] == 0].any(), "padding is black"


MAPS = [("8-bit", ".png"), ("16-bit", ".png"), ("three channels", ".png"), ("8-bit", ".jpg")]


@each_resize
@pytest.mark.parametrize("size", [(50, 70), (20, 90), (13, 11)])
def test_densities_of_maps_are_the_same(tmp_path, resize, size):
    write_pixels(tmp_path / "image.jpg", "rgb", size)
    samples = []
    for kind, ending in MAPS:
        y, x = np.indices(size)
        level = np.exp(-((x - 0.7 * size[1]) ** 2 + (y - 3) ** 2) / (0.3 * size[0]) ** 2)
        pixels = np.round(level * 255).astype(np.uint8)
        if kind == "16-bit":
            pixels = np.round(level * 65535).astype(np.uint16)
        elif kind == "three channels":
            pixels = cv2.merge([pixels] * 3)
        path = tmp_path / f"{kind}{ending}"
        cv2.imwrite(str(path), pixels)
        samples.append(Sample(tmp_path / "image.jpg", density=path))
    (batch,) = validation_batches(samples, FRAME, resize=resize, batch_size=len(samples))
    for kind, sample, density in zip(MAPS, samples, batch["density"].numpy(), strict=True):
        expected = sample.read_density_in(FRAME, resize)
        assert np.abs(density[..., 0] - expected).max() < 1e-4 * expected.max(), kind
        assert not density[batch["mask"][0].numpy() == 0].any()


MASKS = [*MAPS, ("one bit", ".png"), ("transparent", ".png")]


@each_resize
@pytest.mark.parametrize("size", [(50, 70), (20, 90), (13, 11)])
def test_densities_of_masks_are_the_same(tmp_path, resize, size):
    write_pixels(tmp_path / "image.jpg", "rgb", size)
    noise = np.random.default_rng(size).random(size)
    level = cv2.GaussianBlur(noise, (0, 0), 1)
    level = np.clip(0.5 + 2 * (level - level.mean()), 0, 1)  # many greys about the half
    samples = []
    for kind, ending in MASKS:
        pixels = np.round(level * 255).astype(np.uint8)
        if kind == "16-bit":
            pixels = np.round(level * 65535).astype(np.uint16)
        elif kind == "one bit":
            pixels = pixels >= 128
        elif kind == "three channels":
            pixels = cv2.merge([pixels] * 3)
        elif kind == "transparent":
            pixels = cv2.merge([pixels] * 3 + [255 - pixels])
        path = tmp_path / f"{kind}{ending}"
        PIL.Image.fromarray(pixels).save(path)
        samples.append(Sample(tmp_path / "image.jpg", mask=path))
    gaze = Sample(tmp_path / "image.jpg", fixations=np.array([[3.0, 4.0]]), sigma=2.0, mask=path)
    samples.append(gaze)  # whose mask is not learnt
    (batch,) = validation_batches(samples, FRAME, resize=resize, batch_size=len(samples))
    for number, (sample, density) in enumerate(zip(samples, batch["density"].numpy(), strict=True)):
        expected = sample.read_density_in(FRAME, resize)
        assert np.abs(density[..., 0] - expected).max() < 1e-4 * expected.max(), number
        if sample is not gaze:
            white = sample.read_mask()
            assert 0.3 < white.mean() < 0.7
            framed = Placement(size, FRAME, resize).image(white[..., None].astype(np.float32))
            assert np.abs(density - framed / framed.sum()).max() < 1e-4 * density.max(), number


def test_images_maps_and_points_may_be_mixed(tmp_path):
    write_pixels(tmp_path / "image.jpg", "rgb", (50, 70))
    looked = np.zeros((50, 70), np.uint8)
    looked[10, 60] = looked[40, 20] = 255
    cv2.imwrite(str(tmp_path / "looked.png"), looked)
    cv2.imwrite(str(tmp_path / "map.png"), cv2.GaussianBlur(looked, (0, 0), 3))
    image = tmp_path / "image.jpg"
    samples = [
        Sample(image, density=tmp_path / "map.png", fixations=tmp_path / "looked.png"),
        Sample(image, fixations=tmp_path / "looked.png", sigma=3.0),
        Sample(image, fixations=np.array([[60.0, 10.0], [20.0, 40.0], [1.5, 2.5]]), sigma=3.0),
        Sample(image, density=tmp_path / "map.png", sigma=3.0),
    ]
    (batch,) = validation_batches(samples, FRAME, resize="pad", batch_size=4)
    for sample, density in zip(samples, batch["density"].numpy()[..., 0], strict=True):
        expected = sample.read_density_in(FRAME, "pad")
        assert np.abs(density - expected).max() < 1e-4 * expected.max()
    assert np.array_equal(batch["density"][0], batch["density"][3]), "the map goes before points"


def test_images_of_many_sizes_share_a_batch(tmp_path):
    samples = []
    for size in ((50, 70), (70, 50), (1, 1), (24, 32), (300, 8)):
        path = tmp_path / f"{size[0]}x{size[1]}.png"
        write_pixels(path, "rgb", size)
        samples.append(Sample(path, fixations=np.zeros((1, 2)), sigma=2.0))
    (batch,) = validation_batches(samples, FRAME, resize="pad", batch_size=5)
    for sample, image in zip(samples, batch["image"].numpy(), strict=True):
        read = sample.read_image()
        expected = Placement(read.shape[:2], FRAME, "pad").image(read)
        assert np.abs(image - expected).max() < 0.02, sample.name


@each_resize
def test_the_real_data_is_the_same(shared_data, resize):
    from keras_salnet.data import load_dataset

    splits = load_dataset(shared_data / "salicon-mini").splits
    samples = [*splits["val"][:2], *load_dataset(shared_data / "scene500")["val"][:3]]
    (batch,) = validation_batches(samples, (96, 128), resize=resize, batch_size=len(samples))
    for sample, image, density in zip(
        samples, batch["image"].numpy(), batch["density"].numpy()[..., 0], strict=True
    ):
        read = sample.read_image()
        assert np.abs(image - Placement(read.shape[:2], (96, 128), resize).image(read)).max() < 0.02
        expected = sample.read_density_in((96, 128), resize)
        assert np.abs(density - expected).max() < 1e-4 * expected.max()
