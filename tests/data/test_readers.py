"""Layouts on disk, written as the public datasets are, and the real ones where they are at hand."""

import dataclasses
import logging

import numpy as np
import pytest
import scipy.io

from keras_salnet.data import Sample
from keras_salnet.data.readers import (
    LAYOUTS,
    detect_layout,
    list_images,
    read_folders,
    read_pairs,
    read_stimuli_eye,
)
from keras_salnet.data.sample import points_inside

# Two observers of an image of 8 x 6 pixels.
LOOKS = [[(1, 2), (7, 5)], [(0, 0)]]


# stimuli/ and eye/fixations.mat


def test_osies_layout(tmp_path, write_osie):
    records = [("b.png", LOOKS), ("a.png", [[(3, 4)], [], [(5, 1), (5, 1)]])]
    folder = write_osie(tmp_path, records)
    (a, b) = read_stimuli_eye(folder)["all"]
    assert (a.name, b.name) == ("a", "b"), "in the order of the file names"
    assert b.image == tmp_path / "stimuli" / "b.png"
    assert b.fixations.tolist() == [[1, 2], [7, 5], [0, 0]]
    assert b.observer.tolist() == [0, 0, 1]
    assert a.fixations.tolist() == [[3, 4], [5, 1], [5, 1]], "repeated looks count"
    assert a.observer.tolist() == [0, 2, 2], "who never looked keeps a number"
    assert {a.sigma, b.sigma} == {None}, "for `load_dataset` to fill in"
    assert a.density is None
    assert a.fixations.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_small_types_do_not_overflow(tmp_path, write_osie, dtype):
    looks = [[(250, 200), (255, 7)]]
    folder = write_osie(tmp_path, [("a.png", looks)], size=(240, 300), dtype=dtype)
    (sample,) = read_stimuli_eye(folder)["all"]
    assert sample.fixations.tolist() == [[250, 200], [255, 7]]
    assert sample.fixations.dtype == np.float64
    # 250 + 0.5 and 255 + 200 are beyond 8 bits.
    shifted = sample.fixations + 200
    assert shifted.tolist() == [[450, 400], [455, 207]]
    sample = dataclasses.replace(sample, sigma=200.0)
    assert sample.read_density_in((24, 30)).sum() == pytest.approx(1)


def test_points_outside_are_dropped_and_counted(tmp_path, write_osie, caplog):
    outside = [(-1, 0), (8, 0), (0, 6), (-0.1, 3), (np.nan, 2), (1e9, 1e9)]
    inside = [(0, 0), (7.9, 5.9), (7, 5)]
    folder = write_osie(
        tmp_path, [("a.png", [outside, inside]), ("b.png", [inside, [outside[0], inside[0]]])]
    )
    with caplog.at_level(logging.WARNING):
        a, b = read_stimuli_eye(folder)["all"]
    assert a.fixations.tolist() == [list(point) for point in inside]
    assert a.observer.tolist() == [1, 1, 1]
    assert b.observer.tolist() == [0, 0, 0, 1]
    assert [sample.read_gaze().dropped for sample in (a, b)] == [6, 1]
    (record,) = caplog.records
    assert "fixations.mat: 7 fixations lie outside" in record.getMessage()


def test_nothing_is_logged_where_nothing_is_dropped(tmp_path, write_osie, caplog):
    read_stimuli_eye(write_osie(tmp_path, [("a.png", LOOKS)]))
    assert not caplog.records


def test_images_the_file_does_not_speak_of_have_no_ground_truth(tmp_path, write_osie, write_image):
    folder = write_osie(tmp_path, [("b.png", LOOKS)])
    write_image(folder / "stimuli" / "a.png")
    (folder / "stimuli" / "Thumbs.db").write_bytes(b"")
    a, b = read_stimuli_eye(folder)["all"]
    assert (a.name, b.name) == ("a", "b")
    assert a.fixations is None
    assert a.density is None
    assert len(b.fixations) == 3


def test_an_image_nobody_looked_at_has_no_points(tmp_path, write_osie):
    folder = write_osie(tmp_path, [("a.png", [[], []]), ("b.png", [])])
    for sample in read_stimuli_eye(folder)["all"]:
        assert sample.read_fixations().shape == (0, 2)
        assert sample.observer.shape == (0,)


def test_an_image_that_only_the_file_knows_is_a_sample(tmp_path, write_osie, caplog):
    folder = write_osie(tmp_path, [("a.png", LOOKS), ("b.png", LOOKS), ("c.png", LOOKS)])
    (folder / "stimuli" / "b.png").unlink()
    _, b, c = read_stimuli_eye(folder)["all"]
    assert (b.image, c.name) == (folder / "stimuli" / "b.png", "c")
    assert len(b.fixations) == 3
    assert not caplog.records


