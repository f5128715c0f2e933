"""Folders of saved maps: which file is the map of an image, and what `check` finds."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
from map_files import (
    SIZE,
    read,
    samples,
    save,
)

from keras_salnet.data import Sample
from keras_salnet.evaluation.saved_maps import SavedMaps
from keras_salnet.images.files import read_grey
from keras_salnet.images.visualize import heatmap

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
