"""Layouts on disk, written as the public datasets are, and the real ones where they are at hand."""

import logging

import numpy as np
import pytest
import scipy.io

from keras_salnet.data.readers import (
    LAYOUTS,
    detect_layout,
    list_images,
    points_inside,
    read_salicon,
    read_stimuli_eye,
)

# Two observers of an image of 8 x 6 pixels.
LOOKS = [[(1, 2), (7, 5)], [(0, 0)]]


# stimuli/ and eye/fixations.mat


def test_osies_layout(tmp_path, write_osie):
    records = [("b.png", LOOKS), ("a.png", [[(3, 4)], [], [(5, 1), (5, 1)]])]
    folder = write_osie(tmp_path, records)
    (a, b) = read_stimuli_eye(folder, sigma=24.0)["all"]
    assert (a.name, b.name) == ("a", "b"), "in the order of the file names"
    assert b.image == tmp_path / "stimuli" / "b.png"
    assert b.fixations.tolist() == [[1, 2], [7, 5], [0, 0]]
    assert b.observer.tolist() == [0, 0, 1]
    assert a.fixations.tolist() == [[3, 4], [5, 1], [5, 1]], "repeated looks count"
    assert a.observer.tolist() == [0, 2, 2], "who never looked keeps a number"
    assert {a.sigma, b.sigma} == {24.0}
    assert a.density is None
    assert a.fixations.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_small_types_do_not_overflow(tmp_path, write_osie, dtype):
    looks = [[(250, 200), (255, 7)]]
    folder = write_osie(tmp_path, [("a.png", looks)], size=(240, 300), dtype=dtype)
    (sample,) = read_stimuli_eye(folder, sigma=200.0)["all"]
    assert sample.fixations.tolist() == [[250, 200], [255, 7]]
    assert sample.fixations.dtype == np.float64
    # 250 + 0.5 and 255 + 200 are beyond 8 bits.
    shifted = sample.fixations + 200
    assert shifted.tolist() == [[450, 400], [455, 207]]
    assert sample.read_density_in((24, 30)).sum() == pytest.approx(1)


def test_points_outside_are_dropped_and_counted(tmp_path, write_osie, caplog):
    outside = [(-1, 0), (8, 0), (0, 6), (-0.1, 3), (np.nan, 2), (1e9, 1e9)]
    inside = [(0, 0), (7.9, 5.9), (7, 5)]
    folder = write_osie(
        tmp_path, [("a.png", [outside, inside]), ("b.png", [inside, [outside[0], inside[0]]])]
    )
    with caplog.at_level(logging.WARNING):
        a, b = read_stimuli_eye(folder, sigma=2.0)["all"]
    assert a.fixations.tolist() == [list(point) for point in inside]
    assert a.observer.tolist() == [1, 1, 1]
    assert b.observer.tolist() == [0, 0, 0, 1]
    (record,) = caplog.records
    assert "fixations.mat: 7 fixations lie outside" in record.getMessage()


def test_nothing_is_logged_where_nothing_is_dropped(tmp_path, write_osie, caplog):
    read_stimuli_eye(write_osie(tmp_path, [("a.png", LOOKS)]), sigma=2.0)
    assert not caplog.records


def test_images_the_file_does_not_speak_of_are_left_out(tmp_path, write_osie, write_image):
    folder = write_osie(tmp_path, [("b.png", LOOKS)])
    write_image(folder / "stimuli" / "a.png")
    (folder / "stimuli" / "Thumbs.db").write_bytes(b"")
    assert [sample.name for sample in read_stimuli_eye(folder, 2.0)["all"]] == ["b"]


def test_an_image_nobody_looked_at_has_no_points(tmp_path, write_osie):
    folder = write_osie(tmp_path, [("a.png", [[], []]), ("b.png", [])])
    for sample in read_stimuli_eye(folder, 2.0)["all"]:
        assert sample.read_fixations().shape == (0, 2)
        assert sample.observer.shape == (0,)


def test_a_missing_image_is_named(tmp_path, write_osie):
    folder = write_osie(tmp_path, [("a.png", LOOKS), ("b.png", LOOKS)])
    (folder / "stimuli" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"fixations\.mat speaks of b\.png, which is not"):
        read_stimuli_eye(folder, 2.0)


def test_a_missing_file_is_named(tmp_path, write_image):
    with pytest.raises(FileNotFoundError, match=r"stimuli: there is no such folder"):
        read_stimuli_eye(tmp_path, 2.0)
    (tmp_path / "stimuli").mkdir()
    with pytest.raises(FileNotFoundError, match=r"stimuli: holds no image \(\.jpg"):
        read_stimuli_eye(tmp_path, 2.0)
    write_image(tmp_path / "stimuli" / "a.png")
    with pytest.raises(FileNotFoundError, match=r"fixations\.mat: there is no such file"):
        read_stimuli_eye(tmp_path, 2.0)


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
        read_stimuli_eye(tmp_path, 2.0)


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
        read_stimuli_eye(tmp_path, 2.0)


