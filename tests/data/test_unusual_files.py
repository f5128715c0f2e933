"""Pictures as they come: every way in reads the same pixels, or says which file it cannot read."""

import os

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.PngImagePlugin
import pytest

pytest.importorskip("tensorflow", exc_type=ImportError)

from keras_salnet import cli
from keras_salnet.data import Dataset, Sample, check, load_dataset, pipeline, prepare, pydataset
from keras_salnet.data.checks import find_problems
from keras_salnet.images.files import image_size, read_image
from keras_salnet.images.geometry import MODES, Placement
from keras_salnet.prediction.predictor import Predictor

FRAME = (24, 32)


def smooth(size, channels, most, seed=0):
    noise = np.random.default_rng(seed).uniform(-0.8 * most, 1.8 * most, (*size, channels))
    noise = cv2.GaussianBlur(noise, (0, 0), 2).reshape(*size, channels)
    return np.clip(noise, 0, most).astype(np.uint8 if most == 255 else np.uint16)


def turned(orientation):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    return exif


@pytest.fixture(scope="module")
def unusual(tmp_path_factory):
    """{path: the pixels that it shows}, in a folder whose name is unusual too."""
    folder = tmp_path_factory.mktemp("Fotos") / "Überblick, 见 & co" / " a b"
    folder.mkdir(parents=True)
    rgb, alpha = np.split(smooth((50, 70), 4, 255), [3], axis=2)
    grey = rgb[..., 0]
    deep = smooth((50, 70), 3, 65535)
    shown = {}

    def save(name, pixels, expected, form=None, mode=None, **options):
        image = PIL.Image.fromarray(pixels)
        (image.convert(mode) if mode else image).save(folder / name, form, **options)
        shown[folder / name] = expected

    def as_rgb(grey):
        return np.dstack([grey] * 3)

    def over_white(rgb, alpha):
        part = np.float64(alpha).reshape(*rgb.shape[:2], 1) / 255
        return np.uint8(np.round(rgb * part + 255 * (1 - part)))

    few = PIL.Image.fromarray(rgb).convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=9)
    few.save(folder / "palette.png", transparency=3)
    opaque = np.array(few) != 3
    shown[folder / "palette.png"] = over_white(np.array(few.convert("RGB")), 255 * opaque)
    save("CMYK.jpg", rgb, rgb, mode="CMYK", quality=100, subsampling=0)
    save("progressive.jpg", rgb, rgb, progressive=True, quality=100, subsampling=0)
    save("grey.jpg", grey, as_rgb(grey), quality=100)
    save("grey.png", grey, as_rgb(grey))
    save("grey and alpha.png", np.dstack([grey, alpha]), over_white(as_rgb(grey), alpha))
    save("alpha.png", np.dstack([rgb, alpha]), over_white(rgb, alpha))
    save("one colour transparent.png", rgb, rgb, transparency=tuple(map(int, rgb[0, 0])))
    upright = np.rot90(over_white(rgb, alpha), -1)
    save("turned alpha.png", np.dstack([rgb, alpha]), upright, exif=turned(6))
    xmp = PIL.PngImagePlugin.PngInfo()  # of which OpenCV and TensorFlow take no notice
    xmp.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta tiff:Orientation="6"></x:xmpmeta>')
    save("turned by XMP.png", np.dstack([rgb, alpha]), over_white(rgb, alpha), pnginfo=xmp)
    save("one bit.png", grey > 99, as_rgb(np.uint8(255 * (grey > 99))))
    more = PIL.Image.fromarray(255 - rgb)
    save("frames.png", rgb, rgb, save_all=True, append_images=[more])
    save("a WebP.jpg", rgb, rgb, "WEBP", lossless=True)
    save("a BMP.png", rgb, rgb, "BMP")
    save("a PNG.jpg", rgb, rgb, "PNG")
    for orientation, upright in ((3, rgb[::-1, ::-1]), (6, np.rot90(rgb, -1)), (99, rgb)):
        exif = turned(orientation)
        save(f"turned {orientation}.png", rgb, upright, exif=exif)
        save(f"turned {orientation}.jpg", rgb, upright, exif=exif, quality=100, subsampling=0)
    save("a pixel.png", rgb[:1, :1], rgb[:1, :1])
    save("a pixel.jpg", rgb[:1, :1], rgb[:1, :1], quality=100, subsampling=0)
    tall = np.repeat(rgb, 400, axis=0)[:, :10]
    save("20000x10.png", tall, tall)
    wide = np.ascontiguousarray(tall.transpose(1, 0, 2))
    save("10x20000.jpg", wide, wide, quality=100, subsampling=0)
    for name, pixels in (
        ("16 bits.png", deep[..., ::-1]),
        ("16 bits grey.png", deep[..., 0]),
        ("16 bits alpha.png", np.dstack([deep[..., ::-1], deep[..., 0]])),
    ):
        cv2.imencode(".png", pixels)[1].tofile(folder / name)
        eighth = np.uint8(deep >> 8)
        shown[folder / name] = as_rgb(eighth[..., 0]) if "grey" in name else eighth
    shown[folder / "16 bits alpha.png"] = over_white(eighth, eighth[..., 0])
    return shown