def test_an_image_of_unknown_size_keeps_its_points(tmp_path, write_osie, caplog):
    folder = write_osie(tmp_path, [("a.png", [[(700, 500)]]), ("b.png", LOOKS)])
    (folder / "stimuli" / "a.png").write_bytes(b"no image")
    a, _ = read_stimuli_eye(folder)["all"]
    assert a.fixations.tolist() == [[700, 500]]
    assert not caplog.records


def test_a_missing_file_is_named(tmp_path, write_image):
    with pytest.raises(FileNotFoundError, match=r"stimuli: no such folder"):
        read_stimuli_eye(tmp_path)
    (tmp_path / "stimuli").mkdir()
    with pytest.raises(FileNotFoundError, match=r"stimuli: holds no image \(\.jpg"):
        read_stimuli_eye(tmp_path)
    write_image(tmp_path / "stimuli" / "a.png")
    with pytest.raises(FileNotFoundError, match=r"fixations\.mat: no such file"):
        read_stimuli_eye(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"gaze": 1},
        {"fixations": np.arange(4)},
        {"fixations": "a.png"},
        {"fixations": {"img": "a.png"}},
        {"fixations": np.array([[{"img": "a.png"}]], object)},
        {"fixations": np.array([[{"img": "a.png", "subjects": 3}]], object)},
    ],
    ids=["another name", "numbers", "text", "a struct", "no subjects", "subjects are numbers"],
)
def test_another_mat_file_is_refused(tmp_path, write_osie, content):
    path = write_osie(tmp_path, [("a.png", LOOKS)]) / "eye" / "fixations.mat"
    scipy.io.savemat(path, content)
    with pytest.raises(ValueError, match=r"fixations\.mat: not a fixations\.mat of OSIE's family"):
        read_stimuli_eye(tmp_path)


@pytest.mark.parametrize("field", ["fix_x", "fix_y"])
@pytest.mark.parametrize("value", [None, "text", np.zeros((1, 5))])
def test_a_mat_file_without_proper_points_is_refused(tmp_path, write_osie, field, value):
    path = write_osie(tmp_path, [("a.png", LOOKS)]) / "eye" / "fixations.mat"
    subject = {"fix_x": np.ones((1, 1)), "fix_y": np.ones((1, 1)), field: value}
    if value is None:
        del subject[field]
    subjects = np.array([[subject]], object)
    cells = np.array([[{"img": "a.png", "subjects": subjects}]], object)
    scipy.io.savemat(path, {"fixations": cells})
    with pytest.raises(ValueError, match=r"fixations\.mat: not a fixations\.mat of OSIE's family"):
        read_stimuli_eye(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_is_no_mat_is_refused(
    tmp_path, write_osie, write_fixations_mat, broken_mats, compressed
):
    path = write_osie(tmp_path, [("a.png", LOOKS)]) / "eye" / "fixations.mat"
    write_fixations_mat(path, [("a.png", LOOKS)] * 5, do_compression=compressed)
    for how, content in broken_mats(path.read_bytes()).items():
        if how == "flipped byte" and not compressed:
            continue  # it has no check sum
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"eye/fixations\.mat: not a fixations\.mat of OSIE's"):
            read_stimuli_eye(tmp_path)


# images/, maps/ and fixations/


def test_salicons_layout(tmp_path, write_folders, caplog):
    splits = {"train": ["b", "a", "x.1"], "val": ["d"], "test": ["e"]}
    read = read_folders(write_folders(tmp_path, splits))
    assert list(read) == ["train", "val"], "test keeps its ground truth to itself"
    assert [sample.name for sample in read["train"]] == ["a", "b", "x.1"]
    for sample, name in zip(read["train"], ("a", "b", "x.1"), strict=True):
        assert sample.image == tmp_path / "images" / "train" / f"{name}.jpg"
        assert sample.density == tmp_path / "maps" / "train" / f"{name}.png"
        assert sample.fixations == tmp_path / "fixations" / "train" / f"{name}.png"
    sample = read["train"][1]
    assert sample.read_fixations().tolist() == [[0, 2]]
    assert sample.read_density((6, 8))[2, 0] == 1
    assert sample.observer is None
    assert sample.sigma is None, "for `load_dataset` to fill in"
    assert not caplog.records


def test_folders_without_splits(tmp_path, write_folders):
    read = read_folders(write_folders(tmp_path, {".": ["b", "a"]}))
    assert list(read) == ["all"]
    a, b = read["all"]
    assert a.image == tmp_path / "images" / "a.jpg"
    assert b.density == tmp_path / "maps" / "b.png"
    assert a.read_fixations().tolist() == [[1, 2]]


def test_a_folder_among_images_is_no_split(tmp_path, write_folders, write_image):
    folder = write_folders(tmp_path, {".": ["a", "b"]})
    for name in ("thumbs", ".cache", "originals"):
        write_image(folder / "images" / name / "c.jpg")
    read = read_folders(folder)
    assert list(read) == ["all"]
    assert [sample.name for sample in read["all"]] == ["a", "b"]


