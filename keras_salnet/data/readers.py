"""Layouts on disk → samples. One function a layout: folder → {split: list of `Sample`}."""

import csv
import dataclasses
import logging
from pathlib import Path

import numpy as np

from keras_salnet.data.sample import (
    Sample,
    gaze_inside,
    image_size_if_readable,
    join_observers,
    open_mat,
)

logger = logging.getLogger(__name__)

# What OpenCV and TensorFlow both decode.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


def list_images(folder):
    """Image files of a folder, sorted by name.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no image.
    """
    folder = Path(folder)
    images = [path for path in _visible(folder) if _is_image(path)]
    if not images:
        raise FileNotFoundError(f"{folder}: holds no image ({', '.join(IMAGE_ENDINGS)}).")
    return images


def _visible(folder):
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder.")
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def _is_image(path):
    return path.suffix.lower() in IMAGE_ENDINGS and path.is_file()


def read_stimuli_eye(folder):
    """The layout of OSIE and its family: ``stimuli/`` and ``eye/fixations.mat``.

    The file holds, for each image, its name and each observer's fixations, in 0-based pixels of
    the stored image. Points outside the image are dropped and counted, in the samples and the log.

    Args:
        folder: the dataset's folder.

    Returns:
        ``{"all": samples}`` in the order of the file names: the layout knows no splits.

    Raises:
        FileNotFoundError, ValueError: the file is missing or not of this layout.
    """
    folder = Path(folder)
    images = list_images(folder / "stimuli")
    path = folder / "eye" / "fixations.mat"
    gaze = {folder / "stimuli" / name: points for name, points in _read_fixations_mat(path)}
    return {"all": _samples_of_gaze(images, gaze, path)}


def _samples_of_gaze(images, gaze, source):
    """A sample for each image and for each key of gaze: image → (points, observer)."""
    samples = []
    for image in sorted({*images, *gaze}):
        points, observer = gaze.get(image, (None, None))
        dropped = 0
        if points is not None and (size := image_size_if_readable(image)):
            points, observer, dropped = gaze_inside(points, observer, size)
        samples.append(Sample(image, fixations=points, observer=observer, dropped=dropped))
    if dropped := sum(sample.dropped for sample in samples):
        logger.warning("%s: %d fixations lie outside their image and are dropped.", source, dropped)
    return samples


def _read_fixations_mat(path):
    """Yield (image name, (points, observer))."""
    kind = (
        "a fixations.mat of OSIE's family (a cell array `fixations` of `img` and `subjects` with "
        "`fix_x` and `fix_y`)"
    )
    with open_mat(path, kind) as mat:
        for cell in mat["fixations"].ravel():
            record = cell[0, 0]
            subjects = [_points(subject[0, 0]) for subject in record["subjects"].ravel()]
            yield str(record["img"].item()), join_observers(subjects)


def _points(subject):
    # Files of this family store what fits: uint8 would overflow in the first sum.
    x, y = (np.asarray(subject[k], np.float64).ravel() for k in ("fix_x", "fix_y"))
    return np.stack([x, y], axis=1)


def read_folders(folder, images="images", maps="maps", fixations="fixations"):
    """Images, density maps and fixations in folders of their own, as SALICON and many others.

    A map has its image's name, but for the ending. Fixations are one file an image too: a fixation
    map (an image, non-zero where somebody looked) or SALICON's ``.mat``; or all in one CSV table,
    ``fixations.csv``, with the columns ``image`` (its path below `images`), ``x``, ``y`` (0-based
    pixels) and, where known, ``observer``. Maps or fixations may be missing altogether. Each of
    the folders may be divided by split (``images/train``, ``maps/train``, …).

    Args:
        folder: the dataset's folder.
        images, maps, fixations: names of the folders, or of the table.

    Returns:
        ``{split: samples}`` for the splits that have ground truth, or ``{"all": samples}`` of
        undivided folders, in the order of the file names. The file of an image that lacks its
        partner is expected as ``.png``; `keras_salnet.data.check` finds that it is not there.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: two files would be partners of the same image, or the table is not such a one,
            or a split is called ``all``.
    """
    folder = Path(folder)
    images, maps, fixations = folder / images, folder / maps, folder / fixations
    table = fixations if fixations.suffix == ".csv" else fixations.with_suffix(".csv")
    if not (maps.is_dir() or fixations.is_dir() or table.is_file()):
        raise FileNotFoundError(
            f"{folder}: has neither {maps.name}/, {fixations.name}/ nor {table}."
        )
    if fixations.is_dir() and table.is_file():
        raise ValueError(
            f"{table} and the folder {fixations.name}/ exclude each other; remove one."
        )
    inside = _visible(images)
    flat = any(map(_is_image, inside))
    splits = [] if flat else [path.name for path in inside if path.is_dir()]
    gaze = _read_table(table, images, splits) if table.is_file() else {}
    samples = {}
    for split in splits or ["."]:
        files = list_images(images / split)
        _by_stem(files)  # refuses two images that would share their maps
        looks = {image: gaze[image] for image in gaze if image.parent == images / split}
        here = _samples_of_gaze(files, looks, table)
        for kind, place in (("density", maps / split), ("fixations", fixations / split)):
            here = _with_partners(here, kind, place)
        if any(sample.density or sample.fixations is not None for sample in here):
            samples[split] = here  # SALICON's test split keeps its ground truth to itself
    if not samples:
        raise ValueError(f"{folder}: of no image a map or a fixation is known.")
    if "all" in samples:
        raise ValueError(
            f"{images / 'all'}: all means every split; rename this one, also where its maps and "
            "fixations are."
        )
    return {"all": samples["."]} if flat else samples


