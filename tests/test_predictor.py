"""The predictor around a model whose answers are known."""

import json

import numpy as np
import PIL.Image
import pytest

from keras_salnet import Predictor

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
