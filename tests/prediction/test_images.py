"""Maps of image files: which are taken, where they are written, and what happens to bad ones."""

import itertools
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from keras_salnet import Predictor, cli
from keras_salnet.images.files import read_image
from keras_salnet.prediction.drawing import Drawing
from keras_salnet.prediction.images import ImageFiles, Output, predict_images
from keras_salnet.prediction.outputs import Found, Outputs

FRAME = (16, 24)


def brightness(images):
    """A model that finds bright pixels salient."""
    return images.mean(axis=-1, keepdims=True) / 255


@pytest.fixture
def photos(tmp_path):
    """A folder with images in it and below it, and other things."""
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for name in ("a.jpg", "b.PNG", "holiday/a.jpg", "holiday/deep/c.bmp", "ä b.jpeg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / name)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "h.jpg").touch()
    (folder / ".x.jpg").touch()
    (folder / "notes.txt").touch()
    return folder


def names(files):
    return sorted((found.folder / found.path.name).as_posix() for found in files)


def save(path, image, saliency):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, saliency)


ARRAYS = [Output("saliency", save, ".npy")]


def predict(files, out, made=ARRAYS, **options):
    predictor = Predictor(brightness, FRAME)
    return predict_images(predictor, files, Outputs(out), made, **options)


# Which


def test_folders_are_taken_with_all_below_them(photos):
    files = ImageFiles([photos])
    assert names(files) == ["a.jpg", "b.PNG", "holiday/a.jpg", "holiday/deep/c.bmp", "ä b.jpeg"]
    assert len(files) == 5
    assert names(files) == names(files), "a second pass sees the same"


