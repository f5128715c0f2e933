"""`datasets check`: what a copy holds, what is wrong with it, what it has twice; the sheet."""

import logging
import shutil

import cv2
import numpy as np
import pytest

from keras_salnet import cli
from keras_salnet.data import Dataset, Sample, check, datasets, load_dataset
from keras_salnet.data.contact_sheet import contact_sheet
from keras_salnet.data.survey import survey

LOOKS = [[(1, 2), (7, 5)], [(0, 0)]]


@pytest.fixture
def write_distinct(write_image):
    """Images that are not the same, each of a grey level of its own."""

    def write(folder, names, size=(6, 8)):
        return [
            write_image(folder / f"{name}.png", size, 10 * number)
            for number, name in enumerate(names)
        ]

    return write


def dataset_of(**splits):
    return Dataset("mine", splits)


# Counts


def test_what_there_is_is_counted(
    tmp_path, write_distinct, write_mask, write_gaze_mat, write_image
):
    a, b, c = write_distinct(tmp_path, "abc", (6, 8))
    (d,) = write_distinct(tmp_path / "big", "d", (60, 10))
    gaze = write_gaze_mat(tmp_path / "a.mat", [[(1, 1), (9, 1)], [(1, 7)]])
    mask, density = write_mask(tmp_path / "mask.png"), write_mask(tmp_path / "map.png")
    point = np.array([[1.0, 1]])
    found = survey(
        dataset_of(
            train=[
                Sample(a, density, gaze),
                Sample(b, None, point, np.array([3]), 2.0, 4, mask),
                Sample(c, None, point),
            ],
            val=[Sample(d, write_mask(tmp_path / "d.png", (60, 10)))],
        )
    )
    assert found.errors == []
    train, val = found.rows["train"], found.rows["val"]
    assert (train.images, train.maps, train.fixations, train.observers, train.masks) == (
        *(3, 1, 3, 2, 1),
    )
    assert train.dropped == 2 + 4
    assert train.sizes == {(6, 8)}
    assert (val.images, val.maps, val.fixations, val.dropped) == (1, 1, 0, 0)
    assert val.sizes == {(60, 10)}


def test_the_table_has_a_line_a_split(tmp_path, write_distinct, write_folders, capsys):
    folder = write_folders(tmp_path / "mine", {"train": ["a"], "val": ["b"]})
    write_distinct(tmp_path / "mine" / "images" / "train", ["c", "d"], (100, 30))
    write_distinct(tmp_path / "mine" / "maps" / "train", ["c", "d"], (100, 30))
    assert cli.main(["datasets", "check", str(folder)]) == 1, "c and d have no fixations"
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "split images maps fixations observers masks dropped width height" in lines
    assert "train 3 3 3 0 0 0 8–30 6–100" in lines
    assert "val 1 1 1 0 0 0 8 6" in lines


# Errors


def test_all_that_check_finds_is_found(tmp_path, write_folders):
    folder = write_folders(tmp_path / "mine", {"train": ["a", "b"], "val": ["c"]})
    write_folders(folder, {"val": ["c"]}, size=(12, 8))
    (folder / "images" / "train" / "a.jpg").write_bytes(b"")
    (folder / "maps" / "val" / "c.png").unlink()
    dataset = load_dataset(folder)
    with pytest.raises(ValueError, match="mine") as caught:
        check(dataset)
    (error,) = survey(dataset).errors
    assert f"mine: {error}\n" in str(caught.value)
    assert error.startswith("2 of 3 images cannot be used:\n")
    assert survey(dataset).rows["train"].sizes == {(6, 8)}, "of those that can be read"


def test_masks_alone_will_do(tmp_path, write_distinct, write_mask):
    a, b = write_distinct(tmp_path, "ab")
    mask = write_mask(tmp_path / "mask.png")
    assert survey(dataset_of(train=[Sample(a, mask=mask)], val=[Sample(b, mask=mask)])).errors == []
    (error,) = survey(dataset_of(train=[Sample(a, mask=mask), Sample(b)])).errors
    assert f"{b}: has no mask." in error
    point = np.array([[1.0, 1]])
    (error,) = survey(dataset_of(train=[Sample(a, mask=mask), Sample(b, None, point)])).errors
    assert f"{a}: has neither a density map nor fixations." in error


