"""Small datasets on disk, written as the public ones are laid out."""

import cv2
import numpy as np
import pytest


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
def write_salicon(write_image):
    def write(folder, splits, kinds=("maps", "fixations"), size=(6, 8)):
        """images/, maps/ and fixations/ of split → names; only test has nothing but images."""
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