def test_files_that_are_no_images_do_not_make_a_folder_flat(tmp_path, write_folders):
    folder = write_folders(tmp_path, {"train": ["a"], "val": ["b"]})
    for name in ("notes.txt", ".hidden.png"):
        (folder / "images" / name).write_bytes(b"")
    assert list(read_folders(folder)) == ["train", "val"]


def test_folders_may_have_other_names(tmp_path, write_folders):
    folder = write_folders(tmp_path, {"train": ["a"], "val": ["b"]})
    for old, new in (("images", "stimuli"), ("maps", "ground truth"), ("fixations", "gaze")):
        (folder / old).rename(folder / new)
    read = read_folders(folder, images="stimuli", maps="ground truth", fixations="gaze")
    (sample,) = read["val"]
    assert sample.image == folder / "stimuli" / "val" / "b.jpg"
    assert sample.density == folder / "ground truth" / "val" / "b.png"
    assert sample.fixations == folder / "gaze" / "val" / "b.png"


@pytest.mark.parametrize("kind", ["maps", "fixations", "masks"])
@pytest.mark.parametrize("name", ["gone", "gone.csv", "gone.mat"])
def test_what_is_named_must_be_there(tmp_path, write_folders, kind, name):
    folder = write_folders(tmp_path, {"train": ["a"], "val": ["b"]})
    with pytest.raises(FileNotFoundError, match=rf"{name}: is not there, where {kind} should be"):
        read_folders(folder, **{kind: name})


def test_maps_alone_do(tmp_path, write_folders):
    folder = write_folders(tmp_path, {"train": ["a"], "val": ["b"]}, kinds=("maps",))
    (sample,) = read_folders(folder)["val"]
    assert sample.fixations is None
    assert sample.read_density((6, 8))[2, 0] == 1


def test_fixations_alone_make_densities(tmp_path, write_folders):
    folder = write_folders(tmp_path, {"train": ["a"], "val": ["b"]}, kinds=("fixations",))
    (sample,) = read_folders(folder)["val"]
    assert sample.density is None
    density = dataclasses.replace(sample, sigma=1.0).read_density((6, 8))
    assert np.unravel_index(density.argmax(), density.shape) == (2, 0)
    assert density[2, 1] == pytest.approx(density[2, 0] * np.exp(-0.5))


@pytest.mark.parametrize("kind", ["maps", "fixations"])
def test_a_missing_partner_is_expected_as_png(tmp_path, write_folders, kind):
    folder = write_folders(tmp_path, {"train": ["a", "b"], "val": ["c"]})
    (folder / kind / "train" / "b.png").unlink()
    sample = read_folders(folder)["train"][1]
    path = {"maps": sample.density, "fixations": sample.fixations}[kind]
    assert path == folder / kind / "train" / "b.png"
    with pytest.raises(FileNotFoundError, match=rf"{kind}/train/b\.png: no such file"):
        sample.read_density((6, 8)) if kind == "maps" else sample.read_fixations()


@pytest.mark.parametrize("kind", ["maps", "fixations"])
def test_what_belongs_to_no_image_is_warned_of(tmp_path, write_folders, write_image, kind, caplog):
    folder = write_folders(tmp_path, {"train": ["a", "b"], "val": ["c"]})
    expected = read_folders(folder)
    for name in ("z.png", "y.jpg", "x.png", "w.png", ".hidden.png", "notes.txt"):
        write_image(folder / kind / "train" / "any.png").rename(folder / kind / "train" / name)
    write_image(folder / kind / "val" / "v.png")
    assert not caplog.records
    assert list(map(str, read_folders(folder)["train"])) == list(map(str, expected["train"]))
    train, val = (record.getMessage() for record in caplog.records)
    assert train == f"{folder / kind / 'train'}: 4 files belong to no image: w, x, y, …"
    assert val == f"{folder / kind / 'val'}: 1 files belong to no image: v"


@pytest.mark.parametrize("kind", ["images", "maps", "fixations"])
def test_two_files_of_one_name_are_refused(tmp_path, write_folders, write_image, kind):
    folder = write_folders(tmp_path, {"train": ["a", "b"], "val": ["c"]})
    (path,) = (folder / kind / "train").glob("b.*")
    write_image(path.with_suffix(".bmp"))
    first, second = sorted((path.with_suffix(".bmp"), path))
    message = rf"{first} and {second.name} differ in their ending only; remove one\."
    with pytest.raises(ValueError, match=message):
        read_folders(folder)


def test_the_same_name_may_stand_in_two_splits(tmp_path, write_folders):
    read = read_folders(write_folders(tmp_path, {"train": ["a"], "val": ["a"]}))
    assert read["train"][0].density != read["val"][0].density


