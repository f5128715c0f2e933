"""Whatever is wrong with a copy of a dataset: an error that names the file, or what can be used."""

import os

import cv2
import numpy as np
import pytest
import scipy.io

from keras_salnet.data import check, load_dataset
from keras_salnet.data.contact_sheet import contact_sheet
from keras_salnet.data.survey import survey

SIZE = (24, 32)
# Two observers of an image of 32 x 24 pixels.
LOOKS = [[(3, 4), (30, 20)], [(10, 10)]]
NAMES = ("1", "2", "3")


@pytest.fixture
def write_picture():
    def write(path, size=SIZE, colour=True):
        """Noise, so that the file is long and no other is the same."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(str(path).encode()))
        pixels = rng.integers(0, 256, (*size, 3) if colour else size).astype(np.uint8)
        _, encoded = cv2.imencode(path.suffix, pixels)
        encoded.tofile(path)
        return path

    return write


@pytest.fixture
def write_stimuli_eye(write_picture, write_fixations_mat):
    def write(folder, size=SIZE, looks=LOOKS):
        for name in NAMES:
            write_picture(folder / "stimuli" / f"{name}.jpg", size)
        path = folder / "eye" / "fixations.mat"
        write_fixations_mat(path, [(f"{name}.jpg", looks) for name in NAMES])
        return "stimuli", [path]

    return write


@pytest.fixture
def write_salicon(write_picture, write_gaze_mat):
    def write(folder, size=SIZE, looks=LOOKS):
        files = []
        for name in NAMES:
            write_picture(folder / "images" / f"{name}.jpg", size)
            files.append(write_picture(folder / "maps" / f"{name}.png", size, colour=False))
            looked = [np.add(points, 1) for points in looks]
            files.append(write_gaze_mat(folder / "fixations" / f"{name}.mat", looked))
        return "images", files

    return write


@pytest.fixture
def write_cat2000(write_picture):
    def write(folder, size=SIZE, looks=LOOKS):
        files = []
        for name in NAMES:
            write_picture(folder / "images" / f"{name}.jpg", size)
            looked = np.zeros(size, np.uint8)
            for x, y in np.concatenate([np.reshape(points, (-1, 2)) for points in looks]):
                if np.isfinite([x, y]).all() and 0 <= x < size[1] and 0 <= y < size[0]:
                    looked[int(y), int(x)] = 1
            files.append(folder / "fixations" / f"{name}.mat")
            files[-1].parent.mkdir(exist_ok=True)
            scipy.io.savemat(files[-1], {"fixLocs": looked})
        return "images", files

    return write


@pytest.fixture
def write_mit1003(write_picture, recording, write_judd_mat):
    def write(folder, size=SIZE, looks=LOOKS):
        files = []
        for name in NAMES:
            write_picture(folder / "ALLSTIMULI" / f"{name}.jpeg", size)
            path = folder / "ALLFIXATIONMAPS" / f"{name}_fixMap.jpg"
            files.append(write_picture(path, size, colour=False))
            for observer, points in enumerate(looks):
                # From afar, so that each is a fixation of its own.
                stops = [(x + dx, y, 60) for x, y in points for dx in (900, 0)]
                path = folder / "DATA" / f"observer {observer}" / f"{name}.mat"
                files.append(write_judd_mat(path, recording(*stops)))
        return "ALLSTIMULI", files

    return write


@pytest.fixture
def write_pascal_s(write_picture, write_cells_mat):
    def write(folder, size=SIZE, looks=LOOKS):
        files = []
        for name in NAMES:
            write_picture(folder / "images" / f"{name}.jpg", size)
            files.append(write_picture(folder / "masks" / f"{name}.png", size, colour=False))
        rows = [(y + 1, x + 1, who) for who, points in enumerate(looks) for x, y in points]
        path = write_cells_mat(folder / "7.3.mat", "fixCell", [rows] * len(NAMES))
        (folder / "dataset.toml").write_text('fixations = "7.3.mat"\nlayout = "folders"\n')
        return "images", [*files, path]

    return write


@pytest.fixture
def write_table(write_picture):
    def write(folder, size=SIZE, looks=LOOKS):
        lines = ["image,x,y,observer"]
        for name in NAMES:
            write_picture(folder / "images" / f"{name}.jpg", size)
            lines += [
                f"{name}.jpg,{x},{y},{who}" for who, points in enumerate(looks) for x, y in points
            ]
        (folder / "fixations.csv").write_text("\n".join(lines))
        return "images", [folder / "fixations.csv"]

    return write


@pytest.fixture
def write_pairs(write_picture):
    def write(folder, size=SIZE, looks=LOOKS):
        files = []
        for name in NAMES:
            write_picture(folder / "images" / f"{name}.jpg", size)
            files.append(write_picture(folder / "gt" / f"{name}.png", size, colour=False))
        lines = [f"images/{name}.jpg\tgt/{name}.png" for name in NAMES]
        (folder / "pairs.txt").write_text("\n".join(lines))
        (folder / "dataset.toml").write_text('layout = "pairs"\n')
        return "images", files

    return write


GAZE = ("stimuli_eye", "salicon", "cat2000", "mit1003", "pascal_s", "table")
# Whose images nothing speaks of but their folder.
UNCOUNTED = ("salicon", "cat2000", "mit1003")
each_layout = pytest.mark.parametrize("layout", [*GAZE, "pairs"])


@pytest.fixture
def copy(request, tmp_path):
    """(folder, name of the folder of its images, its other files) of a small dataset."""

    def write(layout, folder=None, **options):
        folder = folder or tmp_path / "copy"
        folder.mkdir(parents=True)
        (folder / "dataset.toml").write_text("")
        images, files = request.getfixturevalue(f"write_{layout}")(folder, **options)
        return folder, folder / images, files

    return write


def read(folder):
    return load_dataset(folder / "dataset.toml")


def problems(folder):
    """What is said of a copy; nothing where it is right. Anything but a user's error is raised."""
    try:
        found = survey(read(folder))
    except (OSError, ValueError) as error:
        return str(error)
    return "\n".join(found.errors)