def samples_of(unusual):
    """Of which people look at the lower right corner."""
    return [
        Sample(path, fixations=np.array([[pixels.shape[1] - 1.0, pixels.shape[0] - 1]]), sigma=2.0)
        for path, pixels in unusual.items()
    ]


def assert_shown(images, unusual, resize, tolerance):
    """Frames are those of the pixels that each file shows."""
    for image, (path, pixels) in zip(images, unusual.items(), strict=True):
        expected = Placement(pixels.shape[:2], FRAME, resize).image(pixels)
        error = np.abs(np.asarray(image) - expected)
        assert error.mean() < tolerance, path.name
        # JPEG's own loss, and what colours lose in CMYK.
        assert error.max() < (6 if path.suffix == ".jpg" else tolerance), path.name


def test_pixels_and_sizes_are_those_that_were_saved(unusual):
    check(Dataset("unusual", {"train": samples_of(unusual)}))
    for path, pixels in unusual.items():
        assert image_size(path) == pixels.shape[:2], path.name
        error = np.abs(read_image(path).astype(int) - pixels)
        assert error.max() <= (12 if path.suffix == ".jpg" else 0), path.name
        assert error.mean() < 1, path.name


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("module", [pipeline, pydataset])
def test_batches_hold_those_pixels(unusual, module, resize):
    samples = samples_of(unusual)
    (batch,) = module.validation_batches(samples, FRAME, resize=resize, batch_size=len(samples))
    assert_shown(batch["image"], unusual, resize, 1)
    np.testing.assert_allclose(np.sum(batch["density"], axis=(1, 2, 3)), 1, atol=1e-5)
    for density, sample in zip(batch["density"], samples, strict=True):
        fitted = Placement(unusual[sample.image].shape[:2], FRAME, resize)
        (x, y) = fitted.points(sample.fixations)[0]
        highest = np.unravel_index(np.argmax(density), FRAME)
        assert np.abs(np.subtract(highest, (y, x))).max() <= 0.75, sample.name


def test_prepared_records_hold_those_pixels(unusual, tmp_path):
    samples = samples_of(unusual)
    prepare(
        Dataset("unusual", {"train": samples}), tmp_path / "out", input_size=FRAME, resize="pad"
    )
    prepared = load_dataset(tmp_path / "out")["train"]
    assert [sample.image for sample in prepared] == list(unusual)
    assert_shown([sample.pixels.astype(float) for sample in prepared], unusual, "pad", 1.5)


def brightness(images):
    return np.asarray(images).mean(axis=-1, keepdims=True)


@pytest.fixture
def predict(monkeypatch):
    """The command, with a model that answers how bright a pixel is."""
    monkeypatch.setattr(
        cli.predict, "load_predictor", lambda model: Predictor(brightness, FRAME, "pad")
    )
    return lambda *arguments: cli.main(["predict", *map(str, arguments), "--model", "any"])


def test_predictions_are_of_those_pixels(unusual, predict, tmp_path):
    out = tmp_path / "karten für 见"
    for ending in (".png", ".jpg"):  # names may differ in their ending only
        images = [path for path in unusual if path.suffix == ending]
        assert predict(*images, "--npy", "--out", out / ending) == 0
        for path in images:
            saliency = np.load(out / ending / f"{path.stem}_saliency.npy")
            expected = Predictor(brightness, FRAME, "pad")(unusual[path])
            assert saliency.shape == unusual[path].shape[:2]
            assert np.abs(saliency - expected).max() < 0.05, path.name
            for what in ("saliency", "overlay"):
                picture = read_image(out / ending / f"{path.stem}_{what}.png")
                assert picture.shape == unusual[path].shape


# What cannot be read


def test_predicting_a_folder_names_each_bad_file_and_does_the_others(
    unusual, predict, tmp_path, capsys, caplog
):
    folder, out = tmp_path / "schöne Bilder", tmp_path / "out"
    folder.mkdir()
    bad = []
    for path in unusual:
        if path.stem == "frames":  # its first is whole in half of it
            continue
        whole = path.read_bytes()
        for part in (0, 30, len(whole) // 2, len(whole) - 30):
            cut = folder / f"{path.stem}{path.suffix[1:]} {part}{path.suffix}"
            cut.write_bytes(whole[:part])
            bad.append(cut)
    (folder / "text.jpg").write_text("<html>404</html>" * 99)
    (folder / "good.png").write_bytes(next(p for p in unusual if p.name == "grey.png").read_bytes())
    bad.append(folder / "text.jpg")
    assert predict(folder, "--out", out) == 1
    told = capsys.readouterr()
    for path in bad:
        assert caplog.text.count(f"{path}: not a readable image") == 1, path
    assert f"error: {len(bad)} of the images could not be read" in told.err
    assert "Images predicted by model: 1" in told.out
    assert sorted(p.name for p in out.iterdir()) == ["good_overlay.png", "good_saliency.png"]


@pytest.mark.parametrize("place", ["/proc/maps", "/dev/null/maps"])
def test_a_folder_that_cannot_be_written_is_named(unusual, predict, capsys, place):
    assert predict(next(iter(unusual)), "--out", place) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert place.rsplit("/", 1)[0] in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_named(unusual, predict, tmp_path, capsys, caplog):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir(), out.mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((9, 9, 3), 90, np.uint8))

    def refused(path):
        mode = path.stat().st_mode
        path.chmod(0)
        assert predict(folder, "--out", out, "--force") == 1
        path.chmod(mode)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert str(path) in line + caplog.text

    refused(folder / "b.png")
    assert (out / "a_saliency.png").exists()
    refused(folder)
    refused(out)


