"""Layouts on disk → samples. One function a layout: (folder, sigma) → list of `Sample` a split."""

import logging
from pathlib import Path

import numpy as np

from keras_salnet.data.sample import Sample, image_size

logger = logging.getLogger(__name__)

# What OpenCV and TensorFlow both decode.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


def list_images(folder):
    """Image files of a folder, sorted by name.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder.")
    images = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_ENDINGS and path.is_file() and path.name[0] != "."
    )
    if not images:
        raise FileNotFoundError(f"{folder}: holds no image ({', '.join(IMAGE_ENDINGS)}).")
    return images


def read_stimuli_eye(folder, sigma):
    """The layout of OSIE and its family: ``stimuli/`` and ``eye/fixations.mat``.

    The file holds, for each image, its name and each observer's fixations, in 0-based pixels of
    the stored image. Points outside the image are dropped and counted in the log.

    Args:
        folder: the dataset's folder.
        sigma: of the Gaussian that makes the densities, in pixels.

    Returns:
        ``{"all": samples}`` in the order of the file names: the layout knows no splits.

    Raises:
        FileNotFoundError, ValueError: a file is missing or not of this layout.
    """
    folder = Path(folder)
    images = {path.name: path for path in list_images(folder / "stimuli")}
    path = folder / "eye" / "fixations.mat"
    samples, dropped = [], 0
    for name, observers in _read_fixations_mat(path):
        if name not in images:
            raise FileNotFoundError(f"{path} speaks of {name}, which is not in {folder}/stimuli.")
        points = np.concatenate([np.zeros((0, 2)), *observers])
        observer = np.repeat(np.arange(len(observers)), [len(p) for p in observers])
        inside = points_inside(points, image_size(images[name]))
        dropped += int(np.sum(~inside))
        samples.append(
            Sample(
                image=images[name],
                fixations=points[inside],
                observer=observer[inside],
                sigma=sigma,
            )
        )
    if dropped:
        logger.warning("%s: %d fixations lie outside their image and are dropped.", path, dropped)
    return {"all": sorted(samples, key=lambda sample: sample.image.name)}


def points_inside(points, size):
    """(n,) bool: which points (x, y) lie inside an image of (height, width); NaN does not."""
    height, width = size
    x, y = points[:, 0], points[:, 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _read_fixations_mat(path):
    """Yield (image name, list of (k, 2) points, one an observer)."""
    import scipy.io  # 0.3 s that other layouts need not wait for

    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        cells = scipy.io.loadmat(path)["fixations"].ravel()
        for cell in cells:
            record = cell[0, 0]
            subjects = [subject[0, 0] for subject in record["subjects"].ravel()]
            yield str(record["img"].item()), [_points(subject) for subject in subjects]
    except Exception as error:  # what scipy raises on a broken file has no common base
        raise ValueError(
            f"{path}: not a fixations.mat of OSIE's family (a cell array `fixations` of `img` and "
            f"`subjects` with `fix_x` and `fix_y`): {error}"
        ) from error


def _points(subject):
    # Files of this family store what fits: uint8 would overflow in the first sum.
    x, y = (np.asarray(subject[k], np.float64).ravel() for k in ("fix_x", "fix_y"))
    return np.stack([x, y], axis=1)


def read_salicon(folder, sigma):
    """SALICON's layout: ``images/``, ``maps/`` and ``fixations/``, each with a folder a split.

    Maps and fixation maps have their image's name and end in ``.png``. A split may lack its
    fixations, or its maps where it has fixations.

    Args:
        folder: the dataset's folder.
        sigma: used where a split has fixations and no maps.

    Returns:
        ``{split: samples}`` for the splits that have ground truth.

    Raises:
        FileNotFoundError: a folder or a map is missing.
    """
    folder = Path(folder)
    splits = {}
    for images in sorted(p for p in (folder / "images").iterdir() if p.is_dir()):
        split = images.name
        maps, fixations = folder / "maps" / split, folder / "fixations" / split
        if not (maps.is_dir() or fixations.is_dir()):
            continue  # SALICON's test split keeps its ground truth to itself
        splits[split] = [
            Sample(
                image=image,
                density=_partner(image, maps),
                fixations=_partner(image, fixations),
                sigma=sigma,
            )
            for image in list_images(images)
        ]
    if not splits:
        raise FileNotFoundError(f"{folder}: no split has both images and maps or fixations.")
    return splits


def _partner(image, folder):
    if not folder.is_dir():
        return None
    path = folder / f"{image.stem}.png"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {image} has no partner of this name.")
    return path


# Which files show that a folder has a layout, and its reader.
LAYOUTS = {
    "stimuli_eye": (("stimuli", "eye/fixations.mat"), read_stimuli_eye),
    "salicon": (("images", "maps"), read_salicon),
}


def detect_layout(folder):
    """Name of the layout a folder has.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has none of the known layouts.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder.")
    for layout, (marks, _) in LAYOUTS.items():
        if all((folder / mark).exists() for mark in marks):
            return layout
    wanted = "; ".join(f"{layout}: {' + '.join(marks)}" for layout, (marks, _) in LAYOUTS.items())
    raise ValueError(f"{folder}: has none of the known layouts ({wanted}).")