def _with_partners(samples, kind, folder):
    """The samples with their file in `folder` as their `kind`, where there is such a folder."""
    if not folder.is_dir():
        return samples
    files = _visible(folder)
    partners = _by_stem(filter(_is_image, files))
    if kind == "fixations":  # points tell more than a map of them
        partners |= _by_stem(path for path in files if path.suffix.lower() == ".mat")
    lonely = sorted(partners.keys() - {sample.name for sample in samples})
    if lonely:
        logger.warning("%s: %d files belong to no image: %s", folder, len(lonely), some(lonely))
    return [
        dataclasses.replace(
            sample, **{kind: partners.get(sample.name, folder / f"{sample.name}.png")}
        )
        for sample in samples
    ]


def some(names):
    """The first few names of a list, for a message."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _by_stem(files):
    partners = {}
    for path in files:
        other = partners.setdefault(path.stem, path)
        if other != path:
            raise ValueError(f"{other} and {path.name} differ in their ending only; remove one.")
    return partners


def _read_table(path, images, splits):
    """A table of fixations → image → (points, observer)."""
    looks = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = {"image", "x", "y"} - set(table.fieldnames or ())
            if missing:
                raise ValueError(
                    f"has no column {' and no column '.join(sorted(missing))}; its first line must "
                    "name the columns image, x, y and, where known, observer."
                )
            for row in table:
                try:
                    name, *look = _read_row(row, splits)
                except ValueError as error:
                    raise ValueError(f"line {table.line_num}: {error}") from None
                looks.setdefault(images / name, []).append(look)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from None
    gaze = {}
    for image, rows in looks.items():
        points, observers = zip(*rows, strict=True)
        known = None not in observers
        gaze[image] = (
            np.array(points),
            np.unique(observers, return_inverse=True)[1] if known else None,
        )
    return gaze


def _read_row(row, splits):
    """A row of the table → (image, (x, y), observer or None)."""
    name = Path(row["image"] or "")
    if len(name.parts) != 1 + bool(splits) or (splits and name.parts[0] not in splits):
        wanted = f"{splits[0]}/{name.name}" if splits else "photo.jpg"
        raise ValueError(f"image must be its path below images, as {wanted}, not {str(name)!r}.")
    try:
        point = float(row["x"]), float(row["y"])
    except (TypeError, ValueError):
        raise ValueError(f"x and y must be numbers, not {row['x']!r} and {row['y']!r}.") from None
    return name, point, row.get("observer") or None


# Which of these files, one of each group, show that a folder has a layout, and its reader.
LAYOUTS = {
    "stimuli_eye": ((("stimuli",), ("eye/fixations.mat",)), read_stimuli_eye),
    "folders": ((("images",), ("maps", "fixations", "fixations.csv")), read_folders),
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
        if all(any((folder / mark).exists() for mark in group) for group in marks):
            return layout
    wanted = "; ".join(
        f"{layout}: {' + '.join(' or '.join(group) for group in marks)}"
        for layout, (marks, _) in LAYOUTS.items()
    )
    raise ValueError(f"{folder}: has none of the known layouts ({wanted}).")
