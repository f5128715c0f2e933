"""Files of eye tracking: recordings of MIT1003 and their fixations, cells of Toronto, PASCAL-S."""

import numpy as np
import pytest
import scipy.io

from keras_salnet.data.gaze import judd_fixations, map_points, read_cells_mat, read_judd_mat
from keras_salnet.data.readers import read_mit1003

# Fixations in recordings


def test_a_fixation_is_where_the_eye_stands_still(recording):
    stops = [(512, 384, 60), (100, 200, 80), (900, 700, 40), (300.5, 20.25, 50)]
    found = judd_fixations(recording(*stops))
    assert found.tolist() == [[x, y] for x, y, _ in stops]
    assert found.dtype == np.float64


def test_a_fixation_is_the_median_of_its_samples_and_blind_to_some_that_are_missing(recording):
    gaze = recording((100, 100, 60), (500, 300, 61))
    rng = np.random.default_rng(0)
    noisy = gaze + rng.uniform(-0.5, 0.5, gaze.shape)
    noisy[20:23, 0] = np.nan
    np.testing.assert_allclose(judd_fixations(noisy), [(100, 100), (500, 300)], atol=0.2)
    assert np.isnan(judd_fixations(np.full((60, 2), np.nan))).all()


@pytest.mark.parametrize("samples", [1, 2, 6, 7, 60, 724])
def test_who_does_not_move_has_one_fixation(recording, samples):
    assert judd_fixations(recording((40, 50, samples))).tolist() == [[40, 50]]


def test_slow_drift_is_no_saccade():
    gaze = np.stack([np.linspace(0, 300, 300), np.full(300, 7.0)], axis=1)
    assert judd_fixations(gaze).tolist() == [[150, 7]]


@pytest.mark.parametrize(("between", "found"), [(8, 2), (40, 3)])
def test_a_short_stop_on_the_way_is_no_fixation(recording, between, found):
    gaze = recording((100, 100, 60), (300, 300, between), (500, 500, 60))
    assert len(judd_fixations(gaze)) == found


@pytest.mark.parametrize(("last", "found"), [(10, 2), (40, 3)])
def test_a_short_stop_at_the_end_is_no_fixation(recording, last, found):
    gaze = recording((100, 100, 60), (300, 300, 60), (500, 500, last))
    assert judd_fixations(gaze)[:2].tolist() == [[100, 100], [300, 300]]
    assert len(judd_fixations(gaze)) == found


def test_a_recording_may_end_on_the_way():
    way = 100 + np.arange(30) ** 2
    gaze = np.concatenate([np.full((20, 2), 100.0), np.stack([way, way], axis=1)])
    assert judd_fixations(gaze).tolist() == [[100, 100]]


def test_fixations_are_those_of_judds_code():
    """As the published checkFixations.m, run by Octave 7.3, finds them in this gaze."""
    k = np.arange(724)
    x = 500 + 300 * np.sign(np.sin(k / 40)) + 90 * np.sin(k / 7) + 40 * np.sign(np.sin(k / 11.3))
    y = 400 + 200 * np.sign(np.cos(k / 61)) + 25 * np.cos(k / 3)
    expected = [
        *((898.957011, 597.606911), (808.866371, 595.127233), (201.875426, 204.220001)),
        *((304.294709, 201.759279), (733.000947, 595.199848), (215.437353, 600.436044)),
        *((905.548974, 186.498325), (756.766908, 194.168541), (94.064546, 598.255222)),
    ]
    np.testing.assert_allclose(judd_fixations(np.stack([x, y], axis=1)), expected, atol=1e-5)


# MIT1003's files