def test_without_any_ground_truth_a_folder_is_refused(tmp_path, write_folders):
    folder = write_folders(tmp_path, {"test": ["a"]})
    with pytest.raises(
        FileNotFoundError, match=r"has neither maps/, fixations/, masks/ nor .*fixations\.csv"
    ):
        read_folders(folder)
    (folder / "maps").mkdir()
    with pytest.raises(ValueError, match="no image has a map, a fixation or a mask"):
        read_folders(folder)


def test_missing_images_are_named(tmp_path, write_folders):
    folder = write_folders(tmp_path, {"train": ["a"]})
    for name in ("val", ".thumbnails"):
        (folder / "images" / name).mkdir()
    with pytest.raises(FileNotFoundError, match=r"images/val: holds no image"):
        read_folders(folder)
    (folder / "images").rename(folder / "pictures")
    with pytest.raises(FileNotFoundError, match=r"images: no such folder"):
        read_folders(folder)


def test_masks_alone_do(tmp_path, write_image, write_mask):
    for name in ("b", "a"):
        write_image(tmp_path / "images" / f"{name}.jpg")
    write_mask(tmp_path / "masks" / "a.png")
    a, b = read_folders(tmp_path)["all"]
    assert (a.mask, a.density, a.fixations) == (tmp_path / "masks" / "a.png", None, None)
    assert a.read_mask().sum() == 9
    assert b.mask == tmp_path / "masks" / "b.png", "for `check` to find that it is not there"


def test_masks_go_with_all_else(tmp_path, write_folders, write_mask):
    folder = write_folders(tmp_path, {"train": ["a"], "val": ["b"]})
    for name in ("train/a", "val/b"):
        write_mask(folder / "truth" / f"{name}.png")
    (sample,) = read_folders(folder, masks="truth")["val"]
    assert sample.mask == folder / "truth" / "val" / "b.png"
    assert sample.density == folder / "maps" / "val" / "b.png"
    assert sample.fixations == folder / "fixations" / "val" / "b.png"


@pytest.mark.parametrize("ending", [".jpg", ".mat"])
def test_a_missing_partner_is_expected_as_its_neighbours_are(tmp_path, write_folders, ending):
    folder = write_folders(tmp_path, {".": ["a", "b", "c"]}, kinds=())
    (folder / "fixations").mkdir()
    for name in "ac":
        (folder / "fixations" / f"{name}{ending}").write_bytes(b"")
    _, b, _ = read_folders(folder)["all"]
    assert b.fixations == folder / "fixations" / f"b{ending}"


# Files of all images' fixations: Toronto, PASCAL-S


@pytest.mark.parametrize("name", ["gaze.mat", "gaze-7.3.mat"])
def test_cells_are_of_the_images_of_their_numbers(
    tmp_path, write_image, write_cells_mat, name, caplog
):
    images = [write_image(tmp_path / "images" / f"{number}.png") for number in (1, 2, 10)]
    cells = [np.zeros((0, 3))] * 10
    cells[0], cells[1] = [(3, 2, 1), (6, 9, 1)], [(1, 1, 7), (2, 1, 3)]
    cells[9] = [(6, 8, 1)]
    write_cells_mat(tmp_path / name, "fixCell", cells)
    samples = read_folders(tmp_path, fixations=name)["all"]
    found = {sample.image.name: sample for sample in samples}
    assert found["1.png"].fixations.tolist() == [[1, 2]]
    assert found["1.png"].dropped == 1
    assert found["2.png"].observer.tolist() == [1, 0]
    assert found["10.png"].fixations.tolist() == [[7, 5]]
    assert {sample.image for sample in samples} - set(images) == {
        tmp_path / "images" / f"{number}.jpg" for number in range(3, 10)
    }, "images that are missing"
    (record,) = caplog.records
    assert f"{name}: 1 fixations lie outside" in record.getMessage()


def test_a_map_in_a_cell_must_have_its_images_size(tmp_path, write_image, write_cells_mat):
    write_image(tmp_path / "images" / "1.jpg")
    write_cells_mat(tmp_path / "gaze.mat", "white", [np.eye(6, 8)])
    (sample,) = read_folders(tmp_path, fixations="gaze.mat")["all"]
    assert sample.fixations.tolist() == [[i, i] for i in range(6)]
    assert sample.observer is None
    write_image(tmp_path / "images" / "1.jpg", (8, 6))
    with pytest.raises(
        ValueError, match=r"gaze\.mat: .*cell 1: the fixation map is 8x6, its image"
    ):
        read_folders(tmp_path, fixations="gaze.mat")


# Text files of pairs