def assert_usable(dataset):
    """What is found right can be used, and is what it says it is."""
    for sample in dataset["all"]:
        height, width = sample.read_image().shape[:2]
        points, observer, dropped = sample.read_gaze()
        assert points.dtype == np.float64
        assert np.all((points >= 0) & (points < (width, height)))
        assert observer is None or observer.shape == (len(points),)
        assert dropped >= 0
        if sample.fixations is not None or sample.density is not None:
            density = sample.read_density_in((8, 8))
            assert np.isfinite(density).all()
            assert density.sum() == pytest.approx(1)
        if sample.mask is not None:
            assert sample.read_mask().shape == (height, width)


@each_layout
def test_a_whole_copy_is_right(copy, layout):
    folder, _, _ = copy(layout)
    dataset = read(folder)
    assert problems(folder) == ""
    assert_usable(dataset)
    assert len(dataset["all"]) == 3
    for sample in dataset["all"] if layout in GAZE else []:
        points = sorted(map(tuple, sample.read_fixations().tolist()))
        assert points == [(3, 4), (10, 10), (30, 20)]


# One file at a time


def spoilt(content, how):
    return {
        "empty": b"",
        "text": b"<html>404: not found</html>" * 20,
        "zeros": bytes(len(content)),
        "cut in half": content[: len(content) // 2],
        "cut short": content[:100],
    }[how]


@pytest.mark.parametrize("how", ["missing", "empty", "text", "zeros", "cut in half", "cut short"])
@each_layout
def test_a_file_that_is_spoilt_is_named(copy, layout, how):
    folder, images, files = copy(layout)
    for path in [sorted(images.iterdir())[1], *files]:
        content = path.read_bytes()
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes(spoilt(content, how))
        told = problems(folder)
        if path.suffix == ".csv" and how.startswith("cut"):
            pass  # a table may end anywhere
        elif path.parent == images and how == "missing" and layout in UNCOUNTED:
            # What is not there is not missed, unless the description says how many there are.
            assert len(read(folder)["all"]) == 2
        elif path.suffix == ".csv" and how == "missing":
            assert str(folder) in told
        else:
            named = path.stem if how == "missing" else path.name
            assert named in told, (path, told)
        path.write_bytes(content)
    assert problems(folder) == ""


@each_layout
def test_random_damage_is_told_or_does_no_harm(copy, layout, tmp_path):
    folder, images, files = copy(layout)
    targets = [*sorted(images.iterdir()), *files]
    originals = {path: path.read_bytes() for path in targets}
    rng = np.random.default_rng(0)
    for _ in range(60):
        path = targets[rng.integers(len(targets))]
        content = bytearray(originals[path])
        mat = path.suffix == ".mat"  # scipy itself may crash on wrong bytes of those
        for _ in range(0 if mat else rng.integers(1, 4)):
            content[rng.integers(len(content))] = rng.integers(256)
        if mat or rng.random() < 0.3:
            del content[rng.integers(len(content)) :]
        path.write_bytes(content)
        told = problems(folder)
        if told:
            # A table may now speak of another image.
            assert path.stem in told or (layout == "table" and str(images) in told)
        else:
            assert_usable(read(folder))
        path.write_bytes(originals[path])


# Points that are none


@pytest.mark.parametrize(
    "point", [(np.nan, 3), (3, np.nan), (np.inf, 3), (-5, 3), (3, 24), (32, 3), (1e9, -1e9)]
)
@pytest.mark.parametrize("layout", ["stimuli_eye", "salicon", "pascal_s", "table"])
def test_points_that_are_not_in_the_image_are_dropped_and_counted(copy, layout, point):
    folder, _, _ = copy(layout, looks=[[(3, 4), point], [(10, 10)]])
    assert problems(folder) == ""
    for sample in read(folder)["all"]:
        gaze = sample.read_gaze()
        assert gaze.points.tolist() == [[3, 4], [10, 10]]
        assert gaze.observer.tolist() == [0, 1]
        assert gaze.dropped == 1
    rows = survey(read(folder)).rows
    assert sum(row.dropped for row in rows.values()) == 3


def test_recordings_with_blinks_are_read(copy, recording, write_judd_mat):
    folder, _, files = copy("mit1003")
    mats = [path for path in files if path.suffix == ".mat"]
    gaze = recording((500, 500, 60), (5, 6, 80), (900, 9, 60), (7, 8, 60))
    gaze[100:110] = -3000
    gaze[160:165] = np.nan
    for path in mats:
        write_judd_mat(path, gaze)
    assert problems(folder) == ""
    for sample in read(folder)["all"]:
        assert [5, 6] in sample.read_fixations().tolist()
    for path in mats:
        write_judd_mat(path, np.full_like(gaze, np.nan))
    assert problems(folder).count("no fixation lies inside it.") == 3


@pytest.mark.parametrize("layout", GAZE)
def test_an_image_that_nobody_looked_at_is_named(copy, layout):
    folder, _, _ = copy(layout, looks=[[(99, 99)], [(99, -99)]])
    told = problems(folder)
    assert told.startswith("3 of 3 images cannot be used")
    assert told.count("no fixation lies inside") == 3


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("", "x and y must be numbers"),
        ("1;2", "x and y must be numbers"),
        ("1,5", "more cells than"),
    ],
)
def test_a_number_that_is_none_is_named_with_its_line(copy, x, message):
    folder, _, (table,) = copy("table")
    table.write_text(f"image,x,y\n1.jpg,1,2\n2.jpg,{x},b\n")
    told = problems(folder)
    assert message in told
    assert "fixations.csv: line 3" in told


