"""EXIF orientations: the pipeline, OpenCV and the header agree on what is up."""

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from keras_salnet.data import Sample
from keras_salnet.data.pipeline import validation_batches
from keras_salnet.images.files import exif_orientation, image_size
from keras_salnet.images.geometry import Placement


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """One picture in all eight orientations, and one whose tag is nonsense."""
    folder = tmp_path_factory.mktemp("orientations")
    pixels = np.zeros((40, 64, 3), np.uint8)
    pixels[:12, :20] = (255, 60, 0)
    pixels[30:, 5:60] = (0, 120, 255)
    samples = []
    for orientation in (1, 2, 3, 4, 5, 6, 7, 8, 42):
        exif = PIL.Image.Exif()
        exif[PIL.ExifTags.Base.Orientation] = orientation
        path = folder / f"{orientation}.jpg"
        PIL.Image.fromarray(pixels).save(path, exif=exif, quality=95)
        samples.append(Sample(path, fixations=np.array([[4.0, 3.0]]), sigma=3.0))
    return samples


def test_header_and_pixels_agree(samples):
    assert [exif_orientation(s.image) for s in samples] == [1, 2, 3, 4, 5, 6, 7, 8, 1]
    for sample in samples:
        image = sample.read_image()
        assert image_size(sample.image) == image.shape[:2]
        if sample.name == "42":
            continue
        with PIL.Image.open(sample.image) as file:
            upright = np.asarray(PIL.ImageOps.exif_transpose(file), np.float32)
        assert np.abs(image - upright).max() < 16  # decoders differ


def test_pipeline_turns_images_as_reading_does(samples):
    (batch,) = validation_batches(samples, (48, 48), resize="pad", batch_size=16)
    for sample, image, density in zip(samples, batch["image"], batch["density"], strict=True):
        expected = sample.read_image()
        fitted = Placement(expected.shape[:2], (48, 48), "pad").image(expected)
        np.testing.assert_allclose(image, fitted, atol=1e-2)
        truth = sample.read_density_in((48, 48), "pad")
        np.testing.assert_allclose(np.asarray(density)[..., 0], truth, atol=1e-6)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_maps_own_orientation_means_the_same_to_all(tmp_path, ending):
    pixels = np.zeros((48, 48), np.uint8)
    pixels[4:12, 30:44] = 255
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    PIL.Image.fromarray(pixels).save(tmp_path / "image.png")
    PIL.Image.fromarray(pixels).save(tmp_path / f"map{ending}", exif=exif)
    sample = Sample(tmp_path / "image.png", tmp_path / f"map{ending}")
    (batch,) = validation_batches([sample], (48, 48), resize="pad", batch_size=1)
    np.testing.assert_allclose(
        batch["density"][0, ..., 0], sample.read_density_in((48, 48), "pad"), atol=1e-5
    )
