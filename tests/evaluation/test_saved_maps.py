"""Maps of other programs: each kind gives its values back; what is no map is refused by name."""

import contextlib
import logging
import os
import re
from pathlib import Path

import cv2
import h5py
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import scipy.io

from keras_salnet.data import Sample
from keras_salnet.evaluation.saved_maps import SavedMaps
from keras_salnet.images.files import read_grey, write_picture
from keras_salnet.images.visualize import heatmap, overlay, to_grey

SIZE = (24, 40)


@pytest.fixture(scope="module")
def values():
    """(H, W) float64 in 0…1, smooth as saliency is, from the lowest to the highest."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 1, SIZE), (0, 0), 4)
    return (noise - noise.min()) / np.ptp(noise)


@pytest.fixture(scope="module")
def grey(values):
    return to_grey(values)


@pytest.fixture(scope="module")
def grey16(values):
    return np.round(values * 65535).astype(np.uint16)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "deepgaze"
    folder.mkdir()
    return folder


def save(path, stored):
    """Write an array, or a dict of MATLAB's variables, as the path ends."""
    ending = path.suffix.lower()
    if ending == ".npy":
        with path.open("wb") as file:  # np.save would add its ending to one in capitals
            np.save(file, stored)
    elif ending == ".mat":
        scipy.io.savemat(path, stored if isinstance(stored, dict) else {"map": stored})
    else:
        path.write_bytes(cv2.imencode(ending, stored)[1].tobytes())
    return path


def samples(*names):
    return [Sample(Path("images") / f"{name}.jpg") for name in names]


def read(path):
    """The map in a file, by way of its image."""
    found = SavedMaps(path.parent)(f"images/{path.stem}.jpg")
    assert found.dtype == np.float64
    return found


def refusal(path):
    """What is said of a file that is no map, the same of the file alone and by `check`."""
    maps = SavedMaps(path.parent)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as alone:
        maps(f"images/{path.stem}.jpg")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path.parent))}: ") as checked:
        maps.check(samples(path.stem))
    message = str(alone.value)
    assert str(checked.value).split("\n")[1:] == [f"  {message}"]
    return message.removeprefix(f"{path}: ")


# The folder


def test_the_name_is_the_folders(folder, values, monkeypatch):
    save(folder / "a.npy", values)
    link = folder.with_name("mine")
    link.symlink_to(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder.parent))
    for given in (folder, f"{folder}{os.sep}", ".", "../deepgaze", "~/deepgaze"):
        assert SavedMaps(given).name == "deepgaze"
    assert SavedMaps(link).name == "mine"
    assert SavedMaps(link).folder == link
    np.testing.assert_array_equal(SavedMaps("~/deepgaze")("a.jpg"), values)


def test_no_such_folder(folder):
    (folder / "file").touch()
    for missing in (folder / "none", folder / "file"):
        with pytest.raises(FileNotFoundError, match=f"{re.escape(str(missing))}.*no such folder"):
            SavedMaps(missing)


def test_a_folder_without_maps(folder, values):
    (folder / "notes.txt").write_text("none yet")
    (folder / "a.png").mkdir()
    save(folder / ".a.npy", values)
    with pytest.raises(ValueError, match=rf"{re.escape(str(folder))}: holds no map .*\.npy.*\.mat"):
        SavedMaps(folder)


@pytest.mark.parametrize("name", ["a.npy", "a_saliency.npy", "a.NPY", "a.v2.npy", "ä_saliency.npy"])
def test_a_map_has_the_name_of_its_image(folder, values, name):
    save(folder / name, values)
    image = Path("somewhere/else") / (Path(name).stem.removesuffix("_saliency") + ".jpeg")
    maps = SavedMaps(folder)
    for path in (image, str(image)):
        np.testing.assert_array_equal(maps(path), values)


@pytest.mark.parametrize("name", ["b", "A", "a_sal", "a_overlay", "aa", "a.v2", ".a"])
def test_a_map_of_another_name_is_not_the_images(folder, values, name):
    save(folder / f"{name}.npy", values)
    save(folder / "other.npy", values)
    maps = SavedMaps(folder)
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(str(folder))}.* a, such as a\.npy"):
        maps("a.jpg")


def test_an_image_may_be_called_saliency(folder, values):
    save(folder / "a_saliency.npy", values)
    np.testing.assert_array_equal(SavedMaps(folder)("images/a_saliency.jpg"), values)