# Names and folders


@each_layout
def test_names_may_have_blanks_and_letters_of_any_language(copy, layout, tmp_path, monkeypatch):
    folder, _, _ = copy(layout, tmp_path / "Überblick, 见 & co" / "  a b")
    assert problems(folder) == ""
    assert_usable(read(folder))
    assert contact_sheet(read(folder)).any()
    monkeypatch.chdir(folder)
    assert problems(folder.relative_to(folder)) == ""


@pytest.mark.parametrize("name", ["见 1", "ü", "a b", "%41", "1.2.3", "O'Neil", "[1]", "*"])
def test_images_may_be_called_anything(copy, write_picture, write_gaze_mat, name, tmp_path):
    folder, _, _ = copy("salicon")
    write_picture(folder / "images" / f"{name}.jpg")
    write_picture(folder / "maps" / f"{name}.png", colour=False)
    write_gaze_mat(folder / "fixations" / f"{name}.mat", [[(2, 3)]])
    (sample,) = (sample for sample in read(folder)["all"] if sample.name == name)
    assert problems(folder) == ""
    assert sample.read_fixations().tolist() == [[1, 2]]
    assert sample.density == folder / "maps" / f"{name}.png"


@each_layout
def test_an_empty_folder_of_images_is_named(copy, layout):
    folder, images, _ = copy(layout)
    for path in images.iterdir():
        path.unlink()
    assert str(images) in problems(folder)
    images.rmdir()
    assert str(folder) in problems(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@each_layout
def test_what_may_not_be_read_is_named(copy, layout):
    folder, images, files = copy(layout)
    for path in (images, sorted(images.iterdir())[0], *files):
        mode = path.stat().st_mode
        path.chmod(0)
        assert path.name in problems(folder)
        path.chmod(mode)


# Sizes


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (1, 4000), (4000, 1)])
@each_layout
def test_images_of_any_size_are_read(copy, layout, size):
    folder, _, _ = copy(layout, size=size, looks=[[(0, 0)], [(0, 0)]])
    dataset = read(folder)
    told = problems(folder)
    # One grey pixel of noise may be black, or less than half white.
    assert "another aspect" not in told
    assert set(told.split(" ")[:1]) <= {"", "1", "2", "3"}
    good = [
        sample
        for sample in dataset["all"]
        if not any(str(path) in told for path in (sample.image, sample.density, sample.mask))
    ]
    assert_usable(dataset.replace({"train": good}))


def test_an_image_of_another_size_than_its_map_is_named(copy, write_picture):
    folder, images, _ = copy("cat2000")
    write_picture(images / "2.jpg", (32, 24))
    told = problems(folder)
    assert told.startswith("1 of 3 images cannot be used")
    assert "2.mat: " in told
    assert "the fixation map is 32x24, its image 24x32" in told
    left = check(read(folder), skip_bad=True)
    assert [sample.name for sample in left["all"]] == ["1", "3"]