def test_pairs(tmp_path):
    text = "imgs/b.jpg  gt/b.png\n\n/data/a b.jpg\t/data/ä.png\r\nc.jpg c.png"
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "pairs.txt").write_bytes(text.encode(encoding))
        b, a, c = read_pairs(tmp_path)["all"]
        assert (b.image, b.mask) == (tmp_path / "imgs/b.jpg", tmp_path / "gt/b.png")
        assert [str(path) for path in (a.image, a.mask)] == ["/data/a b.jpg", "/data/ä.png"]
        assert (c.image, c.mask) == (tmp_path / "c.jpg", tmp_path / "c.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg a.png\nb.jpg", r"line 2: must be an image and its mask, .* not 'b\.jpg'"),
        ("my photo.jpg a.png", "line 1: must be an image and its mask, a tab between them where"),
        ("a.jpg\t", "line 1: must be an image and its mask"),
        ("a.jpg\ta.png\tb.png", "line 1: must be an image and its mask"),
        ("a.jpg a.png\n\na.jpg b.png", r"line 3: .*a\.jpg is repeated from an earlier line"),
        ("", "lists no pair of an image and its mask"),
        ("\n \n", "lists no pair of an image and its mask"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"list\.txt: {message}"):
        read_pairs(tmp_path, "list.txt")


def test_a_list_of_pairs_must_be_there_and_utf8(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pairs\.txt: no such file"):
        read_pairs(tmp_path)
    (tmp_path / "pairs.txt").write_bytes("ü.jpg ü.png".encode("latin-1"))
    with pytest.raises(ValueError, match=r"pairs\.txt: .*utf-8"):
        read_pairs(tmp_path)


# SALICON's .mat


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("compressed", [False, True])
def test_salicons_mat_counts_from_1(tmp_path, write_image, write_gaze_mat, dtype, compressed):
    image = write_image(tmp_path / "a.png", (20, 300))
    looks = [[(1, 1), (255, 20), (255, 21)], [], [(201, 5), (201, 5), (0, 5), (5, 0)]]
    path = write_gaze_mat(tmp_path / "a.mat", looks, dtype, do_compression=compressed)
    points, observer, dropped = Sample(image, fixations=path).read_gaze()
    # What lies outside goes: 0 is before the first pixel, and not 255 of 8 bits.
    assert points.tolist() == [[0, 0], [254, 19], [200, 4], [200, 4]]
    assert points.dtype == np.float64
    assert observer.tolist() == [0, 0, 2, 2], "who never looked keeps a number"
    assert dropped == 3


@pytest.mark.parametrize("looks", [[], [[]], [[], []]])
def test_a_mat_in_which_nobody_looks_has_no_points(tmp_path, write_image, write_gaze_mat, looks):
    image = write_image(tmp_path / "a.png")
    path = write_gaze_mat(tmp_path / "a.mat", looks)
    points, observer, dropped = Sample(image, fixations=path).read_gaze()
    assert points.shape == (0, 2)
    assert observer.shape == (0,)
    assert dropped == 0


def test_a_mat_of_one_observer(tmp_path, write_image, write_gaze_mat):
    image = write_image(tmp_path / "a.png")
    path = write_gaze_mat(tmp_path / "a.mat", [[(4, 3)]])
    points, observer, _ = Sample(image, fixations=path).read_gaze()
    assert (points.tolist(), observer.tolist()) == ([[3, 2]], [0])


def test_a_mat_is_preferred_to_a_map_of_fixations(tmp_path, write_folders, write_gaze_mat):
    folder = write_folders(tmp_path, {"train": ["a", "b"], "val": ["c"]})
    write_gaze_mat(folder / "fixations" / "train" / "b.mat", [[(8, 1)], [(1, 6)]])
    a, b = read_folders(folder)["train"]
    assert a.read_fixations().tolist() == [[0, 2]]
    points, observer, _ = b.read_gaze()
    assert (points.tolist(), observer.tolist()) == ([[7, 0], [0, 5]], [0, 1])
    assert b.density == folder / "maps" / "train" / "b.png"


@pytest.mark.parametrize("compressed", [False, True])
def test_a_broken_gaze_file_is_named(
    tmp_path, write_image, write_gaze_mat, broken_mats, compressed
):
    image = write_image(tmp_path / "a.png")
    path = write_gaze_mat(tmp_path / "a.mat", [[(4, 3)]] * 9, do_compression=compressed)
    sample = Sample(image, fixations=path)
    for how, content in broken_mats(path.read_bytes()).items():
        if how == "flipped byte" and not compressed:
            continue  # it has no check sum
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.mat: not a fixation file of SALICON's"):
            sample.read_gaze()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float64])