def test_the_most_precise_kind_is_taken(folder, values):
    endings = (".JPEG", ".png", "_saliency.Mat", ".npy")
    for level, ending in enumerate(endings):
        save(folder / f"a{ending}", np.full(SIZE, 50 * level, np.uint8))
        (folder / "a.txt").write_text("not a map")
        assert SavedMaps(folder)("a.png")[0, 0] == 50 * level


@pytest.mark.parametrize(
    "names",
    [
        ("a.jpeg", "a.jpg"),
        ("a.png", "a_saliency.png"),
        ("a.npy", "a_saliency.npy"),
        ("a.PNG", "a.png"),
    ],
)
def test_two_maps_of_one_kind_are_refused(folder, grey, names):
    for name in names:
        save(folder / name, grey)
    save(folder / "b.png", grey)
    maps = SavedMaps(folder)
    both = re.escape(names[0]) + ".*" + re.escape(names[1])
    for ask in (lambda: maps("a.jpg"), lambda: maps.check(samples("a", "b"))):
        with pytest.raises(ValueError, match=both) as error:
            ask()
        assert str(folder) in str(error.value)
        assert "remove one" in str(error.value)
    maps("b.jpg")
    maps.check(samples("b"))  # nobody asks for the map of a


def test_two_coarse_maps_do_not_matter_beside_a_precise_one(folder, grey, values):
    for name in ("a.jpg", "a.jpeg"):
        save(folder / name, grey)
    save(folder / "a.npy", values)
    np.testing.assert_array_equal(SavedMaps(folder)("a.jpg"), values)


# Pictures


def pillow(*bands, mode=None):
    """Bands, or one band as a mode, → a picture by Pillow."""
    bands = [PIL.Image.fromarray(band) for band in bands]
    if len(bands) == 1:
        return bands[0].convert(mode)
    return PIL.Image.merge(mode, bands)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_a_png_gives_its_levels(folder, grey, mode):
    path = folder / "a.png"
    alpha = grey[::-1]
    if mode == "1":
        grey = np.where(grey > 100, 255, 0).astype(np.uint8)
    grey_bands = [grey] * (3 if "RGB" in mode else 1)
    pillow(*grey_bands, *[alpha] * mode.endswith("A"), mode=mode).save(path)
    with PIL.Image.open(path) as stored:
        assert stored.mode == mode
    np.testing.assert_array_equal(read(path), grey)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_of_16_bits_gives_its_levels(folder, grey16, channels):
    bands = [grey16, grey16, grey16, grey16[::-1]][:channels]
    path = save(folder / "a.png", np.dstack(bands))
    np.testing.assert_array_equal(read(path), grey16)


def test_a_palette_may_be_of_any_order(folder, grey):
    picture = PIL.Image.fromarray(255 - grey).convert("P")
    picture.putpalette([255 - level for level in range(256) for _ in range(3)])
    picture.save(folder / "a.png", transparency=7)
    np.testing.assert_array_equal(read(folder / "a.png"), grey)


@pytest.mark.parametrize("quality", [10, 50, 95])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_grey_jpeg_is_read_however_it_was_saved(folder, grey, mode, quality):
    picture = pillow(grey, mode="RGB").convert(mode)
    picture.save(folder / "a.jpg", quality=quality)
    error = np.abs(read(folder / "a.jpg") - grey)
    assert error.mean() < (8 if quality == 10 else 3)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_chroma_noise_is_not_colour(folder, grey, ending):
    noise = np.random.default_rng(1).integers(-4, 5, (*SIZE, 3))
    noisy = np.clip(np.dstack([grey] * 3) + noise, 0, 255).astype(np.uint8)
    path = save(folder / f"a{ending}", noisy)
    colour = cv2.imread(str(path)).astype(int)
    assert ending == ".jpg" or np.ptp(colour, axis=2).max() > 5  # there is noise
    assert np.abs(read(path) - grey).mean() < 5


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize("colours", ["inferno", "jet", "hot", "bone", "pink", "cividis", "palette"])
def test_a_drawn_heat_map_is_refused(folder, grey, ending, colours):
    path = folder / f"a{ending}"
    if colours == "palette":
        drawn = PIL.Image.fromarray(heatmap(grey))
        (drawn.quantize(64) if ending == ".png" else drawn).save(path)
    else:
        save(path, cv2.applyColorMap(grey, getattr(cv2, f"COLORMAP_{colours.upper()}")))
    message = refusal(path)
    assert "colour" in message
    assert "grey or as .npy" in message


