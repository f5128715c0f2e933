"""The predictor around a model whose answers are known."""

import json

import cv2
import keras
import numpy as np
import PIL.Image
import pytest

from keras_salnet import Predictor, models
from keras_salnet.cli import main
from keras_salnet.data import popout

FRAME = (32, 48)


def brightness(images):
    """A model that finds bright pixels salient: (1, H, W, 3) → (1, H, W, 1)."""
    assert images.dtype == np.float32
    assert images.shape == (1, *FRAME, 3)
    return images.mean(axis=-1, keepdims=True) / 255


def spot(height, width, y, x, dtype=np.uint8):
    """A black image with one bright square."""
    image = np.zeros((height, width, 3), dtype)
    image[y - 8 : y + 8, x - 8 : x + 8] = 255
    return image


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(64, 96), (200, 100), (100, 333)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_map_has_the_image_s_size_and_place(resize, size, dtype):
    image = spot(*size, size[0] // 3, size[1] // 4, dtype)
    saliency = Predictor(brightness, FRAME, resize)(image)
    assert saliency.shape == size
    assert saliency.dtype == np.float32
    assert saliency.max() == 1
    rows, columns = np.indices(size)
    mass = saliency.sum()
    assert (saliency * rows).sum() / mass == pytest.approx(size[0] // 3 - 0.5, abs=0.6)
    assert (saliency * columns).sum() / mass == pytest.approx(size[1] // 4 - 0.5, abs=0.6)


def test_density_sums_to_one():
    density = Predictor(brightness, FRAME)(spot(60, 90, 20, 20), density=True)
    assert density.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_a_map_without_mass_is_no_nan():
    predictor = Predictor(lambda images: np.zeros((1, *FRAME, 1), np.float32), FRAME)
    image = spot(60, 90, 20, 20)
    assert predictor(image).max() == 0
    np.testing.assert_allclose(predictor(image, density=True), 1 / 5400, rtol=1e-6)


def test_a_broken_model_is_told():
    predictor = Predictor(lambda images: np.full((1, *FRAME, 1), np.nan), FRAME, name="broken")
    with pytest.raises(ValueError, match="broken"):
        predictor(spot(60, 90, 20, 20))


def test_a_file_equals_its_pixels(tmp_path):
    image = spot(64, 96, 20, 70)
    path = tmp_path / "ä photo.png"
    PIL.Image.fromarray(image).save(path)
    predictor = Predictor(brightness, FRAME)
    np.testing.assert_array_equal(predictor(path), predictor(image))
    np.testing.assert_array_equal(predictor(str(path)), predictor(image))
    np.testing.assert_array_equal(predictor(path.read_bytes()), predictor(image))


def test_exif_orientation_is_applied(tmp_path):
    image = spot(64, 96, 20, 70)
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6  # shown turned clockwise by 90 degrees
    path = tmp_path / "turned.jpg"
    PIL.Image.fromarray(image).save(path, exif=exif, quality=100, subsampling=0)
    predictor = Predictor(brightness, FRAME)
    saliency = predictor(path)
    assert saliency.shape == (96, 64)
    np.testing.assert_allclose(saliency, predictor(np.rot90(image, -1)), atol=0.03)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((8, 8)), r"\(H, W, 3\)"),
        (np.zeros((8, 8, 4)), r"\(H, W, 3\)"),
        (np.zeros((0, 8, 3)), r"\(H, W, 3\)"),
        (np.zeros((1, 8, 8, 3)), r"\(H, W, 3\)"),
        (np.full((8, 8, 3), np.nan), "finite"),
        (np.full((8, 8, 3), "x"), "numbers"),
        (np.full((8, 8, 3), True), "numbers"),
        (np.full((8, 8, 3), 256), "256"),
        (np.full((8, 8, 3), -1.0), "0…255"),
    ],
)
def test_bad_arrays_are_refused(image, told):
    with pytest.raises(ValueError, match=told):
        Predictor(brightness, FRAME)(image)