def test_cat2000s_mat_is_a_map(tmp_path, write_image, dtype):
    image = write_image(tmp_path / "a.jpg")
    looked = np.zeros((6, 8), dtype)
    looked[5, 7] = looked[0, 2] = 1
    scipy.io.savemat(tmp_path / "a.mat", {"fixLocs": looked})
    sample = Sample(image, fixations=tmp_path / "a.mat")
    points, observer, dropped = sample.read_gaze()
    assert points.tolist() == [[2, 0], [7, 5]]
    assert (observer, dropped) == (None, 0)
    write_image(tmp_path / "a.jpg", (8, 6))
    with pytest.raises(ValueError, match=r"a\.mat: .*the fixation map is 8x6, its image 6x8"):
        sample.read_gaze()


def test_a_missing_gaze_file_is_named(tmp_path, write_image):
    sample = Sample(write_image(tmp_path / "a.png"), fixations=tmp_path / "a.mat")
    with pytest.raises(FileNotFoundError, match=r"a\.mat: no such file"):
        sample.read_gaze()


@pytest.mark.parametrize(
    "content",
    [
        {"fixations": np.ones((3, 2))},
        {"gaze": np.ones((3, 2))},
        {"gaze": {"location": np.ones((3, 2))}},
        {"gaze": {"fixations": "here"}},
        {"gaze": {"fixations": np.ones((3, 3))}},
        {"gaze": {"fixations": np.ones((2, 3))}},
        {"gaze": {"fixations": np.ones((4, 3))}},
    ],
    ids=["no gaze", "numbers", "no fixations", "text", "a 3x3", "transposed", "with durations"],
)
def test_another_file_than_salicons_is_refused(tmp_path, write_image, content):
    image = write_image(tmp_path / "a.png")
    scipy.io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(ValueError, match=r"a\.mat: not a fixation file of SALICON's"):
        Sample(image, fixations=tmp_path / "a.mat").read_gaze()


# fixations.csv


@pytest.fixture
def write_table(write_image):
    def write(folder, text, images=("a.png", "b.png"), encoding="utf-8", name="fixations.csv"):
        """Images of 8 x 6 pixels below images/, and this table."""
        for image in images:
            write_image(folder / "images" / image)
        (folder / name).write_bytes(text.encode(encoding))
        return folder

    return write


def test_a_table_of_fixations(tmp_path, write_table):
    text = (
        "observer,y,duration,x,image\n"
        "zoe,5,0.2,7,b.png\n"
        "anna,2.5,,1.5,a.png\n"
        'zoe,0, ,"6",a.png\n'
        "anna,5,0.2, 7,b.png\n"
        "\n"
        "zoe,1,0.3,2,a.png\n"
    )
    a, b = read_folders(write_table(tmp_path, text))["all"]
    assert a.image == tmp_path / "images" / "a.png"
    assert a.fixations.tolist() == [[1.5, 2.5], [6, 0], [2, 1]], "in the table's order"
    assert a.observer.tolist() == [0, 1, 1]
    assert a.fixations.dtype == np.float64
    assert b.fixations.tolist() == [[7, 5], [7, 5]], "repeated looks count"
    assert sorted(b.observer.tolist()) == [0, 1]
    assert a.density is None


def test_a_table_need_not_know_its_observers(tmp_path, write_table):
    for sample in read_folders(write_table(tmp_path, "image,x,y\na.png,1,2\nb.png,3,4\n"))["all"]:
        assert len(sample.fixations) == 1
        assert sample.observer is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_a_table_may_come_from_a_spreadsheet(tmp_path, write_table, encoding, line):
    name = "Überblick, 见.png"
    text = line.join(["image,x,y", f'"{name}",1,2', ""])
    folder = write_table(tmp_path, text, [name], encoding)
    (sample,) = read_folders(folder)["all"]
    assert sample.image == tmp_path / "images" / name
    assert sample.fixations.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column image and no column x and no column y; its first line must name"),
        ("image,x\na.png,1\n", "has no column y; its first line must name the columns image, x, y"),
        ("image;x;y\na.png;1;2\n", "has no column image and no column x and no column y"),
        ("a.png,1,2\n", "has no column image and no column x and no column y"),
    ],
    ids=["empty", "no y", "semicolons", "no header"],
)
def test_a_table_needs_its_columns(tmp_path, write_table, text, message):
    with pytest.raises(ValueError, match=rf"fixations\.csv: {message}"):
        read_folders(write_table(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a.png,one,2", "'one' and '2'"),
        ("a.png,1,", "'1' and ''"),
        ("a.png,1", "'1' and None"),
        ('a.png,"1,5","2,5"', "'1,5' and '2,5'"),
    ],
)
def test_what_is_no_number_is_named_with_its_line(tmp_path, write_table, line, found):
    folder = write_table(tmp_path, f"image,x,y\na.png,1,2\n\n{line}\nb.png,x,y\n")
    message = rf"fixations\.csv: line 4: x and y must be numbers, not {found}\."
    with pytest.raises(ValueError, match=message):
        read_folders(folder)


