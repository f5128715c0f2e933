"""Small datasets on disk, written as the public ones are laid out."""

import cv2
import numpy as np
import pytest

from keras_salnet.data import Sample


def cell(items):
    """What scipy.io.savemat writes as an (n, 1) cell array."""
    array = np.empty((len(items), 1), object)
    array[:, 0] = items
    return array


@pytest.fixture
def write_image():
    def write(path, size=(6, 8), value=0):
        """An image of one grey level."""
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
        return path

    return write


@pytest.fixture
def write_mask():
    def write(path, size=(6, 8), inside=(slice(1, 4), slice(2, 5)), white=255):
        """A mask that is white inside these slices."""
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros(size, np.uint8)
        mask[inside] = white
        assert cv2.imwrite(str(path), mask)
        return path

    return write


@pytest.fixture
def write_fixations_mat():
    import scipy.io

    def write(path, records, dtype=np.float64, **options):
        """OSIE's file: (image name, [an observer's (k, 2) points, …]) for each image."""
        cells = []
        for name, observers in records:
            subjects = []
            for points in observers:
                x, y = np.asarray(points).reshape(-1, 2).T.astype(dtype)
                subjects.append({"fix_x": [x], "fix_y": [y], "fix_duration": [np.ones_like(x)]})
            cells.append({"img": name, "subjects": cell(subjects)})
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, {"fixations": cell(cells)}, **options)
        return path

    return write


@pytest.fixture
def write_osie(write_image, write_fixations_mat):
    def write(folder, records, size=(6, 8), dtype=np.float64):
        """stimuli/ and eye/fixations.mat of these records, every image of one size."""
        for name, _ in records:
            write_image(folder / "stimuli" / name, size)
        write_fixations_mat(folder / "eye" / "fixations.mat", records, dtype)
        return folder

    return write


@pytest.fixture
def write_folders(write_image):
    def write(folder, splits, kinds=("maps", "fixations"), size=(6, 8)):
        """images/, maps/ and fixations/ of split → names; "." is no split, test has images only."""
        for split, names in splits.items():
            for number, name in enumerate(names):
                write_image(folder / "images" / split / f"{name}.jpg", size)
                for kind in () if split == "test" else kinds:
                    truth = np.zeros(size, np.uint8)
                    truth[2, number % size[1]] = 255
                    path = folder / kind / split / f"{name}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    assert cv2.imwrite(str(path), truth)
        return folder

    return write


@pytest.fixture
def write_gaze_mat():
    import scipy.io

    def write(path, observers, dtype=np.float64, **options):
        """SALICON's file: each observer's 1-based (k, 2) fixations, beside the mouse's path."""
        fields = ("location", "timestamp", "fixations")
        gaze = np.empty((len(observers), 1), [(name, object) for name in fields])
        for record, points in zip(gaze[:, 0], observers, strict=True):
            record["location"] = np.full((7, 2), 3.5)
            record["timestamp"] = np.arange(7.0)[:, None]
            # MATLAB's [] has neither rows nor columns.
            record["fixations"] = np.array(points, dtype) if len(points) else np.zeros((0, 0))
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"image": path.stem, "resolution": [[480, 640]], "gaze": gaze}
        scipy.io.savemat(path, content, **options)
        return path

    return write


@pytest.fixture
def recording():
    def record(*stops, jump=6):
        """Gaze that stands still at each (x, y, samples) and moves on within `jump` samples."""
        parts = []
        for x, y, samples in stops:
            place = np.array([x, y], float)
            if parts:
                way = np.linspace(0, 1, jump + 2)[1:-1, None]
                way = way * way * (3 - 2 * way)  # speeds up, then slows down
                parts.append(parts[-1][-1] + way * (place - parts[-1][-1]))
            parts.append(np.tile(place, (samples, 1)))
        return np.concatenate(parts)

    return record


@pytest.fixture
def write_judd_mat():
    import scipy.io

    def write(path, gaze, **options):
        """MIT1003's file: (n, 2) samples of one observer's gaze, in a variable of its name."""
        data = {"eyeData": np.array(gaze, np.float64), "startTime": 1.5}
        content = {"imgName": f"{path.stem}.jpeg", "DATA": data}
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, {path.stem[:31]: content}, **options)
        return path

    return write


@pytest.fixture
def write_cells_mat():
    import h5py
    import scipy.io

    def write(path, name, cells, row=False):
        """A cell array of this name, (n, 1) or (1, n); of MATLAB 7.3 if the path says so."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if "7.3" not in path.name:
            array = cell(cells)
            scipy.io.savemat(path, {name: array.T if row else array})
            return path
        with h5py.File(path, "w", userblock_size=512) as file:
            references = []
            for number, content in enumerate(cells):
                content = np.asarray(content, np.float64)
                empty = content.size == 0
                stored = np.array(content.shape, np.uint64) if empty else content.T
                item = file.create_dataset(f"#refs#/{number}", data=stored)
                if empty:
                    item.attrs["MATLAB_empty"] = np.uint8(1)
                references.append(item.ref)
            array = np.array(references, h5py.ref_dtype)
            file.create_dataset(name, data=array[:, None] if row else array[None])
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
        return path

    return write


@pytest.fixture
def broken_mats():
    def broken(whole):
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

    return broken


@pytest.fixture(scope="session")
def numbered(tmp_path_factory):
    """Seven samples, each an image of its own grey level: 0, 10, 20, …"""
    folder = tmp_path_factory.mktemp("numbered")
    samples = []
    for number in range(7):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.full((6, 8, 3), 10 * number, np.uint8))
        samples.append(Sample(path, fixations=np.array([[number, 3.0]]), sigma=1.5))
    return samples