def test_bad_files_are_named(tmp_path):
    predictor = Predictor(brightness, FRAME)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        predictor(tmp_path / "nowhere.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.jpg"):
        predictor(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match="image: not a readable image"):
        predictor(b"no image")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png"):
        predictor(tmp_path / "empty.png")


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Predictor.load(tmp_path / "nowhere")
    for name in ("broken.keras", "broken.tflite", "weights.bin"):
        (tmp_path / name).write_bytes(b"not a model")
        with pytest.raises(ValueError, match=name):
            Predictor.load(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="not a model; expected a SavedModel folder, a run folder"):
        Predictor.load(tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text(json.dumps({"recipe": {"resize": "pad"}}))
    with pytest.raises(ValueError, match="not finished"):
        Predictor.load(tmp_path / "folder")
    (tmp_path / "folder" / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="folder"):
        Predictor.load(tmp_path / "folder")


# Models that take any size


@pytest.mark.parametrize(
    ("size", "input_size"),
    [
        ((256, 256), (256, 256)),
        ((250, 330), (256, 320)),
        ((480, 512), (480, 512)),
        ((480, 640), (384, 512)),  # the longest side is at most 512, in the image's proportions
        ((5472, 3648), (512, 352)),
        ((10, 20), (32, 32)),
        ((3, 9000), (32, 512)),
    ],
)
def test_a_free_frame_follows_the_image(size, input_size):
    assert Predictor(None, (None, None)).input_size_for(size) == input_size
    assert Predictor(None, FRAME).input_size_for(size) == FRAME
    assert Predictor(None, (None, 48)).input_size_for(size) == (input_size[0], 48)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_a_map_in_a_free_frame_has_the_image_s_size_and_place(resize):
    seen = []

    def infer(images):
        seen.append(images.shape)
        return images.mean(axis=-1, keepdims=True) / 255

    saliency = Predictor(infer, (None, None), resize)(spot(300, 900, 100, 600))
    assert seen == [(1, 160, 512, 3)]
    assert saliency.shape == (300, 900)
    rows, columns = np.indices(saliency.shape)
    assert (saliency * rows).sum() / saliency.sum() == pytest.approx(99.5, abs=0.6)
    assert (saliency * columns).sum() / saliency.sum() == pytest.approx(599.5, abs=0.6)


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """A model with attention, and its file."""
    keras.utils.set_random_seed(0)
    net = models.VGGRGA(1, input_shape=(None, None, 3), backbone_weights=None, filters=8)
    path = tmp_path_factory.mktemp("free") / "model.keras"
    net.save(path)
    return net, path


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays") / "displays"
    popout.write(folder, {"test": 2})
    return folder


def mapped(net, image, input_size):
    """What the model finds in an image that is stretched to the frame, at the image's size."""
    framed = cv2.resize(image.astype("float32"), input_size[::-1], interpolation=cv2.INTER_AREA)
    saliency = keras.ops.convert_to_numpy(net(framed[None], training=False))[0, ..., 0]
    saliency = cv2.resize(saliency, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return saliency / saliency.max()


@pytest.mark.parametrize(("asked", "input_size"), [(None, (96, 128)), ((48, 80), (48, 80))])
def test_a_free_model_is_loaded(free, asked, input_size):
    net, path = free
    image = np.random.default_rng(0).integers(0, 256, (105, 135, 3), np.uint8)
    predictor = Predictor.load(path, asked)
    assert predictor.input_size == (asked or (None, None))
    np.testing.assert_allclose(predictor(image), mapped(net, image, input_size), atol=1e-4)


def test_input_sizes_that_do_not_fit_are_refused(free, tmp_path):
    _, path = free
    for size in ((100, 128), (128, 0), (-16, 32)):
        with pytest.raises(ValueError, match=f"not take {size[0]} x {size[1]} .* multiples of"):
            Predictor.load(path, size)
    path = tmp_path / "model.keras"
    images = keras.Input((128, 144, 3))
    keras.Model(images, keras.layers.Conv2D(1, 3, padding="same")(images)).save(path)
    assert Predictor.load(path, (128, 144)).input_size == (128, 144)
    with pytest.raises(
        ValueError, match=r"model\.keras: the model takes 128 x 144 pixels, not 128 x"
    ):
        Predictor.load(path, (128, 128))


def test_the_commands_take_a_free_model(free, displays, tmp_path, capsys):
    net, path = free
    image = displays / "images" / "test" / "test_0000.jpg"
    pixels = np.asarray(PIL.Image.open(image))
    model = ("--model", str(path), "--out", str(tmp_path), "--npy", "--force")
    for options, input_size in (
        (["--show-attention"], Predictor(None, (None, None)).input_size_for(pixels.shape[:2])),
        (["--input-size", "64x96"], (64, 96)),
    ):
        assert main(["predict", str(image), *model, *options]) == 0
        saliency = np.load(tmp_path / "test_0000_saliency.npy")
        np.testing.assert_allclose(saliency, mapped(net, pixels, input_size), atol=1e-3)
    assert (tmp_path / "test_0000_attention.png").stat().st_size > 0
    assert main(["predict", str(image), *model, "--input-size", "100"]) == 1
    assert "does not take 100 x 100 pixels; multiples of 32" in capsys.readouterr().err

    scores = tmp_path / "scores.csv"
    command = ["evaluate", str(path), "--data", str(displays), "--csv", str(scores)]
    assert main([*command, "--workers", "1"]) == 0
    assert scores.read_text("utf-8").count("model.keras") == 2