def test_a_table_of_splits(tmp_path, write_table):
    text = "image,x,y\nval/a.png,1,2\ntrain/a.png,3,4\ntrain/b.png,5,5\n"
    images = ("train/a.png", "train/b.png", "val/a.png", "test/c.png")
    read = read_folders(write_table(tmp_path, text, images))
    assert {split: [s.name for s in samples] for split, samples in read.items()} == {
        "train": ["a", "b"],
        "val": ["a"],
    }, "test has no fixations"
    assert read["train"][0].fixations.tolist() == [[3, 4]]
    assert read["val"][0].fixations.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "name", ["a.png", "vall/a.png", "images/train/a.png", "train/more/a.png", "/train/a.png"]
)
def test_a_split_that_is_none_is_named_with_its_line(tmp_path, write_table, name):
    folder = write_table(tmp_path, f"image,x,y\n{name},1,2\n", ("train/a.png", "val/b.png"))
    message = rf"fixations\.csv: line 2: image must be .* as train/a\.png, not '{name}'\."
    with pytest.raises(ValueError, match=message):
        read_folders(folder)


def test_an_image_that_only_the_table_knows_is_a_sample(tmp_path, write_table):
    folder = write_table(tmp_path, "image,x,y\na.png,1,2\naa.png,100,200\nb.png,1,2\n")
    _, missing, _ = read_folders(folder)["all"]
    assert missing.image == folder / "images" / "aa.png"
    assert missing.fixations.tolist() == [[100, 200]], "of an image of unknown size"


def test_an_image_that_the_table_leaves_out_has_no_fixations(tmp_path, write_table):
    _, b = read_folders(write_table(tmp_path, "image,x,y\na.png,1,2\n"))["all"]
    assert b.fixations is None


def test_a_tables_points_outside_are_dropped_and_counted(tmp_path, write_table, caplog):
    outside = [(-1, 0), (8, 0), (0, 6), (5, 7), ("nan", 2), ("inf", 2)]
    inside = [(0, 0), (7.9, 5.9), (7, 5)]
    rows = [f"a.png,{x},{y},{o}" for o, points in enumerate((outside, inside)) for x, y in points]
    folder = write_table(tmp_path, "\n".join(["image,x,y,observer", *rows, "b.png,9,9,0"]))
    a, b = read_folders(folder)["all"]
    assert a.fixations.tolist() == [list(point) for point in inside]
    assert a.observer.tolist() == [1, 1, 1]
    assert b.fixations.shape == (0, 2)
    assert [sample.read_gaze().dropped for sample in (a, b)] == [6, 1]
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{folder / 'fixations.csv'}: 7 fixations lie outside their image and are dropped."
    )


@pytest.mark.parametrize("option", ["looks", "looks.csv"])
def test_a_table_may_have_another_name(tmp_path, write_table, option):
    folder = write_table(tmp_path, "image,x,y\na.png,1,2\nb.png,3,4\n", name="looks.csv")
    a, _ = read_folders(folder, fixations=option)["all"]
    assert a.fixations.tolist() == [[1, 2]]


def test_a_table_and_maps_go_together(tmp_path, write_table, write_image):
    folder = write_table(tmp_path, "image,x,y\na.png,1,2\nb.png,3,4\n")
    for name in "ab":
        write_image(folder / "maps" / f"{name}.png", value=9)
    a, _ = read_folders(folder)["all"]
    assert a.density == folder / "maps" / "a.png"
    assert a.fixations.tolist() == [[1, 2]]


def test_a_table_without_fixations_is_refused(tmp_path, write_table):
    with pytest.raises(ValueError, match="no image has a map, a fixation or a mask"):
        read_folders(write_table(tmp_path, "image,x,y\n"))


@pytest.mark.parametrize("name", ["images/a.png", "more/a.png", "/a.png", "../a.png", ""])
def test_an_image_elsewhere_than_below_images_is_refused(tmp_path, write_table, name):
    folder = write_table(tmp_path, f"image,x,y\nb.png,1,2\n{name},1,2\n")
    message = r"fixations\.csv: line 3: image must be its path below images, as photo\.jpg, not "
    with pytest.raises(ValueError, match=message):
        read_folders(folder)


@pytest.mark.parametrize("line", ["a.png,1,5,2,5", "a.png,1,2,3,anna"])
def test_a_line_with_more_cells_than_columns_is_named(tmp_path, write_table, line):
    folder = write_table(tmp_path, f"image,x,y\nb.png,1,2,,\n{line}\n")
    with pytest.raises(ValueError, match=r"fixations\.csv: line 3: has more cells than the first"):
        read_folders(folder)