def test_the_same_image_in_two_splits_is_an_error(tmp_path, write_distinct, caplog):
    a, b, c, d = write_distinct(tmp_path, "abcd")
    b = shutil.copy(a, b)
    point = np.array([[1.0, 1]])
    train, val, test = ([Sample(image, None, point)] for image in (a, b, c))
    with caplog.at_level(logging.WARNING):
        (error,) = survey(dataset_of(train=train, val=val, test=test)).errors
    assert error == f"1 images are in several splits:\n  {a} (train) = {b} (val)"
    # Of the same place in two lists, too.
    (error,) = survey(dataset_of(train=[Sample(d, None, point), *test], test=test)).errors
    assert error == f"1 images are in several splits:\n  {c} (train) = {c} (test)"
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_the_same_image_twice_in_a_split_is_warned_of(tmp_path, write_distinct, caplog):
    images = write_distinct(tmp_path, "abcdefghij")
    for one, other in ((0, 1), (2, 3), (2, 4), (5, 6), (7, 8)):
        shutil.copy(images[one], images[other])
    samples = [Sample(image, None, np.array([[1.0, 1]])) for image in images]
    with caplog.at_level(logging.WARNING):
        found = survey(dataset_of(train=samples))
    assert found.errors == []
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    a, b, c, d, e, f, g = images[:7]
    assert record.getMessage() == (
        f"mine: 4 images are repeated in a split: {a} (train) = {b} (train), "
        f"{c} (train) = {d} (train) = {e} (train), {f} (train) = {g} (train), …"
    )


def test_missing_images_are_not_the_same(tmp_path):
    samples = [Sample(tmp_path / f"{name}.png", None, np.array([[1.0, 1]])) for name in "ab"]
    (error,) = survey(dataset_of(train=samples[:1], val=samples[1:])).errors
    assert error.startswith("2 of 2 images cannot be used")


# The command


