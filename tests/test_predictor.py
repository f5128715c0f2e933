"""The predictor around a model whose answers are known."""

import json

import cv2
import keras
import numpy as np
import PIL.Image
import pytest

from keras_salnet import Predictor, models
from keras_salnet.cli import main

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


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(64, 96), (200, 100), (100, 333)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_map_has_the_image_s_size_and_place(fit, size, dtype):
    image = spot(*size, size[0] // 3, size[1] // 4, dtype)
    saliency = Predictor(brightness, FRAME, fit)(image)
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
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png"):
        predictor(tmp_path / "empty.png")


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Predictor.load(tmp_path / "nowhere")
    for name in ("broken.keras", "broken.tflite", "weights.onnx"):
        (tmp_path / name).write_bytes(b"not a model")
        with pytest.raises(ValueError, match=name):
            Predictor.load(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="neither a run folder"):
        Predictor.load(tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text(json.dumps({"recipe": {"fit": "pad"}}))
    with pytest.raises(ValueError, match="not finished"):
        Predictor.load(tmp_path / "folder")
    (tmp_path / "folder" / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="folder"):
        Predictor.load(tmp_path / "folder")


# Models of free size


def network(*frame):
    keras.utils.set_random_seed(0)  # the same weights for every frame
    return models.VGGRGA(1, input_shape=(*frame, 3), backbone_weights=None, filters=8, max_nodes=64)


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """A saved model of free size."""
    path = tmp_path_factory.mktemp("free") / "model.keras"
    network(None, None).save(path)
    return path


@pytest.mark.parametrize(
    ("size", "given", "frame"),
    [
        ((90, 130), None, (96, 128)),
        ((8, 61), None, (32, 64)),
        ((1600, 400), None, (512, 128)),
        ((90, 130), (48, 80), (48, 80)),
    ],
)
def test_a_free_model_predicts_as_one_of_that_frame(free, size, given, frame):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    predictor = Predictor.load(free, given)
    assert predictor.frame(size) == frame
    wanted = Predictor(network(*frame), frame)(image)
    assert wanted.std() > 0
    np.testing.assert_allclose(predictor(image), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(5464, 3640), (3640, 5464), (40000, 100)])
def test_a_photograph_s_frame_is_bounded_and_keeps_its_aspect(size):
    height, width = Predictor(brightness, (None, None)).frame(size)
    assert max(height, width) == 512
    assert height % 32 == width % 32 == 0
    exact = 512 * min(size) / max(size)
    assert abs(min(height, width) - exact) <= 16 or min(height, width) == 32


def test_one_side_may_be_free():
    assert Predictor(brightness, (None, 48)).frame((90, 130)) == (96, 48)


def test_a_frame_that_the_model_does_not_take_is_refused(free, tmp_path):
    with pytest.raises(ValueError, match=r"model\.keras.*no frame of 100 x 64.*multiples of 32"):
        Predictor.load(free, (100, 64))
    network(64, 96).save(tmp_path / "fixed.keras")
    assert Predictor.load(tmp_path / "fixed.keras", (64, 96)).input_size == (64, 96)
    with pytest.raises(ValueError, match=r"input_size is 96 x 64, but the model takes 64 x 96"):
        Predictor.load(tmp_path / "fixed.keras", (96, 64))


@pytest.mark.parametrize("given", [None, (64, 96)])
def test_the_command_takes_a_free_model(free, tmp_path, given):
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), image[..., ::-1])
    command = ["predict", "--model", free, tmp_path / "photo.png", "--out", tmp_path / "out"]
    command += ["--npy", "--show-attention"]
    command += [] if given is None else ["--input-size", f"{given[0]}x{given[1]}"]
    assert main([str(part) for part in command]) == 0
    saliency = np.load(tmp_path / "out" / "photo_saliency.npy")
    np.testing.assert_array_equal(saliency, Predictor.load(free, given)(image))
    assert (tmp_path / "out" / "photo_attention.png").is_file()