def test_an_observers_file_gives_all_fixations_but_the_first(tmp_path, recording, write_judd_mat):
    stops = [(512, 384, 60), (100, 200, 80), (-30, 700, 40), (300.5, 20.25, 50)]
    for compressed in (False, True):
        path = write_judd_mat(tmp_path / "a.mat", recording(*stops), do_compression=compressed)
        assert read_judd_mat(path).tolist() == [[100, 200], [-30, 700], [300.5, 20.25]]
    with_times = np.column_stack([recording(*stops), np.arange(248)])
    assert len(read_judd_mat(write_judd_mat(tmp_path / "b.mat", with_times))) == 3
    assert read_judd_mat(write_judd_mat(tmp_path / "c.mat", np.zeros((0, 0)))).shape == (0, 2)
    still = write_judd_mat(tmp_path / "d.mat", recording((5, 5, 60)))
    assert read_judd_mat(still).shape == (0, 2)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"a": 1, "b": 2},
        {"a": "text"},
        {"a": {"DATA": 3}},
        {"a": {"DATA": {"eyeData": "text"}}},
        {"a": {"DATA": {"eyeData": np.ones((5, 1))}}},
        {"a": {"DATA": {"eyeData": np.ones((5, 2, 2))}}},
    ],
)
def test_another_mat_file_than_mit1003s_is_refused(tmp_path, content):
    scipy.io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(ValueError, match=r"a\.mat: not an eye tracking file of MIT1003's"):
        read_judd_mat(tmp_path / "a.mat")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_broken_file_of_mit1003_is_named(
    tmp_path, recording, write_judd_mat, broken_mats, compressed
):
    gaze = recording((512, 384, 60), (100, 200, 80))
    path = write_judd_mat(tmp_path / "a.mat", gaze, do_compression=compressed)
    for how, content in broken_mats(path.read_bytes()).items():
        if how == "flipped byte" and not compressed:
            continue  # it has no check sum
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.mat: not an eye tracking file of MIT1003's"):
            read_judd_mat(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.mat: no such file"):
        read_judd_mat(path)


def test_mit1003(tmp_path, recording, write_image, write_judd_mat):
    for name in ("b", "a"):
        write_image(tmp_path / "ALLSTIMULI" / f"{name}.jpeg", (600, 800))
        write_image(tmp_path / "ALLFIXATIONMAPS" / f"{name}_fixMap.jpg", (600, 800), 9)
        write_image(tmp_path / "ALLFIXATIONMAPS" / f"{name}_fixPts.jpg", (600, 800), 255)
        for observer, x in (("zb", 700), ("CNG", 100), ("ajs", 900)):
            gaze = recording((400, 300, 60), (x, 200, 60), (50, 50, 60))
            write_judd_mat(tmp_path / "DATA" / observer / f"{name}.mat", gaze)
    (tmp_path / "DATA" / "shuff_stimnames.mat").write_bytes(b"")
    (tmp_path / "DATA" / ".DS_Store").write_bytes(b"")
    a, b = read_mit1003(tmp_path)["all"]
    assert (a.image.name, b.image.name) == ("a.jpeg", "b.jpeg")
    assert a.density == tmp_path / "ALLFIXATIONMAPS" / "a_fixMap.jpg"
    points, observer, dropped = a.read_gaze()
    assert points.tolist() == [[100, 200], [50, 50], [50, 50], [700, 200], [50, 50]]
    assert observer.tolist() == [0, 0, 1, 2, 2], "in the order of their names, CNG, ajs, zb"
    assert dropped == 1
    (tmp_path / "DATA" / "ajs" / "a.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"DATA/ajs/a\.mat: no such file"):
        a.read_gaze()


def test_mit1003_without_its_recordings(tmp_path, write_image, write_mask):
    write_image(tmp_path / "ALLSTIMULI" / "a.jpeg", (60, 80))
    with pytest.raises(FileNotFoundError, match=r"has neither DATA/ with its observers nor ALLFIX"):
        read_mit1003(tmp_path)
    # A pixel a fixation, on black, spoilt by JPEG.
    places = ([5, 30, 55], [70, 3, 40])
    write_mask(tmp_path / "ALLFIXATIONMAPS" / "a_fixPts.jpg", (60, 80), places)
    write_mask(tmp_path / "ALLFIXATIONMAPS" / "a_fixMap.jpg", (60, 80))
    (a,) = read_mit1003(tmp_path)["all"]
    points, observer, _ = a.read_gaze()
    assert points.tolist() == [[70, 5], [3, 30], [40, 55]]
    assert observer is None


# Maps


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float64])
def test_a_map_has_points_where_it_is_above_0(dtype):
    looked = np.zeros((4, 6), dtype)
    looked[1, 5] = looked[3, 0] = 1
    if dtype is np.float64:
        looked[0, 0], looked[0, 1] = np.nan, -1
    assert map_points(looked).tolist() == [[5, 1], [0, 3]]
    assert map_points(looked, (4, 6)).dtype == np.float64
    with pytest.raises(ValueError, match=r"the fixation map is 6x4, its image 4x6"):
        map_points(looked, (6, 4))