def broken_mats(whole):
    """Ways in which a download goes wrong: how, and what is then on disk."""
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    return {
        "empty": b"",
        "text": b"<!DOCTYPE html>" * 50,
        "header only": whole[:128],
        "cut in a header": whole[:140],
        "cut": whole[: len(whole) // 2],
        "end missing": whole[:-20],
        "flipped byte": bytes(flipped),
        "MATLAB 7.3": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512),
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_is_no_mat_is_refused(tmp_path, write_osie, write_fixations_mat, compressed):
    path = write_osie(tmp_path, [("a.png", LOOKS)]) / "eye" / "fixations.mat"
    write_fixations_mat(path, [("a.png", LOOKS)] * 5, do_compression=compressed)
    for how, content in broken_mats(path.read_bytes()).items():
        if how == "flipped byte" and not compressed:
            continue  # it has no check sum
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"eye/fixations\.mat: not a fixations\.mat of OSIE's"):
            read_stimuli_eye(tmp_path, 2.0)


# images/, maps/ and fixations/


def test_salicons_layout(tmp_path, write_salicon):
    splits = {"train": ["b", "a", "c"], "val": ["d"], "test": ["e"]}
    read = read_salicon(write_salicon(tmp_path, splits), sigma=19.0)
    assert list(read) == ["train", "val"], "test keeps its ground truth to itself"
    assert [sample.name for sample in read["train"]] == ["a", "b", "c"]
    sample = read["train"][1]
    assert sample.image == tmp_path / "images" / "train" / "b.jpg"
    assert sample.density == tmp_path / "maps" / "train" / "b.png"
    assert sample.read_fixations().tolist() == [[0, 2]]
    assert sample.read_density((6, 8))[2, 0] == 1
    assert sample.observer is None


def test_salicon_without_fixations(tmp_path, write_salicon):
    folder = write_salicon(tmp_path, {"train": ["a"], "val": ["b"]}, kinds=("maps",))
    (sample,) = read_salicon(folder, 19.0)["val"]
    assert sample.fixations is None
    assert sample.read_density((6, 8))[2, 0] == 1


def test_salicon_without_maps_makes_densities_of_its_fixations(tmp_path, write_salicon):
    folder = write_salicon(tmp_path, {"train": ["a"], "val": ["b"]}, kinds=("fixations",))
    (sample,) = read_salicon(folder, 1.0)["val"]
    assert sample.density is None
    density = sample.read_density((6, 8))
    assert np.unravel_index(density.argmax(), density.shape) == (2, 0)
    assert density[2, 1] == pytest.approx(density[2, 0] * np.exp(-0.5))


@pytest.mark.parametrize("kind", ["maps", "fixations"])
def test_a_missing_partner_is_named(tmp_path, write_salicon, kind):
    folder = write_salicon(tmp_path, {"train": ["a", "b"], "val": ["c"]})
    (folder / kind / "train" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{kind}/train/b\.png: .*images/train/b\.jpg has"):
        read_salicon(folder, 19.0)


def test_salicon_without_any_ground_truth_is_refused(tmp_path, write_salicon):
    folder = write_salicon(tmp_path, {"test": ["a"]})
    with pytest.raises(FileNotFoundError, match="no split has both images and maps or fixations"):
        read_salicon(folder, 19.0)


def test_an_empty_split_is_refused(tmp_path, write_salicon):
    folder = write_salicon(tmp_path, {"train": ["a"]})
    (folder / "images" / "val").mkdir()
    (folder / "maps" / "val").mkdir()
    with pytest.raises(FileNotFoundError, match=r"images/val: holds no image"):
        read_salicon(folder, 19.0)


# Which layout


def test_layouts_are_told_apart(tmp_path, write_osie, write_salicon):
    assert detect_layout(write_osie(tmp_path / "a", [("a.png", LOOKS)])) == "stimuli_eye"
    assert detect_layout(str(write_salicon(tmp_path / "b", {"train": ["a"]}))) == "salicon"
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match=r"c: has none of the known layouts \(stimuli_eye: stim"):
        detect_layout(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="d: there is no such folder"):
        detect_layout(tmp_path / "d")
    assert set(LAYOUTS) == {"stimuli_eye", "salicon"}


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
    samples = read_stimuli_eye(shared_data / name, sigma=24.0)["all"]
    assert len(samples) == images
    assert len({sample.image for sample in samples}) == images
    assert sum(len(sample.fixations) for sample in samples) == fixations
    assert not caplog.records, "none is dropped"
    counts = [len(np.unique(sample.observer)) for sample in samples]
    assert (min(counts), max(counts)) == observers
    for sample in samples[:: images // 5]:
        assert sample.read_image().ndim == 3
        density = sample.read_density_in((48, 64))
        assert density.sum() == pytest.approx(1)
        # People look where the density is: many times more than anywhere.
        frame = sample.fixations * np.divide((64, 48), sample.read_image().shape[1::-1])
        x, y = frame.astype(int).T
        assert density[y, x].mean() > 1.5 / density.size


def test_the_real_data_of_salicon(shared_data):
    splits = read_salicon(shared_data / "salicon-mini", sigma=19.0)
    assert sum(map(len, splits.values())) == 14
    assert set(splits) == {"train", "val"}
    for sample in splits["train"][:2] + splits["val"][:2]:
        assert sample.read_image().shape == (480, 640, 3)
        density = sample.read_density((480, 640))
        assert density.shape == (480, 640)
        x, y = sample.read_fixations().astype(int).T
        assert len(x) > 20
        assert density[y, x].mean() > 2 / density.size, "map and fixations are of one image"