@pytest.mark.parametrize("channel", range(3))
def test_a_difference_in_any_channel_is_colour(folder, grey16, channel):
    picture = np.dstack([grey16] * 3)
    picture[10, 20, channel] ^= 0x4000
    assert "colour" in refusal(save(folder / "a.png", picture))


def test_exif_orientation_is_ignored(folder, grey):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    PIL.Image.fromarray(grey).save(folder / "a.jpg", exif=exif)
    assert read(folder / "a.jpg").shape == SIZE


def test_round_trip_of_predict(folder, values):
    """What `keras-salnet predict` leaves there: as a picture to half a level, as floats exact."""
    saliency = values.astype(np.float32)
    write_picture(folder / "a_saliency.png", to_grey(saliency))
    image = np.full((*SIZE, 3), 128, np.uint8)
    write_picture(folder / "a_overlay.png", overlay(image, saliency))
    maps = SavedMaps(folder)
    np.testing.assert_allclose(maps("a.jpg") / 255, saliency, atol=0.5 / 255 + 1e-6)
    maps.check(samples("a"))
    np.save(folder / "a_saliency.npy", saliency)
    np.testing.assert_array_equal(SavedMaps(folder)("a.jpg"), saliency)


# NumPy


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", "<i2", ">u2", "i4", "u8", "f2", "<f4", ">f4", "f8", "g"]
)
def test_real_numbers_of_every_type(folder, values, dtype):
    stored = (values * 100).astype(dtype)
    path = save(folder / "a.npy", stored)
    np.testing.assert_array_equal(read(path), stored.astype(np.float64))


@pytest.mark.parametrize("shape", [(1, *SIZE), (*SIZE, 1), (1, *SIZE, 1), SIZE])
def test_axes_of_length_1_are_left_out(folder, values, shape):
    np.testing.assert_array_equal(read(save(folder / "a.npy", values.reshape(shape))), values)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_a_small_map_keeps_its_shape(folder, shape):
    assert read(save(folder / "a.npy", np.ones(shape))).shape == shape


def test_values_keep_their_scale_and_order(folder, values):
    stored = np.asfortranarray(1e-30 * values - 3e-31)
    np.testing.assert_array_equal(read(save(folder / "a.npy", stored)), stored)


@pytest.mark.parametrize("shape", [(), (7,), (1, 1, 7), (*SIZE, 3), (2, *SIZE)])
def test_other_shapes_are_refused(folder, shape):
    message = refusal(save(folder / "a.npy", np.zeros(shape)))
    assert str(shape) in message
    assert "(H, W)" in message


@pytest.mark.parametrize("dtype", [complex, "U3", "S3", "M8[s]", "m8[s]", [("x", float)]])
def test_other_types_are_refused(folder, dtype):
    message = refusal(save(folder / "a.npy", np.zeros(SIZE, dtype)))
    assert str(np.dtype(dtype)) in message
    assert "real numbers" in message