# Cells


def looked_at(*points, size=(6, 8)):
    looked = np.zeros(size, np.uint8)
    for x, y in points:
        looked[y, x] = 1
    return looked


@pytest.mark.parametrize("row", [False, True])
@pytest.mark.parametrize("name", ["mine.mat", "mine-7.3.mat"])
def test_torontos_cells_are_maps(tmp_path, write_cells_mat, name, row):
    cells = [looked_at((1, 2), (7, 5)), looked_at((0, 0)), looked_at()]
    path = write_cells_mat(tmp_path / name, "white", cells, row)
    sizes = []
    found = list(read_cells_mat(path, lambda number: sizes.append(number) or (6, 8)))
    assert [points.tolist() for points, _ in found] == [[[1, 2], [7, 5]], [[0, 0]], []]
    assert [observer for _, observer in found] == [None] * 3
    assert sizes == [1, 2, 3]


@pytest.mark.parametrize("row", [False, True])
@pytest.mark.parametrize("name", ["mine.mat", "mine-7.3.mat"])
def test_pascal_s_cells_are_rows_of_y_x_and_observer(tmp_path, write_cells_mat, name, row):
    cells = [[(3, 2, 5), (6, 8, 5), (1, 1, 2)], np.zeros((0, 0)), [(4, 4, 1)]]
    path = write_cells_mat(tmp_path / name, "fixCell", cells, row)
    (first, who), (none, nobody), (last, _) = read_cells_mat(path, lambda number: None)
    assert first.tolist() == [[1, 2], [7, 5], [0, 0]], "they count from 1"
    assert who.tolist() == [1, 1, 0]
    assert (none.shape, nobody.shape) == ((0, 2), (0,))
    assert last.tolist() == [[3, 3]]


def test_a_cell_that_does_not_fit_is_named(tmp_path, write_cells_mat):
    path = write_cells_mat(tmp_path / "a.mat", "white", [looked_at(), looked_at(size=(8, 6))])
    with pytest.raises(ValueError, match=r"a\.mat: .*cell 2: the fixation map is 6x8, its image 8"):
        list(read_cells_mat(path, lambda number: (6, 8)))
    for cells in ([np.ones((3, 2))], [np.ones((3, 4))], ["text"]):
        path = write_cells_mat(tmp_path / "b.mat", "fixCell", cells)
        with pytest.raises(ValueError, match=r"b\.mat: not a file of fixations, a cell an image"):
            list(read_cells_mat(path, lambda number: None))
    scipy.io.savemat(tmp_path / "c.mat", {"other": 1})
    with pytest.raises(ValueError, match=r"c\.mat: not a file of fixations, a cell an image"):
        list(read_cells_mat(tmp_path / "c.mat", lambda number: None))


@pytest.mark.parametrize("name", ["mine.mat", "mine-7.3.mat"])
def test_a_broken_file_of_cells_is_named(tmp_path, write_cells_mat, broken_mats, name):
    path = write_cells_mat(tmp_path / name, "white", [looked_at((1, 2))] * 9)
    for how, content in broken_mats(path.read_bytes()).items():
        if how in ("flipped byte", "end missing"):
            continue  # it has no check sum, or what is missing is not read
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine.*\.mat: not a file of fixations, a cell an"):
            list(read_cells_mat(path, lambda number: None))
