"""Datasets and their splits, and where their descriptions are found once installed."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import scipy.io

from keras_salnet.data import Dataset, Sample, check, datasets, load_dataset
from keras_salnet.data.datasets import descriptions
from keras_salnet.data.readers import LAYOUTS

REPOSITORY = Path(__file__).parents[2]
LOOKS = [[(1, 2), (7, 5)], [(0, 0)]]
DEGREES = "sigma_degrees = 1\npixels_per_degree = 24"


def names(samples):
    return [sample.name for sample in samples]


@pytest.fixture
def described(monkeypatch):
    """Describe datasets for one test."""

    def describe(**tables):
        monkeypatch.setattr(datasets, "descriptions", lambda: tables)

    return describe


# Splits


@pytest.mark.parametrize(("images", "validation"), [(2, 1), (9, 1), (20, 2), (36, 4)])
def test_without_splits_the_last_tenth_is_for_validation(tmp_path, write_osie, images, validation):
    records = [(f"{number:03d}.png", LOOKS) for number in reversed(range(images))]
    dataset = load_dataset(write_osie(tmp_path / "mine", records))
    assert dataset.name == "mine"
    expected = [f"{number:03d}" for number in range(images)]
    assert names(dataset["train"]) == expected[:-validation]
    assert names(dataset["val"]) == expected[-validation:]
    assert list(dataset.splits) == ["train", "val"]


def test_a_described_dataset_has_its_splits_and_sigma(tmp_path, write_osie, described):
    described(mine={"sigma": 24.0, "splits": {"train": 3, "val": 1, "test": 2}})
    folder = write_osie(tmp_path / "mine", [(f"{name}.png", LOOKS) for name in "cbafed"])
    dataset = load_dataset(str(folder))
    assert {split: names(samples) for split, samples in dataset.splits.items()} == {
        "train": ["a", "b", "c"],
        "val": ["d"],
        "test": ["e", "f"],
    }
    assert {sample.sigma for samples in dataset.splits.values() for sample in samples} == {24.0}
    assert dataset.held_out == "test"


def test_the_name_is_the_folders_as_the_user_calls_it(tmp_path, write_osie, described, monkeypatch):
    described(mine={"splits": {"train": 1, "val": 2}})
    folder = write_osie(tmp_path / "mine", [(f"{name}.png", LOOKS) for name in "abc"])
    (tmp_path / "elsewhere").symlink_to(folder)
    shutil.copytree(folder, tmp_path / "volume-1")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "mine").symlink_to(tmp_path / "volume-1")
    assert load_dataset(tmp_path / "elsewhere").name == "elsewhere"
    assert len(load_dataset(tmp_path / "link" / "mine")["val"]) == 2
    monkeypatch.chdir(folder)
    for here in (".", "eye/..", Path("../mine")):
        assert len(load_dataset(here)["val"]) == 2
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_dataset("~/mine")["val"]) == 2


def test_splits_that_do_not_fit_are_refused(tmp_path, write_osie, described):
    folder = write_osie(tmp_path / "mine", [(f"{name}.png", LOOKS) for name in "abc"])
    for splits, message in (
        ({"train": 600, "val": 100}, "mine: holds 3 images, but its splits need 600 train, 100 v"),
        ({"train": 1, "val": 1}, "mine: holds 3 images, but its splits need 1 train, 1 val"),
        ({"train": 3, "val": 0}, "mine: holds 3 images, but its splits need 3 train, 0 val"),
    ):
        described(mine={"splits": splits})
        with pytest.raises(ValueError, match=message):
            load_dataset(folder)


def test_half_an_osie_is_refused(tmp_path, write_osie):
    folder = write_osie(tmp_path / "osie", [(f"{name}.png", LOOKS) for name in "abc"])
    with pytest.raises(ValueError, match="osie: holds 3 images, but its splits need 560 train, 70"):
        load_dataset(folder)


def test_one_image_cannot_be_split(tmp_path, write_osie):
    folder = write_osie(tmp_path / "mine", [("a.png", LOOKS)])
    with pytest.raises(ValueError, match="mine: holds 1 images, but its splits need 0 train, 1 v"):
        load_dataset(folder)


def test_splits_may_be_folders(tmp_path, write_folders):
    folder = write_folders(tmp_path / "mine", {"train": ["a", "b"], "val": ["c"], "test": ["d"]})
    dataset = load_dataset(folder)
    assert {split: names(samples) for split, samples in dataset.splits.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
    }
    assert dataset.held_out == "val"


@pytest.mark.parametrize(
    ("splits", "held_out"),
    [
        (["train", "val", "test", "extra"], "test"),
        (["train", "val", "extra"], "val"),
        (["train", "benchmark", "extra"], "extra"),
        (["test"], "test"),
        (["train"], "train"),
    ],
)
def test_what_is_not_trained_on_needs_no_split_of_that_name(
    tmp_path, write_osie, described, splits, held_out
):
    described(mine={"splits": dict.fromkeys(splits, 1)})
    records = [(f"{number}.png", LOOKS) for number in range(len(splits))]
    dataset = load_dataset(write_osie(tmp_path / "mine", records))
    assert dataset.splits.keys() == set(splits)
    assert dataset.held_out == held_out


def test_a_folder_may_hold_a_test_split_alone(tmp_path, write_folders):
    folder = write_folders(tmp_path / "mine", {"benchmark": ["a", "b"]})
    for kind in ("images", "maps", "fixations"):
        (folder / kind / "benchmark").rename(folder / kind / "test")
    dataset = load_dataset(folder)
    assert {split: names(samples) for split, samples in dataset.splits.items()} == {
        "test": ["a", "b"]
    }
    assert check(dataset) is dataset


def test_all_is_every_split_in_their_order(tmp_path, write_folders):
    splits = {"test": ["a"], "extra": ["b"], "val": ["c", "d"], "train": ["e"]}
    folder = write_folders(tmp_path / "mine", splits)
    write_folders(folder, {"extra": ["f"]})
    dataset = load_dataset(folder)
    assert list(dataset.splits) == ["train", "val", "extra"]
    assert names(dataset["all"]) == ["e", "c", "d", "b", "f"]
    assert dataset["all"][0] is dataset["train"][0]


@pytest.mark.parametrize("others", [{}, {"train": ["b"], "val": ["c"]}])
def test_no_folder_of_a_split_may_be_called_all(tmp_path, write_folders, others):
    folder = write_folders(tmp_path / "mine", {**others, "all": ["a", "d"]})
    with pytest.raises(ValueError, match=r"images/all: all means every split; rename this one"):
        load_dataset(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        load_dataset(tmp_path / "nowhere")


def test_a_split_that_is_not_there_is_named():
    dataset = Dataset("mine", {"train": [], "val": []})
    with pytest.raises(
        ValueError, match=r"dataset mine has no split 'test'; it has train, val, all\."
    ):
        dataset["test"]
    assert "mine" in repr(dataset)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("osie", {"train": 560, "val": 70, "test": 70}),
        ("eyecrowd", {"train": 400, "val": 50, "test": 50}),
        ("scene500", {"train": 400, "val": 50, "test": 50}),
    ],
)
def test_the_real_datasets_split(shared_data, caplog, name, sizes):
    dataset = load_dataset(shared_data / name)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == sizes
    in_order = [name for split in sizes for name in names(dataset[split])]
    assert in_order == sorted(set(in_order)), "in the order of the file names, none twice"
    assert not caplog.records
    wide = {"osie": lambda width: 24, "eyecrowd": lambda width: 0.0254 * width}
    for sample in dataset["val"][::10]:
        sigma = wide.get(name, lambda width: 0.03 * width)(sample.read_image().shape[1])
        assert sample.sigma == pytest.approx(sigma)


# The sigma


@pytest.mark.parametrize(
    ("description", "sigmas"),
    [
        ({}, {"a": 12.0, "b": 24.0, "c": 0.3}),
        ({"sigma_of_width": 0.1}, {"a": 40.0, "b": 80.0, "c": 1.0}),
        ({"sigma": 7}, {"a": 7.0, "b": 7.0, "c": 7.0}),
        ({"sigma_degrees": 0.5, "pixels_per_degree": 38}, {"a": 19.0, "b": 19.0, "c": 19.0}),
    ],
)
def test_sigma_is_pixels_or_degrees_or_a_part_of_the_width(
    tmp_path, write_folders, described, description, sigmas
):
    described(mine=description)
    folder = tmp_path / "mine"
    for name, size in (("a", (30, 400)), ("b", (400, 800)), ("c", (50, 10))):
        write_folders(folder, {".": [name]}, kinds=("fixations",), size=size)
    dataset = load_dataset(folder)
    read = {sample.name: sample.sigma for split in dataset.splits.values() for sample in split}
    assert read == pytest.approx(sigmas)


def test_the_width_is_that_of_the_upright_image(tmp_path, write_folders):
    folder = write_folders(tmp_path, {".": ["a", "b"]}, kinds=("fixations",))
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    PIL.Image.new("RGB", (200, 100)).save(folder / "images" / "a.jpg", exif=exif)
    (sample,) = load_dataset(folder)["train"]
    assert sample.sigma == pytest.approx(3.0)


def test_maps_need_no_sigma(tmp_path, write_folders):
    (sample,) = load_dataset(write_folders(tmp_path, {".": ["a", "b"]}))["train"]
    assert sample.sigma is None


def test_an_image_that_cannot_be_read_has_no_sigma(tmp_path, write_osie):
    folder = write_osie(tmp_path, [(f"{name}.png", LOOKS) for name in "abc"])
    (folder / "stimuli" / "a.png").unlink()
    (folder / "stimuli" / "b.png").write_bytes(b"no image")
    dataset = load_dataset(folder)
    assert [sample.sigma for sample in dataset["train"]] == [None, None]
    assert dataset["val"][0].sigma == pytest.approx(0.24)


# In a line


def test_a_dataset_tells_what_it_holds(tmp_path, write_folders, write_osie, described):
    folder = write_folders(tmp_path / "mine", {"train": ["a", "b"], "val": ["c"]})
    assert str(load_dataset(folder)) == "mine: 2 train, 1 val images with density maps"
    records = [(f"{number}.png", LOOKS) for number in range(10)]
    folder = write_osie(tmp_path / "described", records, size=(60, 80))
    line = "described: 9 train, 1 val images; densities from fixations with σ = 2.4 pixels"
    assert str(load_dataset(folder)) == line
    described(described={"sigma": 24, "splits": {"train": 7, "val": 1, "test": 2}})
    line = "described: 7 train, 1 val, 2 test images; densities from fixations with σ = 24 pixels"
    assert str(load_dataset(folder)) == line


def test_a_dataset_tells_between_what_its_sigmas_lie(tmp_path, write_folders):
    for name, width in (("a", 100), ("b", 333), ("c", 1024)):
        write_folders(tmp_path, {".": [name]}, kinds=("fixations",), size=(40, width))
    assert str(load_dataset(tmp_path)).endswith("fixations with σ = 3–30.7 pixels")


def test_a_dataset_of_anything_has_a_line():
    for samples in ([], [Sample(Path("missing.png"))]):
        assert str(Dataset("mine", {"train": samples})).startswith(f"mine: {len(samples)} train")


# A TOML file of one's own


@pytest.fixture
def write_toml(tmp_path):
    def write(text, name="mine.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write


def test_a_toml_beside_the_data(tmp_path, write_osie, write_toml):
    write_osie(tmp_path, [(f"{name}.png", LOOKS) for name in "abcd"])
    path = write_toml('name = "my data"\nsigma = 1.5\nsplits = { train = 1, val = 1, test = 2 }\n')
    dataset = load_dataset(path)
    assert dataset.name == "my data"
    assert dataset.source == str(path)
    assert {split: names(samples) for split, samples in dataset.splits.items()} == {
        "train": ["a"],
        "val": ["b"],
        "test": ["c", "d"],
    }
    assert {sample.sigma for samples in dataset.splits.values() for sample in samples} == {1.5}
    assert dataset["train"][0].image.resolve() == (tmp_path / "stimuli" / "a.png").resolve()


def test_a_toml_may_be_empty(tmp_path, write_osie, write_toml):
    write_osie(tmp_path, [(f"{name}.png", LOOKS) for name in "abc"])
    dataset = load_dataset(str(write_toml("# nothing\n", "my.data.toml")))
    assert dataset.name == "my.data", "the file's"
    assert names(dataset["val"]) == ["c"]
    assert dataset["val"][0].sigma == pytest.approx(0.24)


def test_a_tomls_path_is_relative_to_the_file(tmp_path, write_osie, write_toml, monkeypatch):
    folder = write_osie(tmp_path / "data" / "volume", [("a.png", LOOKS), ("b.png", LOOKS)])
    monkeypatch.setenv("HOME", str(tmp_path / "data"))
    (tmp_path / "some" / "where").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "some" / "where")
    for given in ("../data/volume", "~/volume", str(folder)):
        path = write_toml(f'path = "{given}"', "settings/mine.toml")
        for data in (path, "../../settings/mine.toml"):
            dataset = load_dataset(data)
            assert dataset["train"][0].image.resolve() == (folder / "stimuli" / "a.png").resolve()
            assert dataset.source == str(path), "so that it is found from anywhere"


def test_a_toml_may_rename_folders(tmp_path, write_folders, write_toml):
    folder = write_folders(tmp_path, {"train": ["a"], "val": ["b"]})
    for old, new in (("images", "photos"), ("maps", "truth"), ("fixations", "gaze")):
        (folder / old).rename(folder / new)
    text = 'layout = "folders"\nimages = "photos"\nmaps = "truth"\nfixations = "gaze"'
    (sample,) = load_dataset(write_toml(text))["val"]
    assert sample.image == tmp_path / "photos" / "val" / "b.jpg"
    assert sample.density == tmp_path / "truth" / "val" / "b.png"
    assert sample.fixations == tmp_path / "gaze" / "val" / "b.png"


def test_renamed_folders_tell_the_layout(tmp_path, write_folders, write_toml):
    folder = write_folders(tmp_path, {"train": ["a"], "val": ["b"]})
    (folder / "images").rename(folder / "photos")
    assert len(load_dataset(write_toml('images = "photos"'))["val"]) == 1


def test_a_toml_may_name_several_folders(tmp_path, write_image, write_mask, write_toml):
    for part, here in (("second", "ab"), ("first", "dc")):
        for name in here:
            write_image(tmp_path / part / "images" / f"{name}.jpg")
            write_mask(tmp_path / part / "truth" / f"{name}.png")
    text = 'images = ["first/images", "second/images"]\nmasks = ["first/truth", "second/truth"]\n'
    dataset = load_dataset(write_toml(text + "splits = { train = 3, test = 1 }"))
    assert {split: names(samples) for split, samples in dataset.splits.items()} == {
        "train": ["c", "d", "a"],
        "test": ["b"],
    }
    assert dataset["test"][0].mask == tmp_path / "second" / "truth" / "b.png"
    assert dataset["test"][0].sigma is None
    assert str(dataset) == "mine: 3 train, 1 test images with masks"


def test_several_folders_may_be_split_alike(tmp_path, write_folders, write_toml):
    write_folders(tmp_path / "one", {"train": ["a"], "val": ["b"]})
    write_folders(tmp_path / "two", {"train": ["c"], "test": ["d"]})
    text = 'images = ["one/images", "two/images"]\nmaps = ["one/maps", "two/maps"]'
    dataset = load_dataset(write_toml(text))
    assert {split: names(samples) for split, samples in dataset.splits.items()} == {
        "train": ["a", "c"],
        "val": ["b"],
    }


def test_splits_of_folders_must_have_the_sizes_that_a_toml_says(
    tmp_path, write_folders, write_toml
):
    write_folders(tmp_path, {"train": ["a", "b"], "val": ["c"]})
    dataset = load_dataset(write_toml("splits = { val = 1, train = 2 }"))
    assert names(dataset["train"]) == ["a", "b"]
    for splits in ("train = 1, val = 2", "train = 2", "train = 2, validation = 1"):
        message = r"holds 2 train, 1 val images, but its splits need [12] train"
        with pytest.raises(ValueError, match=message):
            load_dataset(write_toml(f"splits = {{ {splits} }}"))


def test_folders_that_are_no_splits_are_in_every_split(tmp_path, write_folders, write_toml):
    write_folders(tmp_path, {"Art": ["1", "3", "4"], "Action": ["1", "2", "4"]})
    dataset = load_dataset(write_toml("splits = { train = 4, val = 2 }"))
    train, val = (
        [str(s.image.relative_to(tmp_path / "images")) for s in dataset[split]]
        for split in ("train", "val")
    )
    assert train == ["Action/1.jpg", "Art/1.jpg", "Action/2.jpg", "Art/3.jpg"]
    assert val == ["Action/4.jpg", "Art/4.jpg"]
    assert dataset["val"][1].density == tmp_path / "maps" / "Art" / "4.png"
    with pytest.raises(ValueError, match="holds 6 images, but its splits need 4 train, 1 val"):
        load_dataset(write_toml("splits = { train = 4, val = 1 }"))


def test_a_toml_may_name_a_list_of_pairs(tmp_path, write_image, write_mask, write_toml):
    for name in "abc":
        write_image(tmp_path / "x" / f"{name}.jpg")
        write_mask(tmp_path / "y" / f"{name}.png")
    (tmp_path / "one.txt").write_text("x/b.jpg y/b.png\nx/a.jpg y/a.png\n")
    (tmp_path / "two.txt").write_text("x/c.jpg y/c.png\n")
    text = 'pairs = ["one.txt", "two.txt"]\nsplits = { train = 2, val = 1 }'
    dataset = load_dataset(write_toml(text))
    assert (names(dataset["train"]), names(dataset["val"])) == (["b", "a"], ["c"])
    assert dataset["val"][0].read_mask().sum() == 9
    dataset = load_dataset(tmp_path / "one.txt")
    assert (dataset.name, dataset.source) == ("one", str(tmp_path / "one.txt"))
    assert names(dataset["val"]) == ["a"]
    with pytest.raises(FileNotFoundError, match=r"three\.txt: no such file"):
        load_dataset(tmp_path / "three.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sigma == 3", "not a TOML file: "),
        ("sigma = 3\nsigma = 4", "not a TOML file: "),
        (
            "sigm = 3\nx = 1\n[split]\ntrain = 1",
            r"unknown key sigm \(did you mean sigma\?\), x, split \(did you mean splits\?\); the "
            "keys are citation, .*sigma, .*splits, ",
        ),
        ('image = "x"', r"unknown key image \(did you mean images\?\);"),
        ('sigma = "24"', "sigma must be a number, not '24'"),
        ("sigma = 0", r"sigma must be 0\.5…10000 pixels, not 0"),
        ("sigma = -2.5", r"sigma must be 0\.5…10000 pixels, not -2\.5"),
        ("sigma = nan", r"sigma must be 0\.5…10000 pixels, not nan"),
        ("sigma = inf", r"sigma must be 0\.5…10000 pixels, not inf"),
        ("sigma = 0.03", r"sigma must be 0\.5…10000 pixels, not 0\.03"),
        ("sigma = true", "sigma must be a number, not True"),
        ("sigma_of_width = 0.0", r"sigma_of_width must be 0\.001…1 parts .*, not 0\.0"),
        ("sigma_of_width = [0.03]", r"sigma_of_width must be a number, not \[0\.03\]"),
        ("sigma = 24\nsigma_of_width = 0.03", "sigma and sigma_of_width exclude each other"),
        (f"sigma = 24\n{DEGREES}", "sigma and sigma_degrees exclude each other"),
        (f"sigma_of_width = 0.03\n{DEGREES}", "sigma_of_width and sigma_degrees exclude each"),
        ("sigma_degrees = 1", "sigma_degrees and pixels_per_degree go together; give both"),
        ("pixels_per_degree = 24", "sigma_degrees and pixels_per_degree go together; give both"),
        (DEGREES.replace("1", "0"), r"sigma_degrees must be 0\.1…10 degrees .*, not 0"),
        (DEGREES.replace("1", "24"), r"sigma_degrees must be 0\.1…10 degrees .*, not 24"),
        (DEGREES.replace("1", "true"), "sigma_degrees must be a number, not True"),
        (DEGREES.replace("24", "-24"), r"pixels_per_degree must be 5…1000 pixels, not -24"),
        (DEGREES.replace("24", "0.04"), r"pixels_per_degree must be 5…1000 pixels, not 0\.04"),
        (DEGREES.replace("24", "nan"), r"pixels_per_degree must be 5…1000 pixels, not nan"),
        (DEGREES.replace("24", "'24'"), "pixels_per_degree must be a number, not '24'"),
        ('layout = "salicon"', "layout must be one of stimuli_eye, mit1003, folders, pairs, not "),
        ("layout = 1", "layout must be one of stimuli_eye, mit1003, folders, pairs, not 1"),
        ("splits = {}", "splits must give each split its number of images"),
        ("splits = [3, 1]", "splits must give each split its number of images"),
        ("splits = { train = 3, val = 0 }", "splits must give each split its number of images"),
        ("splits = { train = 3, all = 1 }", "splits: all means every split; choose another name"),
        ("splits = { train = true, val = 3 }", "splits must give each split its number"),
        ("splits = { train = 0.9, val = 0.1 }", "splits must give each split its number"),
        *(
            (f"{key} = 3", f"{key} must be a string, not 3")
            for key in ("name", "path", "title", "url", "licence")
        ),
        *(
            (f"{key} = {value}", f"{key} must be a string or a list of some, not ")
            for key in ("images", "maps", "fixations", "masks", "pairs")
            for value in ("3", "[]", '["a", 3]', '{ train = "a" }')
        ),
        ('images = ["a", "b"]\nmasks = "c"', "images, masks must be lists of one length"),
        ('images = "a"\npairs = "c"', "pairs is for the layout pairs, not for folders"),
        ('layout = "pairs"\nmasks = "c"', "masks is for the layout folders, not for pairs"),
        ('layout = "mit1003"\nmaps = "c"', "maps is for the layout folders, not for mit1003"),
        (
            'layout = "stimuli_eye"\nimages = "stimuli"',
            "images is for the layout folders, not for stimuli_eye",
        ),
        ('citation = ["a", "b"]', r"citation must be a string, not \['a', 'b'\]"),
    ],
)
def test_a_toml_with_mistakes_is_named_with_the_key(
    tmp_path, write_osie, write_toml, text, message
):
    write_osie(tmp_path, [(f"{name}.png", LOOKS) for name in "abcd"])
    path = write_toml(text)
    with pytest.raises(ValueError, match=rf"^{path}: {message}"):
        load_dataset(path)


def test_a_toml_must_be_utf8(tmp_path, write_toml):
    path = write_toml("")
    path.write_bytes('name = "Überblick"'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"mine\.toml: not a TOML file: .*utf-8"):
        load_dataset(path)


def test_what_a_toml_speaks_of_must_be_there(tmp_path, write_toml):
    with pytest.raises(FileNotFoundError, match=r"gone: no such folder"):
        load_dataset(write_toml('path = "gone"'))
    with pytest.raises(FileNotFoundError, match=r"other\.toml: no such file"):
        load_dataset(tmp_path / "other.toml")


# Public datasets by name


@pytest.fixture
def public(described):
    """A public dataset "mine", for one test."""
    described(mine={"sigma": 5.0, "url": "https://example.org/mine", "licence": "CC BY 4.0"})


@pytest.mark.parametrize("name", ["mine", "MINE"])
def test_a_public_dataset_is_found_by_its_name(tmp_path, write_osie, public, monkeypatch, name):
    records = [(f"{name}.png", LOOKS) for name in "ab"]
    folder = write_osie(tmp_path / "datasets" / "mine", records)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    for home in (str(tmp_path / "datasets"), "../datasets", "~/datasets"):
        monkeypatch.setenv("KERAS_SALNET_DATA", home)
        dataset = load_dataset(name)
        assert (dataset.name, dataset.source) == ("mine", str(folder))
        assert dataset["train"][0].sigma == 5.0, "by its description"
    monkeypatch.delenv("KERAS_SALNET_DATA")
    (tmp_path / "work" / "data").symlink_to(tmp_path / "datasets")
    assert load_dataset(name)["train"][0].sigma == 5.0


@pytest.mark.parametrize(("name", "folder"), [("ours", "OURS"), ("my_set", "My-Set")])
def test_names_differ_in_case_and_dashes(
    tmp_path, write_osie, described, monkeypatch, name, folder
):
    described(ours={"sigma": 5.0}, my_set={"sigma": 5.0})
    path = write_osie(tmp_path / folder, [("a.png", LOOKS), ("b.png", LOOKS)])
    monkeypatch.setenv("KERAS_SALNET_DATA", str(tmp_path))
    for data in (name, name.upper(), folder, path):
        assert load_dataset(data)["train"][0].sigma == 5.0
    write_osie(tmp_path / name, [("a.png", LOOKS), ("b.png", LOOKS), ("c.png", LOOKS)])
    assert len(load_dataset(name)["train"]) == 2, "the folder of just this name is preferred"


def test_a_public_dataset_may_lie_anywhere(tmp_path, write_osie, public, monkeypatch):
    folder = write_osie(tmp_path / "copy", [("a.png", LOOKS), ("b.png", LOOKS)])
    for name in ("mine", "MINE"):
        dataset = load_dataset(name, folder)
        assert (dataset.name, dataset["train"][0].sigma) == (name, 5.0)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_dataset("mine", "~/copy")["train"][0].image == folder / "stimuli" / "a.png"
    message = r"^min: is not a known dataset \(did you mean mine\?\); there are mine\.$"
    with pytest.raises(ValueError, match=message):
        load_dataset("min", folder)
    with pytest.raises(ValueError, match=r"^popout: is not a known dataset; there are mine\.$"):
        load_dataset("popout", folder)
    with pytest.raises(FileNotFoundError, match=r"gone: no such folder"):
        load_dataset("mine", tmp_path / "gone")


def test_a_folder_goes_before_a_public_name(tmp_path, write_osie, public, monkeypatch):
    for folder, letters in (("here/mine", "abc"), ("datasets/mine", "ab")):
        write_osie(tmp_path / folder, [(f"{name}.png", LOOKS) for name in letters])
    monkeypatch.setenv("KERAS_SALNET_DATA", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path / "here")
    assert len(load_dataset("mine")["train"]) == 2
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("mine")["train"]) == 1


def test_a_public_dataset_that_is_not_there_is_named(tmp_path, public, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    for home, folder in ((None, "data"), (str(tmp_path / "gone"), str(tmp_path / "gone"))):
        if home is None:
            monkeypatch.delenv("KERAS_SALNET_DATA", raising=False)
        else:
            monkeypatch.setenv("KERAS_SALNET_DATA", home)
        message = (
            rf"mine: there is no folder {folder}/mine\. Get the dataset from "
            rf"https://example\.org/mine \(licence: CC BY 4\.0\) .* {folder}/ .* KERAS_SALNET_DATA"
        )
        with pytest.raises(FileNotFoundError, match=message):
            load_dataset("mine")
    with pytest.raises(FileNotFoundError, match="yours: no such folder"):
        load_dataset("yours")


# Descriptions


def test_descriptions_are_complete():
    described = descriptions()
    assert list(described) == sorted(described)
    assert described.keys() == {
        *("cat2000", "duts", "ecssd", "eyecrowd", "hku_is", "mit1003", "osie", "pascal_s"),
        *("salicon", "scene500", "toronto"),
    }
    for name, table in described.items():
        assert table["name"] == name
        assert table.get("layout") in (None, *LAYOUTS)
        masks_only = name in ("duts", "ecssd", "hku_is")
        sigmas = table.keys() & {"sigma", "sigma_of_width", "sigma_degrees"}
        assert len(sigmas) == (0 if masks_only else 1)
        assert all(table[key] for key in ("title", "licence", "url", "citation", "splits"))


def test_descriptions_hold_as_many_images_as_are_published():
    published = {name: sum(table["splits"].values()) for name, table in descriptions().items()}
    assert published == {
        **{"cat2000": 2000, "duts": 10553 + 5019, "ecssd": 1000, "eyecrowd": 500},
        **{"hku_is": 4447, "mit1003": 1003, "osie": 700, "pascal_s": 850, "salicon": 15000},
        **{"scene500": 500, "toronto": 120},
    }


# Small copies of public datasets, laid out as the archives unpack


@pytest.fixture
def copy_of(tmp_path, described):
    """Tell that a dataset has fewer images, and read its copy in tmp_path."""

    def read(name, **splits):
        described(**{name: {**descriptions()[name], "splits": splits}})
        return load_dataset(name, tmp_path)

    return read


def test_a_copy_of_salicon(tmp_path, copy_of, write_folders, write_gaze_mat):
    # In both releases fixations are .mat files, of the images' names.
    name = "COCO_{}2014_000000000009".format
    splits = {split: [name(split)] for split in ("train", "val", "test")}
    write_folders(tmp_path, splits, kinds=("maps",))
    for split in ("train", "val"):
        path = tmp_path / "fixations" / split / f"{name(split)}.mat"
        write_gaze_mat(path, [[(8, 6), (1, 1)], [(2, 3)]])
    dataset = copy_of("salicon", train=1, val=1)
    for split in ("train", "val"):
        (sample,) = dataset[split]
        points, observer, dropped = sample.read_gaze()
        assert points.tolist() == [[7, 5], [0, 0], [1, 2]], "they count from 1"
        assert (observer.tolist(), dropped) == ([0, 0, 1], 0)
        assert sample.density == tmp_path / "maps" / split / f"{name(split)}.png"
    assert check(dataset) is dataset
    with pytest.raises(ValueError, match="holds 1 train, 1 val images, but its splits need 2 tra"):
        copy_of("salicon", train=2, val=1)


def test_a_copy_of_mit1003(tmp_path, copy_of, write_image, write_mask, recording, write_judd_mat):
    for name in ("i05june05", "istatic"):
        write_image(tmp_path / "ALLSTIMULI" / f"{name}.jpeg", (600, 800))
        for kind in ("fixMap", "fixPts"):
            path = tmp_path / "ALLFIXATIONMAPS" / f"{name}_{kind}.jpg"
            write_mask(path, (600, 800), (slice(90, 120), slice(50, 99)))
        for observer in ("CNG", "ajs"):
            gaze = recording((400, 300, 60), (70, 100, 60))
            write_judd_mat(tmp_path / "DATA" / observer / f"{name}.mat", gaze)
    write_mask(tmp_path / "ALLFIXATIONMAPS" / "i05june05fixPts.jpg")  # as the archive has one
    dataset = copy_of("mit1003", train=1, val=1)
    (sample,) = dataset["train"]
    points, observer, _ = sample.read_gaze()
    assert points.tolist() == [[70, 100], [70, 100]], "without where the cross was"
    assert observer.tolist() == [0, 1]
    assert sample.sigma == 35
    assert sample.density.name == "i05june05_fixMap.jpg"
    assert check(dataset) is dataset


def test_a_copy_of_mit1003_as_osie(tmp_path, copy_of, write_osie):
    write_osie(tmp_path, [("i1.jpeg", LOOKS), ("i2.jpeg", LOOKS)])
    dataset = copy_of("mit1003", train=1, val=1)
    assert dataset["val"][0].fixations.tolist() == [[1, 2], [7, 5], [0, 0]], "with the first"
    assert dataset["val"][0].sigma == 35


def test_a_copy_of_cat2000(tmp_path, copy_of, write_image, write_mask, caplog):
    root = tmp_path / "trainSet"
    (root / "allFixData.mat").parent.mkdir()
    (root / "allFixData.mat").write_bytes(b"a MATLAB object")
    for category in ("Action", "Affective"):
        for name in ("001", "003"):
            write_image(root / "Stimuli" / category / f"{name}.jpg")
            write_image(root / "Stimuli" / category / "Output" / f"{name}_SaliencyMap.jpg")
            write_mask(root / "FIXATIONMAPS" / category / f"{name}.jpg")
            write_mask(root / "FIXATIONMAPS" / category / "Output" / f"{name}.jpg")
            looked = np.zeros((6, 8), np.uint8)
            looked[1, 2] = looked[5, 7] = 1
            path = root / "FIXATIONLOCS" / category / f"{name}.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            scipy.io.savemat(path, {"fixLocs": looked})
    dataset = copy_of("cat2000", train=2, val=2)
    assert [sample.image.relative_to(root / "Stimuli") for sample in dataset["train"]] == [
        Path("Action/001.jpg"),
        Path("Affective/001.jpg"),
    ]
    sample = dataset["val"][1]
    assert sample.read_fixations().tolist() == [[2, 1], [7, 5]]
    assert sample.density == root / "FIXATIONMAPS" / "Affective" / "003.jpg"
    assert sample.sigma == 38
    assert check(dataset) is dataset
    assert not caplog.records


def test_a_copy_of_toronto(tmp_path, copy_of, write_image, write_cells_mat):
    root = tmp_path / "eyetrackingdata" / "fixdens"
    cells = []
    for number in range(1, 12):
        write_image(root / "Original Image Set" / f"{number}.jpg")
        cells.append(np.zeros((6, 8), np.uint8))
        cells[-1][number % 6, number % 8] = 1
    write_cells_mat(root / "origfixdata.mat", "white", cells, row=True)
    dataset = copy_of("toronto", test=11)
    for sample in dataset["test"]:
        number = int(sample.name)
        assert sample.fixations.tolist() == [[number % 8, number % 6]]
        assert (sample.observer, sample.sigma) == (None, 23)
    assert check(dataset) is dataset


def test_a_copy_of_pascal_s(tmp_path, copy_of, write_image, write_mask, write_cells_mat):
    root = tmp_path / "datasets"
    cells = []
    for number in range(1, 12):
        write_image(root / "imgs" / "pascal" / f"{number}.jpg")
        write_mask(root / "masks" / "pascal" / f"{number}.png", white=200)
        cells.append([(1 + number % 6, 1 + number % 8, 3), (1, 1, 1)])
    path = write_cells_mat(root / "fixations" / "7.3.mat", "fixCell", cells)
    path.rename(path.with_name("pascalFix.mat"))
    dataset = copy_of("pascal_s", test=11)
    for sample in dataset["test"]:
        number = int(sample.name)
        assert sample.fixations.tolist() == [[number % 8, number % 6], [0, 0]]
        assert sample.observer.tolist() == [1, 0]
        assert sample.read_mask().sum() == 9
        assert sample.sigma == pytest.approx(0.03 * 8)
    assert check(dataset) is dataset


@pytest.mark.parametrize(
    ("name", "places"),
    [
        (
            "duts",
            {
                "DUTS-TR/DUTS-TR-Image": "DUTS-TR/DUTS-TR-Mask",
                "DUTS-TE/DUTS-TE-Image": "DUTS-TE/DUTS-TE-Mask",
            },
        ),
        ("ecssd", {"images": "ground_truth_mask"}),
        ("hku_is", {"imgs": "gt"}),
    ],
)
def test_a_copy_of_masks(tmp_path, copy_of, write_image, write_mask, name, places):
    for images, masks in places.items():
        for number in range(3):
            write_image(tmp_path / images / f"{number}.jpg")
            write_mask(tmp_path / masks / f"{number}.png")
    splits = {"train": 2, "val": 1, "test": 3} if name == "duts" else {"test": 3}
    dataset = copy_of(name, **splits)
    expected = [
        (tmp_path / images / f"{number}.jpg", tmp_path / masks / f"{number}.png")
        for images, masks in places.items()
        for number in range(3)
    ]
    assert [(sample.image, sample.mask) for sample in dataset["all"]] == expected
    assert all(sample.read_mask().sum() == 9 for sample in dataset["all"])
    assert str(dataset).endswith("images with masks")


def test_without_descriptions_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "_DESCRIPTION_FOLDERS", (tmp_path, tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match=r"datasets/\*\.toml.*reinstall keras-salnet"):
        descriptions()


# Installed


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what makes the package: building writes beside it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("keras_salnet", "datasets"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=unwanted)
    return folder


def pip(*arguments):
    for module in ("pip", "setuptools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-index", "--no-deps")
    finished = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, *quiet, "--no-build-isolation"],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", str(checkout), "--wheel-dir", str(folder))
    (path,) = folder.glob("keras_salnet-*.whl")
    return path


def test_the_wheel_holds_the_whole_package(checkout, wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    # A package that setup.cfg forgets would only fail where the wheel is installed.
    tree = {
        path.relative_to(checkout).as_posix()
        for path in (checkout / "keras_salnet").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    described = {f"keras_salnet/datasets/{path.name}" for path in checkout.glob("datasets/*.toml")}
    assert len(described) >= 2
    assert held == tree | described


# Run without site, so that this environment's own installation of the package is not found.
DESCRIBE = """
import json, site, sys
folder, *dependencies = json.loads(sys.argv[1])
sys.path += dependencies
sys.path.insert(0, folder)
site.addsitedir(folder)  # an editable install is a .pth file
import keras_salnet.data.datasets
print(json.dumps([keras_salnet.__file__, keras_salnet.data.datasets.descriptions()]))
"""


def described_in(folder, working):
    """Where the package was imported from, and its descriptions."""
    paths = [path for path in sys.path if path and not Path(path, "keras_salnet").is_dir()]
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-c", DESCRIBE, json.dumps([str(folder), *paths])],
        cwd=working,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    module, tables = json.loads(finished.stdout)
    return Path(module), tables


@pytest.mark.parametrize("how", ["checkout", "wheel", "editable install"])
def test_the_descriptions_are_found(request, tmp_path, how):
    checkout = request.getfixturevalue("checkout")
    if how == "checkout":
        folder = root = checkout
    elif how == "wheel":
        folder = root = tmp_path / "site"
        wheel = request.getfixturevalue("wheel")
        pip("install", "--target", str(folder), str(wheel))
    else:
        folder, root = tmp_path / "site", checkout
        pip("install", "--target", str(folder), "--editable", str(checkout))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    module, tables = described_in(folder, elsewhere)
    assert module.is_relative_to(root)
    assert tables == {
        path.stem: tomllib.loads(path.read_text("utf-8"))
        for path in sorted((REPOSITORY / "datasets").glob("*.toml"))
    }
    assert tables["osie"]["splits"] == {"train": 560, "val": 70, "test": 70}