@pytest.mark.parametrize("kind", ["transparent", "frames"])
def test_a_webp_that_tensorflow_does_not_read_is_found(tmp_path, kind):
    rgba = smooth((50, 70), 4, 255)
    path = tmp_path / "a.jpg"
    image, more = PIL.Image.fromarray(rgba), PIL.Image.fromarray(255 - rgba)
    if kind == "transparent":
        image.save(path, "WEBP", lossless=True)
    else:
        image.convert("RGB").save(path, "WEBP", save_all=True, append_images=[more.convert("RGB")])
    (line,) = find_problems(Sample(path, fixations=np.zeros((1, 2)), sigma=2.0))
    assert line.startswith(f"{path}: not a readable image: a WebP with transparency or of several")


def test_a_map_in_cmyk_is_found(tmp_path):
    rgb = PIL.Image.fromarray(smooth((50, 70), 3, 255))
    rgb.save(tmp_path / "image.png")
    rgb.convert("CMYK").save(tmp_path / "map.jpg")
    (line,) = find_problems(Sample(tmp_path / "image.png", tmp_path / "map.jpg"))
    assert line == f"{tmp_path / 'map.jpg'}: not a readable image: a map in CMYK; save it in grey"


@pytest.mark.parametrize("size", [(427, 640), (333, 500)])
@pytest.mark.parametrize("resize", MODES)
def test_small_maps_lie_where_their_image_does(tmp_path, size, resize):
    """Though, by the rounding of its own size, a small map has not quite its image's aspect."""
    PIL.Image.fromarray(smooth(size, 3, 255)).save(tmp_path / "image.png")
    samples = []
    for divisor in (7, 24, 60, 1000):
        small = tuple(max(1, round(n / divisor)) for n in size)
        path = tmp_path / f"{divisor}.png"
        PIL.Image.fromarray(smooth(small, 1, 255, seed=divisor)[..., 0] | 9).save(path)
        samples.append(Sample(tmp_path / "image.png", path))
    check(Dataset("small", {"train": samples}))
    options = {"resize": resize, "batch_size": len(samples)}
    batches = [
        module.validation_batches(samples, (256, 256), **options)
        for module in (pipeline, pydataset)
    ]
    (ours,), (theirs,) = batches
    for name in ("density", "mask"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-7)
    assert not theirs["density"][theirs["mask"] == 0].any()


# Damage by chance


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_what_is_found_right_after_damage_is_read_alike(tmp_path, ending):
    """A flipped bit of a JPEG's data may go unnoticed, but breaks nothing later."""
    rgb = PIL.Image.fromarray(smooth((50, 70), 3, 255))
    path, whole = tmp_path / f"a{ending}", tmp_path / "whole.png"
    rgb.save(path)
    rgb.save(whole)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    right, told = [Sample(whole, fixations=np.zeros((1, 2)), sigma=2.0)], 0
    for number in range(200):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 3)):
            most = len(damaged) if number % 2 else 300  # headers are short
            damaged[rng.integers(most)] = rng.integers(256)
        path = tmp_path / f"{number}{ending}"
        path.write_bytes(damaged)
        sample = (
            Sample(whole, density=path)
            if number % 3 == 0
            else Sample(path, fixations=np.zeros((1, 2)), sigma=2.0)
        )
        problems = find_problems(sample)
        told += bool(problems)
        assert all(line.startswith(f"{path}: ") for line in problems)
        right += [] if problems else [sample]
    assert told > 20
    options = {"resize": "stretch", "batch_size": 201}
    (ours,) = pipeline.validation_batches(right, FRAME, **options)
    (theirs,) = pydataset.validation_batches(right, FRAME, **options)
    assert len(ours["image"]) == len(right)
    for batch in (ours, theirs):
        assert np.isfinite(batch["image"]).all()
        np.testing.assert_allclose(np.sum(batch["density"], axis=(1, 2, 3)), 1, atol=1e-5)
    if ending == ".png":  # decoders mend a JPEG each in its way
        np.testing.assert_allclose(ours["image"], theirs["image"], atol=0.02)
