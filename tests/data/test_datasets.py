"""Datasets and their splits, and where their descriptions are found once installed."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from keras_salnet.data import Dataset, datasets, load_dataset
from keras_salnet.data.datasets import descriptions
from keras_salnet.data.readers import LAYOUTS

REPOSITORY = Path(__file__).parents[2]
LOOKS = [[(1, 2), (7, 5)], [(0, 0)]]


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
    assert {sample.sigma for sample in dataset["train"]} == {19.0}


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
        ({"train": 2, "test": 1}, "mine: has no split val"),
    ):
        described(mine={"splits": splits})
        with pytest.raises(ValueError, match=message):
            load_dataset(folder)


def test_half_an_osie_is_refused(tmp_path, write_osie):
    folder = write_osie(tmp_path / "osie", [(f"{name}.png", LOOKS) for name in "abc"])
    with pytest.raises(ValueError, match="osie: holds 3 images, but its splits need 600 train, 10"):
        load_dataset(folder)


def test_one_image_cannot_be_split(tmp_path, write_osie):
    folder = write_osie(tmp_path / "mine", [("a.png", LOOKS)])
    with pytest.raises(ValueError, match="mine: holds 1 images, but its splits need 0 train, 1 v"):
        load_dataset(folder)


def test_salicons_splits_are_its_folders(tmp_path, write_salicon):
    folder = write_salicon(tmp_path / "mine", {"train": ["a", "b"], "val": ["c"], "test": ["d"]})
    dataset = load_dataset(folder)
    assert {split: names(samples) for split, samples in dataset.splits.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
    }
    assert dataset.held_out == "val"


@pytest.mark.parametrize("only", ["train", "val"])
def test_training_needs_both_splits(tmp_path, write_salicon, only):
    folder = write_salicon(tmp_path / "mine", {only: ["a", "b"]})
    missing = {"train": "val", "val": "train"}[only]
    with pytest.raises(ValueError, match=f"mine: has no split {missing}"):
        load_dataset(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        load_dataset(tmp_path / "nowhere")


def test_a_split_that_is_not_there_is_named():
    dataset = Dataset("mine", {"train": [], "val": []})
    with pytest.raises(ValueError, match=r"dataset mine has no split 'test'; it has train, val\."):
        dataset["test"]
    assert "mine" in repr(dataset)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("osie", {"train": 600, "val": 100}),
        ("eyecrowd", {"train": 450, "val": 50}),
        ("scene500", {"train": 450, "val": 50}),
    ],
)
def test_the_real_datasets_split(shared_data, caplog, name, sizes):
    dataset = load_dataset(shared_data / name)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == sizes
    train, val = (set(names(dataset[split])) for split in ("train", "val"))
    assert not train & val
    assert max(train) < min(val), "in the order of the file names"
    assert not caplog.records
    if name == "osie":
        assert dataset["val"][0].sigma == 24.0


# Descriptions


def test_descriptions_are_complete():
    described = descriptions()
    assert list(described) == sorted(described)
    assert {"osie", "salicon"} <= set(described)
    for name, table in described.items():
        assert table["name"] == name
        assert table["layout"] in LAYOUTS
        assert table["sigma"] > 0
        assert all(table[key] for key in ("title", "licence", "url", "citation"))
        # SALICON's layout has its own splits.
        assert ("splits" in table) == (table["layout"] == "stimuli_eye")


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
    assert tables["osie"]["splits"] == {"train": 600, "val": 100}