def test_a_copy_of_a_public_dataset_is_checked(
    tmp_path, write_osie, write_distinct, monkeypatch, capsys
):
    monkeypatch.setattr(
        datasets, "descriptions", lambda: {"mine": {"splits": {"train": 2, "val": 1}}}
    )
    folder = write_osie(tmp_path / "copy", [(f"{name}.png", LOOKS) for name in "abc"])
    write_distinct(folder / "stimuli", "abc")
    sheet = tmp_path / "new" / "sheet.jpg"
    assert cli.main(["datasets", "check", "mine", str(folder), "--sheet", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "Every file can be used." in out
    assert str(sheet) in out
    assert cv2.imread(str(sheet)).ndim == 3
    # A copy that is not whole.
    monkeypatch.setattr(
        datasets, "descriptions", lambda: {"mine": {"splits": {"train": 3, "val": 1}}}
    )
    assert cli.main(["datasets", "check", "mine", str(folder)]) == 1
    told = capsys.readouterr()
    assert "copy: holds 3 images, but its splits need 3 train, 1 val." in told.err
    assert "Every file" not in told.out
    assert cli.main(["datasets", "check", "min", str(folder)]) == 1
    assert "did you mean mine?" in capsys.readouterr().err


def test_errors_are_told_after_the_table_and_the_sheet(
    tmp_path, write_folders, write_distinct, capsys
):
    folder = write_folders(tmp_path / "mine", {"train": ["a", "b"], "val": ["c"]})
    (folder / "images" / "train" / "b.jpg").write_bytes(b"")
    sheet = tmp_path / "sheet.png"
    assert cli.main(["datasets", "check", str(folder), "--sheet", str(sheet)]) == 1
    told = capsys.readouterr()
    assert "train" in told.out
    assert sheet.is_file()
    assert "Every file" not in told.out
    lines = told.err.splitlines()
    assert "error: mine: 1 of 3 images cannot be used:" in lines
    assert "mine: 1 images are in several splits:" in lines, "a and c are the same"


def test_a_sheet_must_be_a_picture(tmp_path, capsys):
    for name in ("sheet.pdf", "sheet"):
        command = ["datasets", "check", "nowhere", "--sheet", str(tmp_path / name)]
        assert cli.main(command) == 1
        assert f"--sheet {tmp_path / name}: must end in" in capsys.readouterr().err


def test_the_command_on_masks(tmp_path, write_distinct, write_mask, capsys):
    for image in write_distinct(tmp_path / "images", "abc"):
        write_mask(tmp_path / "masks" / image.name)
    sheet = tmp_path / "sheet.png"
    assert cli.main(["datasets", "check", str(tmp_path), "--sheet", str(sheet)]) == 0
    assert "Every file can be used." in capsys.readouterr().out
    assert sheet.exists()
    write_mask(tmp_path / "masks" / "b.png", white=0)
    assert cli.main(["datasets", "check", str(tmp_path)]) == 1
    assert f"{tmp_path / 'masks' / 'b.png'}: the mask is empty" in capsys.readouterr().err


# The sheet


def tiles(sheet, columns):
    """The sheet's rows of tiles, each a pair of pictures of 144 x 192 pixels."""
    step = sheet.shape[1] // columns
    return [
        (row[:144, x : x + 192], row[:144, x + 196 : x + 388])
        for row in np.split(sheet, sheet.shape[0] // 166)
        for x in range(0, sheet.shape[1], step)
    ]


def test_a_sheet_shows_images_of_every_split(tmp_path, write_distinct):
    point = np.array([[1.0, 1]])
    samples = [
        Sample(image, None, point, sigma=1.0) for image in write_distinct(tmp_path, "abcdefghijkl")
    ]
    dataset = dataset_of(train=samples[:9], val=samples[9:])
    sheet = contact_sheet(dataset, count=6)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * 166, 4 * 392, 3)
    shown = [int(image[100, 150, 0]) // 10 for image, _ in tiles(sheet, 4)]
    assert shown == [0, 4, 8, 9, 10, 11, 0, 0], "the first, the middle and the last of each"
    assert contact_sheet(dataset, count=1).shape == (166, 2 * 392, 3), "one of each at least"


def test_fixations_masks_and_densities_are_drawn(tmp_path, write_image, write_mask):
    # Twice as large as on the sheet.
    image = write_image(tmp_path / "a.png", (288, 384), 100)
    mask = write_mask(tmp_path / "mask.png", (288, 384), (slice(40, 120), slice(60, 180)))
    points = np.array([[300.5, 200.5]])
    sample = Sample(image, None, points, sigma=10.0, mask=mask)
    ((drawn, heat),) = tiles(contact_sheet(dataset_of(train=[sample])), 1)
    assert drawn[100, 150].tolist() == [255, 255, 255]
    assert drawn[20, 50].tolist() == drawn[40, 30].tolist() == [0, 255, 0]
    assert drawn[40, 60].tolist() == drawn[130, 10].tolist() == [100, 100, 100]
    assert np.abs(heat[100, 150].astype(int) - 100).max() > 50
    assert heat[40, 60].tolist() == [100, 100, 100]
    # Of a mask alone, the mask is the ground truth.
    ((drawn, heat),) = tiles(contact_sheet(dataset_of(train=[Sample(image, mask=mask)])), 1)
    assert drawn[100, 150].tolist() == [100, 100, 100]
    assert heat[40, 60].tolist() != [100, 100, 100]
    assert heat[100, 150].tolist() == [100, 100, 100]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_an_image_of_any_shape_is_drawn(tmp_path, write_image, write_mask, size):
    image = write_image(tmp_path / "Überblick 见.png", size)
    mask = write_mask(tmp_path / "mask.png", size, (slice(0, 1), slice(0, 1)))
    sample = Sample(image, None, np.array([[0.0, 0]]), sigma=1.0, mask=mask)
    assert contact_sheet(dataset_of(train=[sample])).shape == (166, 392, 3)


def test_what_cannot_be_read_is_left_out_of_the_sheet(tmp_path, write_distinct):
    a, b = write_distinct(tmp_path, "ab")
    a.write_bytes(b"no image")
    samples = [Sample(image, None, np.array([[1.0, 1]]), sigma=1.0) for image in (a, b)]
    assert contact_sheet(dataset_of(train=samples)).shape == (166, 392, 3)
    with pytest.raises(ValueError, match=r"^mine: no image can be drawn\.$"):
        contact_sheet(dataset_of(train=samples[:1]))
    with pytest.raises(ValueError, match=r"^mine: no image can be drawn\.$"):
        contact_sheet(dataset_of())
