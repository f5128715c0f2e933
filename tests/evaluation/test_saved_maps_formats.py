"""Formats of saved maps: each gives its values back; other files are refused by name."""

import contextlib
import re

import cv2
import h5py
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import scipy.io
from map_files import (
    SIZE,
    read,
    refusal,
    samples,
    save,
)

from keras_salnet.evaluation.saved_maps import SavedMaps
from keras_salnet.images.files import write_picture
from keras_salnet.images.visualize import heatmap, overlay, to_grey

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
    """Files of `keras-salnet predict`: exact as floats, to half a level as pictures."""
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
    """Any broken byte gives numbers or a `ValueError`, and nothing else."""
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