class Trap:
    """Notices that it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_pickles_are_refused_unopened(folder):
    stored = np.empty((2, 2), object)
    stored[:] = Trap()
    np.save(folder / "a.npy", stored)
    assert "np.save, as floats" in refusal(folder / "a.npy")
    assert not Trap.sprung


def test_an_archive_is_no_array(folder, values):
    with (folder / "a.npy").open("wb") as file:
        np.savez(file, values)
    assert "np.save" in refusal(folder / "a.npy")


def test_a_damaged_header_is_refused_or_read(folder, values):
    """Whatever byte is broken, numbers come back or a `ValueError`, and nothing else."""
    path = save(folder / "a.npy", values)
    whole = path.read_bytes()
    maps = SavedMaps(folder)
    refused = 0
    for position in range(128):
        path.write_bytes(whole[:position] + b"\x99" + whole[position + 1 :])
        with contextlib.suppress(ValueError):
            maps("a.jpg")
            continue
        refused += 1
    assert refused > 60


# MATLAB


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_matlab_matrix(folder, values, dtype, compressed):
    stored = (values * 100).astype(dtype)
    scipy.io.savemat(folder / "a.mat", {"S": stored}, do_compression=compressed)
    np.testing.assert_array_equal(read(folder / "a.mat"), stored)


def test_what_is_no_matrix_may_lie_beside_the_map(folder, values):
    beside = {
        "sigma": 24.0,
        "model": "itti",
        "size": {"h": 24, "w": 40},
        "names": np.array(["a", "b"], object),
        "spectrum": values * 1j,
        "stack": np.zeros((2, 3, 4)),
        "sparse": scipy.sparse.eye_array(5),
        "empty": np.zeros((0, 5)),
    }
    path = save(folder / "a.mat", {**beside, "saliency": values})
    np.testing.assert_array_equal(read(path), values)


def test_what_scipy_adds_is_no_map(folder, values, monkeypatch):
    """Such as the workspace of function handles, a matrix of bytes."""
    path = save(folder / "a.mat", values)
    loaded = scipy.io.loadmat(path)
    workspace = {"__function_workspace__": np.zeros((1, 600), np.uint8)}
    monkeypatch.setattr(scipy.io, "loadmat", lambda path: loaded | workspace)
    np.testing.assert_array_equal(read(path), values)


def test_several_matrices_are_listed(folder, values):
    message = refusal(save(folder / "a.mat", {"first": values, "second": values, "note": "x"}))
    assert "holds 2" in message
    assert "first, second" in message
    assert "Save the map alone" in message


@pytest.mark.parametrize(
    "variables", [{}, {"sigma": 2.0}, {"sigma": "x"}, {"sigma": np.zeros((0, 3))}]
)
def test_no_matrix(folder, variables):
    message = refusal(save(folder / "a.mat", variables))
    assert "holds 0" in message
    assert all(name in message for name in variables)


def test_a_file_of_matlab_7_3(folder, values):
    path = folder / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["map"] = values
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    message = refusal(path)
    assert "save it with -v7" in message
    assert "v7.3" in message


# Damage of every kind


ENDINGS = (".npy", ".mat", ".png", ".jpg")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("part", [0, 0.02, 0.5, 0.9, 1])
def test_truncated_files_are_refused(folder, ending, part):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)
    path = save(folder / f"a{ending}", noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * (len(whole) - 1))])
    assert refusal(path)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_is_refused(folder, grey, progressive):
    """None is filled up with grey, which would be scored as a map."""
    path = folder / "a.jpg"
    PIL.Image.fromarray(grey).resize((640, 480)).save(path, progressive=progressive)
    whole = path.read_bytes()
    maps = SavedMaps(folder)
    for left in range(1, len(whole), len(whole) // 20):
        path.write_bytes(whole[:-left])
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: "):
            maps("a.jpg")


def test_a_picture_of_impossible_size_is_refused(folder, grey):
    path = save(folder / "a.jpg", grey)
    whole = path.read_bytes()
    height = whole.index(b"\xff\xc0") + 5
    path.write_bytes(whole[:height] + b"\xea\x60" * 2 + whole[height + 4 :])
    assert "not a readable image" in refusal(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_of_another_format_are_refused(folder, ending):
    path = folder / f"a{ending}"
    path.write_text("where people look\n" * 20)
    assert refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("ending", "dtype"), [(".npy", "f2"), (".npy", "f4"), (".npy", "f8"), (".mat", "f8")]
)
def test_values_must_be_finite(folder, values, ending, value, dtype):
    stored = values.astype(dtype)
    stored[3, 4] = stored[5, 6] = value
    message = refusal(save(folder / f"a{ending}", stored))
    assert f"2 of {values.size}" in message


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 0, 5)])
def test_an_empty_map_is_refused(folder, shape):
    assert "empty" in refusal(save(folder / "a.npy", np.zeros(shape)))


def test_a_file_that_has_gone(folder, values):
    path = save(folder / "a.npy", values)
    maps = SavedMaps(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        maps("a.jpg")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        maps.check(samples("a"))


# Checking all of them


def test_every_problem_is_told_at_once(folder, values):
    save(folder / "good.npy", values)
    save(folder / "nan.npy", values * np.nan)
    save(folder / "drawn.png", heatmap(values))
    save(folder / "twice.jpg", np.zeros(SIZE))
    save(folder / "twice.jpeg", np.zeros(SIZE))
    missing = [f"gone{number}" for number in range(5)]
    with pytest.raises(ValueError, match=f"^{re.escape(str(folder))}: ") as error:
        SavedMaps(folder).check(samples("good", *missing, "nan", "drawn", "twice"))
    lines = str(error.value).split("\n")[1:]
    assert len(lines) == 4
    for words in (
        ("5 of 9 images", "gone0, gone1, gone2, …", "NAME.npy"),
        ("nan.npy", "NaN"),
        ("drawn.png", "colour"),
        ("twice.jpeg", "twice.jpg", "remove one"),
    ):
        assert [all(word in line for word in words) for line in lines].count(True) == 1, words
    assert "good" not in str(error.value)
    assert "gone3" not in str(error.value)


def test_images_that_share_a_map_are_refused(folder, values):
    for name in "abc":
        save(folder / f"{name}.npy", values)
    images = [Path("images") / split / "a.jpg" for split in ("train", "val")]
    split = [Sample(image) for image in images]
    maps = SavedMaps(folder)
    with pytest.raises(ValueError, match=re.escape(str(folder / "a.npy"))) as error:
        maps.check([*split, *samples("b", "c")])
    assert all(str(image) in str(error.value) for image in images)
    assert "b.npy" not in str(error.value)
    maps.check([split[0], split[0], *samples("b")])  # one image, be it listed twice


def test_a_suffix_must_not_make_one_map_of_two_images(folder, values):
    save(folder / "a_saliency.npy", values)
    with pytest.raises(ValueError, match=r"a_saliency\.npy.*images/a\.jpg.*images/a_saliency\.jpg"):
        SavedMaps(folder).check(samples("a", "a_saliency"))


def logged(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_the_log_counts_maps_by_kind(folder, values, grey16, caplog):
    for name in ("a.npy", "b_saliency.npy", "c.mat", "unused.mat"):
        save(folder / name, values)
    for name in ("d.png", "a.png"):
        save(folder / name, grey16)
    with caplog.at_level(logging.INFO, "keras_salnet"):
        assert SavedMaps(folder).check(samples("a", "b", "c", "d")) is None
    assert logged(caplog, logging.INFO) == [f"{folder}: 4 maps (2 NPY, 1 MAT, 1 PNG)"]
    assert not logged(caplog, logging.WARNING)


def test_maps_of_8_bits_are_warned_of_once(folder, values, grey, caplog):
    for name in ("a.jpg", "b.jpeg", "c.png", "d.mat"):
        save(folder / name, grey)
    save(folder / "e.npy", values)
    with caplog.at_level(logging.INFO, "keras_salnet"):
        SavedMaps(folder).check(samples(*"abcde"))
    assert "5 maps (2 JPEG, 1 PNG, 1 MAT, 1 NPY)" in logged(caplog, logging.INFO)[0]
    (warning,) = logged(caplog, logging.WARNING)
    assert warning.startswith(f"{folder}: 4 of 5 maps have 8 bits")
    assert all(word in warning for word in ("KL", "IG", ".npy"))


def test_constant_maps_are_warned_of_by_name(folder, values, caplog):
    for number in range(4):
        save(folder / f"flat{number}.npy", np.full(SIZE, number / 3))
    save(folder / "good.npy", values)
    maps = SavedMaps(folder)
    maps.check(samples("good", *(f"flat{number}" for number in range(4))))
    (warning,) = logged(caplog, logging.WARNING)
    assert warning.startswith(f"{folder}: 4 of 5 maps are constant")
    assert warning.endswith("flat0.npy, flat1.npy, flat2.npy, …")
    assert (maps("flat2.jpg") == 2 / 3).all()


def test_checking_shows_its_progress(folder, values):
    for name in "abc":
        save(folder / f"{name}.npy", values)
    shown = []

    def track(items, title):
        shown.append((len(items), title))
        for item in items:
            shown.append(item)
            yield item

    SavedMaps(folder).check(samples(*"abc"), track)
    assert shown[0] == (3, "checking deepgaze")
    assert len(shown) == 4


def test_levels_are_those_that_the_ground_truth_would_have(folder, grey):
    """A prediction and a density map in the same file are the same map."""
    path = save(folder / "a.jpg", np.dstack([grey] * 3))
    np.testing.assert_array_equal(read(path), read_grey(path))