def test_several_inputs_keep_the_folders_names(photos):
    files = ImageFiles([photos / "holiday", photos / "holiday", photos / "a.jpg"])
    assert names(files) == ["a.jpg", "holiday/a.jpg", "holiday/deep/c.bmp"]
    (photos / "deep").mkdir()
    with pytest.raises(ValueError, match="two folders are called deep"):
        ImageFiles([photos / "deep", photos / "holiday" / "deep"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ImageFiles([photos / "nowhere"])


def test_shards_divide_the_images(photos):
    for number in range(200):
        (photos / f"{number}.jpg").touch()
    shards = [names(ImageFiles([photos], (part, 4))) for part in (1, 2, 3, 4)]
    assert sorted(itertools.chain(*shards)) == names(ImageFiles([photos]))
    assert all(30 < len(shard) < 75 for shard in shards)
    (photos / "new.jpg").touch()
    again = names(ImageFiles([photos], (1, 4)))
    assert set(shards[0]) <= set(again), "another image moves none"


def test_the_outputs_are_no_inputs(photos, monkeypatch):
    monkeypatch.chdir(photos)
    command = ["predict", ".", "--overlay"]
    monkeypatch.setattr(cli.predict, "load_predictor", lambda model: Predictor(brightness, FRAME))
    for _ in range(2):
        assert cli.main(command) == 0
    assert len(list(Path("predictions").rglob("*.png"))) == 5
    assert cli.main([*command, "--out", "."]) == 1
    (photos / "other").mkdir()
    beside = ["predict", "holiday", "other", "--out", "{folder}/{name}_{kind}.png"]
    assert cli.main(beside) == 1
    assert not list(photos.glob("holiday/**/*_saliency.png"))


# Where


@pytest.mark.parametrize(
    ("out", "path"),
    [
        ("maps", "maps/below/photo_overlay.png"),
        ("maps/", "maps/below/photo_overlay.png"),
        ("maps/{name}.jpg", "maps/photo.jpg"),
        ("maps/{folder}/{name}.{ending}.png", "maps/below/photo.JPG.png"),
        ("{kind}/{name}.png", "overlay/photo.png"),
        ("heat.png", "heat.png"),
    ],
)
def test_patterns(out, path):
    assert Outputs(out).path(Found(Path("x/photo.JPG"), Path("below")), "overlay") == Path(path)


@pytest.mark.parametrize(
    ("out", "kinds", "told"),
    [
        ("heat.png", ["overlay"], r"\{name\}"),
        ("maps/{name}.png", ["overlay", "saliency"], r"\{kind\}"),
    ],
)
def test_names_that_would_be_the_same_are_refused(out, kinds, told):
    with pytest.raises(ValueError, match=told):
        Outputs(out).check(kinds, several=True)


def test_images_of_several_folders_keep_names_of_their_own(photos, tmp_path):
    for inputs in ([photos], [photos / "holiday" / "deep", photos / "a.jpg"]):
        with pytest.raises(ValueError, match=r"several folders.*pattern with \{folder\}"):
            predict(ImageFiles(inputs), tmp_path / "{name}.npy")
    assert predict(ImageFiles([photos / "holiday" / "deep"]), tmp_path / "{name}.npy").done == 1
    assert predict(ImageFiles([photos]), tmp_path / "{folder}" / "{name}.npy").done == 5
    assert len(list(tmp_path.rglob("a.npy"))) == 2


@pytest.mark.parametrize(
    ("out", "told"), [("{size}.png", r"\{size\}.*\{name\}"), ("{name.png", "pattern")]
)
def test_bad_patterns_are_refused(out, told):
    with pytest.raises(ValueError, match=told):
        Outputs(out)


def test_images_of_one_name_are_not_written_over_each_other(photos, tmp_path, caplog):
    PIL.Image.new("RGB", (9, 9)).save(photos / "a.png")
    out = tmp_path / "out"
    tally = predict(ImageFiles([photos]), out)
    assert (tally.done, tally.failed) == (4, 2)
    assert "a.jpg and a.png would both be" in caplog.text
    assert "{ending}" in caplog.text
    assert not (out / "a_saliency.npy").exists()
    assert predict(ImageFiles([photos]), out / "{folder}" / "{name}.{ending}.npy").done == 6
    with pytest.raises(ValueError, match="both be written"):
        predict(ImageFiles([photos / "a.jpg", photos / "holiday" / "a.jpg"]), out / "two")


# What


@pytest.mark.parametrize("input_size", [FRAME, (None, None)])
def test_each_map_is_its_image_s(photos, tmp_path, input_size):
    """Whatever the batches, and in whatever order threads read and write."""
    for number in range(30):
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(photos / f"{number}.png")
    predictor = Predictor(brightness, input_size)
    files = ImageFiles([photos])
    assert predict_images(predictor, files, Outputs(tmp_path / "out"), ARRAYS).done == 35
    for found in files:
        written = np.load(tmp_path / "out" / found.folder / f"{found.path.stem}_saliency.npy")
        np.testing.assert_array_equal(written, predictor(found.path))


def test_a_killed_job_goes_on_where_it_was(photos, tmp_path):
    out, written = tmp_path / "out", []
    stop = threading.Event()

    def note(path, image, saliency):
        if stop.is_set():
            raise OSError("the disk is full")
        save(path, image, saliency)
        written.append(path)
        if len(written) == 2:
            stop.set()

    made = [Output("saliency", note, ".npy")]
    with pytest.raises(OSError, match="disk"):
        predict(ImageFiles([photos]), out, made)
    stop.clear()
    there = len(written)
    tally = predict(ImageFiles([photos]), out, made)
    assert (tally.done, tally.there) == (5 - there, there)
    assert len(set(written)) == len(written) == 5, "none is made twice"
    tally = predict(ImageFiles([photos]), out, made, force=True)
    assert (tally.done, tally.there) == (5, 0)


def test_what_is_missing_is_made_and_the_rest_left(photos, tmp_path):
    predict(ImageFiles([photos]), tmp_path / "out")
    kept = tmp_path / "out" / "a_saliency.npy"
    kept.write_bytes(b"mine")
    assert predict(ImageFiles([photos]), tmp_path / "out", [*ARRAYS, Output("more", save)]).done
    assert kept.read_bytes() == b"mine"


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """A million images need no more than a few: nothing is listed, kept, or read too far ahead."""

    class Endless(ImageFiles):
        def __iter__(self):
            image = tmp_path / "image.png"
            return (Found(image, Path(str(number))) for number in range(self.number))

    PIL.Image.new("RGB", (300, 200)).save(tmp_path / "image.png")

    def peak(number):
        files = Endless([tmp_path / "image.png"])
        files.number = number
        made = [Output("nothing", lambda path, image, saliency: None)]
        tracemalloc.start()
        assert predict(files, tmp_path / "{folder}" / "{name}.png", made).done == number
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(600) < 1.2 * peak(150)


# Drawn


def test_drawings():
    image = np.full((4, 6, 3), 100, np.uint8)
    saliency = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    grey = Drawing("saliency")(image, saliency)
    np.testing.assert_array_equal(grey, np.round(saliency * 255))
    np.testing.assert_array_equal(
        Drawing("saliency", threshold=0.5)(image, saliency) > 0, grey > 127
    )
    assert Drawing("saliency", "jet")(image, saliency).shape == (4, 6, 3)
    both = Drawing("side_by_side", "viridis")(image, saliency)
    np.testing.assert_array_equal(both[:, :6], image)
    np.testing.assert_array_equal(both[:, 6:], Drawing("overlay", "viridis")(image, saliency))
    for arguments in ({"kind": "photo"}, {"colormap": "rainbow"}, {"threshold": 1.5}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            Drawing(**arguments)


def test_the_command(photos, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setattr(cli.predict, "load_predictor", lambda model: Predictor(brightness, FRAME))
    out = tmp_path / "out"
    (photos / "broken.jpg").write_bytes(b"no image")
    command = ["predict", str(photos), "--out", str(out / "{folder}/{name}.png"), "--map"]
    assert cli.main([*command, "--npy", "--threshold", "0.5"]) == 1
    told = capsys.readouterr()
    assert "Images predicted by model: 5" in told.out
    assert f"{photos / 'broken.jpg'}: not a readable image" in caplog.text
    for path in (out / "a.png", out / "holiday" / "deep" / "c.png"):
        saliency = np.load(path.with_suffix(".npy"))
        shown = np.where(saliency < 0.5, 0, np.round(saliency * 255))
        np.testing.assert_array_equal(read_image(path)[..., 0], shown)
    assert cli.main([*command, "--npy"]) == 1
    assert "Kept: 5" in capsys.readouterr().out
    assert cli.main(["predict", str(photos / "a.jpg"), "--out", str(tmp_path / "heat.jpg")]) == 0
    assert read_image(tmp_path / "heat.jpg").shape == (20, 30, 3)
    assert cli.main(["predict", str(photos), "--colormap", "rainbow"]) == 1
    assert "colormap" in capsys.readouterr().err


def test_a_folder_without_images_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.predict, "load_predictor", lambda model: Predictor(brightness, FRAME))
    (tmp_path / "empty").mkdir()
    command = ["predict", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 1
    assert "empty: no images found (.jpg" in capsys.readouterr().err
    assert cli.main([*command, "--shard", "1/2"]) == 0, "other shards may have some"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.jpg", "--camera", "0"],
        ["a.jpg", "--shard", "0/3"],
        ["a.jpg", "--shard", "4/3"],
        ["a.jpg", "--shard", "half"],
        ["a.jpg", "--threshold", "2"],
        ["a.jpg", "--threshold", "nan"],
        ["a.jpg", "--threshold", "half"],
        ["a.jpg", "--input-size", "0"],
        ["a.jpg", "--input-size", "64x0"],
        ["a.jpg", "--smoothing", "-1"],
    ],
)
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as status:
        cli.main(["predict", *arguments])
    assert status.value.code == 2
    assert " _" not in capsys.readouterr().err, "no names of our functions"