def test_a_line_without_its_image_is_named(tmp_path, write_table):
    with pytest.raises(ValueError, match=r"fixations\.csv: line 2: image must be its path below"):
        read_folders(write_table(tmp_path, "x,y,image\n1,2\n"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_is_named(tmp_path, write_table, encoding):
    folder = write_table(tmp_path, "image,x,y\nü.png,1,2\n", encoding=encoding)
    with pytest.raises(ValueError, match=r"fixations\.csv: .*utf-8"):
        read_folders(folder)


def test_a_quotation_mark_that_is_never_closed_is_named(tmp_path, write_table):
    folder = write_table(tmp_path, 'image,x,y\n"a.png,1,2\n' + "b.png,1,2\n" * 20_000)
    with pytest.raises(ValueError, match=r"fixations\.csv: .*"):
        read_folders(folder)


def test_observers_are_known_where_every_line_of_an_image_has_one(tmp_path, write_table):
    text = "image,x,y,observer\na.png,1,2,zoe\na.png,3,4,\nb.png,1,2,zoe\nb.png,3,4,ben\n"
    a, b = read_folders(write_table(tmp_path, text))["all"]
    assert a.observer is None
    assert len(set(b.observer.tolist())) == 2


# Which layout


def test_layouts_are_told_apart(tmp_path, write_osie, write_folders, write_image):
    assert detect_layout(write_osie(tmp_path / "a", [("a.png", LOOKS)])) == "stimuli_eye"
    assert detect_layout(str(write_folders(tmp_path / "b", {"train": ["a"]}))) == "folders"
    folder = tmp_path / "c"
    write_image(folder / "images" / "a.png")
    message = (
        r"c: matches none of the known layouts \(stimuli_eye: stimuli \+ eye/fixations\.mat; "
        r"mit1003: ALLSTIMULI \+ DATA or ALLFIXATIONMAPS; "
        r"folders: images \+ maps or fixations or fixations\.csv or masks; pairs: pairs\.txt\)\."
    )
    with pytest.raises(ValueError, match=message):
        detect_layout(folder)
    for mark in ("maps", "fixations", "fixations.csv", "masks"):
        (folder / mark).mkdir()
        assert detect_layout(folder) == "folders"
        (folder / mark).rmdir()
    (folder / "pairs.txt").write_text("")
    assert detect_layout(folder) == "pairs"
    (folder / "ALLSTIMULI").mkdir()
    for mark in ("DATA", "ALLFIXATIONMAPS"):
        (folder / mark).mkdir()
        assert detect_layout(folder) == "mit1003"
        (folder / mark).rmdir()
    with pytest.raises(FileNotFoundError, match="d: no such folder"):
        detect_layout(tmp_path / "d")
    assert set(LAYOUTS) == {"stimuli_eye", "mit1003", "folders", "pairs"}


# Parts


def test_images_are_listed_by_name(tmp_path):
    for name in ("c.JPG", "b.png", "a.webp", "notes.txt", "d.mat", "e.jpeg"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path)] == ["b.png", "c.JPG", "e.jpeg"]


def test_inside_is_the_half_open_frame():
    points = np.array([(0, 0), (9.99, 4.99), (10, 0), (0, 5), (-1e-9, 0), (np.nan, 0), (5, np.inf)])
    assert points_inside(points, (5, 10)).tolist() == [True, True] + [False] * 5


# The real data


@pytest.mark.parametrize(
    ("name", "images", "fixations", "observers"),
    [
        ("osie", 700, 98_321, (15, 15)),
        ("eyecrowd", 500, 126_345, (15, 16)),
        ("scene500", 500, 43_894, (10, 12)),
    ],
)
def test_the_real_data_of_osies_family(shared_data, caplog, name, images, fixations, observers):
    samples = read_stimuli_eye(shared_data / name)["all"]
    assert len(samples) == images
    assert len({sample.image for sample in samples}) == images
    assert sum(len(sample.fixations) for sample in samples) == fixations
    assert not caplog.records, "none is dropped"
    counts = [len(np.unique(sample.observer)) for sample in samples]
    assert (min(counts), max(counts)) == observers
    for sample in samples[:: images // 5]:
        assert sample.read_image().ndim == 3
        density = dataclasses.replace(sample, sigma=24.0).read_density_in((48, 64))
        assert density.sum() == pytest.approx(1)
        # People look where the density is: many times more than anywhere.
        input_size = sample.fixations * np.divide((64, 48), sample.read_image().shape[1::-1])
        x, y = input_size.astype(int).T
        assert density[y, x].mean() > 1.5 / density.size


def test_the_real_data_of_salicon(shared_data):
    splits = read_folders(shared_data / "salicon-mini")
    assert sum(map(len, splits.values())) == 14
    assert set(splits) == {"train", "val"}
    for sample in splits["train"][:2] + splits["val"][:2]:
        assert sample.read_image().shape == (480, 640, 3)
        density = sample.read_density((480, 640))
        assert density.shape == (480, 640)
        x, y = sample.read_fixations().astype(int).T
        assert len(x) > 20
        assert density[y, x].mean() > 2 / density.size, "map and fixations are of one image"
