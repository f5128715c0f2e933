"""Layouts on disk → samples. One function a layout: folder → {split: list of `Sample`}."""

import dataclasses
import logging
from pathlib import Path

from keras_salnet.data.gaze import read_cells_mat, read_osie_mat, read_table
from keras_salnet.data.sample import Sample, gaze_inside
from keras_salnet.images.files import image_size_if_readable

logger = logging.getLogger(__name__)

# What OpenCV and TensorFlow both decode.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


def list_images(folder):
    """Image files of a folder, sorted by name.

    Raises:
        FileNotFoundError: no such folder, or it holds no image.
    """
    folder = Path(folder)
    images = [path for path in _visible(folder) if _is_image(path)]
    if not images:
        raise FileNotFoundError(f"{folder}: holds no image ({', '.join(IMAGE_ENDINGS)}).")
    return images


def _visible(folder):
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
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
    gaze = {folder / "stimuli" / name: points for name, points in read_osie_mat(path)}
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


def read_mit1003(folder):
    """The layout of MIT1003: ``ALLSTIMULI/``, and ``DATA/`` or ``ALLFIXATIONMAPS/`` or both.

    ``DATA/OBSERVER/IMAGE.mat`` is what each observer's eye did (`gaze.read_judd_mat`). Where it is
    missing, fixations are read from ``ALLFIXATIONMAPS/IMAGE_fixPts.jpg``, without their observers.
    ``ALLFIXATIONMAPS/IMAGE_fixMap.jpg`` is a density map.

    Args:
        folder: the dataset's folder.

    Returns:
        ``{"all": samples}`` in the order of the file names: the layout knows no splits.

    Raises:
        FileNotFoundError: there are no images, or neither of the other folders.
    """
    folder = Path(folder)
    maps, data = folder / "ALLFIXATIONMAPS", folder / "DATA"
    observers = [path for path in _visible(data) if path.is_dir()] if data.is_dir() else []
    if not (observers or maps.is_dir()):
        raise FileNotFoundError(f"{folder}: has neither DATA/ with its observers nor {maps.name}/.")
    samples = []
    for image in list_images(folder / "ALLSTIMULI"):
        density, points = (maps / f"{image.stem}_{kind}.jpg" for kind in ("fixMap", "fixPts"))
        gaze = tuple(observer / f"{image.stem}.mat" for observer in observers)
        samples.append(Sample(image, density if maps.is_dir() else None, gaze or points))
    return {"all": samples}


def read_folders(folder, images="images", maps=None, fixations=None, masks=None):
    """Images, density maps, fixations and masks in folders of their own, as of SALICON and DUTS.

    A map or mask has its image's name, but for the ending. Fixations are one file an image too: a
    fixation map (an image, non-zero where somebody looked), SALICON's or CAT2000's ``.mat``; or
    all in one file: a CSV table, ``fixations.csv``, with the columns ``image`` (its path below
    `images`), ``x``, ``y`` (0-based pixels) and, where known, ``observer``; or Toronto's or
    PASCAL-S's ``.mat``, whose n-th cell is of the image named n. All but the images may be
    missing. Each of the folders may be divided by split (``images/train``, ``maps/train``, …).

    Args:
        folder: the dataset's folder.
        images, maps, fixations, masks: other names of the folders, or of the file of fixations;
            what is named must be there.

    Returns:
        ``{split: samples}`` for the splits that have ground truth, or ``{"all": samples}`` of
        undivided folders, in the order of the file names. The file of an image that lacks its
        partner is expected with the ending of the others; `keras_salnet.data.check` finds that it
        is not there.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: two files would be partners of the same image, or the file of fixations is not
            such a one, or a split is called ``all``.
    """
    folder = Path(folder)
    named = {"maps": maps, "fixations": fixations, "masks": masks}
    images = folder / images
    maps, fixations, masks = (folder / (name or kind) for kind, name in named.items())
    table = fixations if fixations.suffix in (".csv", ".mat") else fixations.with_suffix(".csv")
    there = {
        "maps": maps.is_dir(),
        "fixations": fixations.is_dir() or table.is_file(),
        "masks": masks.is_dir(),
    }
    inside = _visible(images)
    for kind, name in named.items():
        if name is not None and not there[kind]:
            raise FileNotFoundError(f"{folder / name}: is not there, where {kind} should be.")
    if not any(there.values()):
        raise FileNotFoundError(
            f"{folder}: has neither {maps.name}/, {fixations.name}/, {masks.name}/ nor {table}."
        )
    if fixations.is_dir() and table.is_file():
        raise ValueError(
            f"{table} and the folder {fixations.name}/ exclude each other; remove one."
        )
    flat = any(map(_is_image, inside))
    splits = [] if flat else [path.name for path in inside if path.is_dir()]
    gaze = _read_gaze(table, images, splits)
    samples = {}
    for split in splits or ["."]:
        files = list_images(images / split)
        _by_stem(files)  # refuses two images that would share their maps
        looks = {image: gaze[image] for image in gaze if image.parent == images / split}
        here = _samples_of_gaze(files, looks, table)
        for kind, place in (("density", maps), ("fixations", fixations), ("mask", masks)):
            here = _with_partners(here, kind, place / split)
        if any(s.density or s.mask or s.fixations is not None for s in here):
            samples[split] = here  # SALICON's test split keeps its ground truth to itself
    if not samples:
        raise ValueError(f"{folder}: no image has a map, a fixation or a mask.")
    if "all" in samples:
        raise ValueError(
            f"{images / 'all'}: all means every split; rename this one, also where its maps and "
            "fixations are."
        )
    return {"all": samples["."]} if flat else samples


def _read_gaze(path, images, splits):
    """The file of all images' fixations, if there is one → image → (points, observer)."""
    if not path.is_file():
        return {}
    if path.suffix == ".csv":
        return read_table(path, images, splits)
    named = _by_stem(list_images(images))

    def image(number):
        return named.get(str(number), images / f"{number}.jpg")

    cells = read_cells_mat(path, lambda number: image_size_if_readable(image(number)))
    return {image(number): cell for number, cell in enumerate(cells, start=1)}


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
    ending = next((path.suffix for path in partners.values()), ".png")
    return [
        dataclasses.replace(
            sample, **{kind: partners.get(sample.name, folder / f"{sample.name}{ending}")}
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


def read_pairs(folder, pairs="pairs.txt"):
    """A text file with a line for each image: its path and its mask's, as PFA is trained on.

    Args:
        folder: what the paths in the file are relative to, but for absolute ones.
        pairs: name of the file, UTF-8. Between the two paths is a blank, or, where paths have
            blanks, a tab.

    Returns:
        ``{"all": samples}`` in the order of the lines.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is not a pair, an image stands twice, or there is no line.
    """
    folder = Path(folder)
    path = folder / pairs
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    samples = {}
    try:
        for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), start=1):
            if not line.strip():
                continue
            names = [name.strip() for name in line.split("\t" if "\t" in line else None)]
            if len(names) != 2 or not all(names):
                raise ValueError(
                    f"line {number}: must be an image and its mask, a tab between them where their "
                    f"names have blanks, not {line!r}."
                )
            image, mask = (folder / name for name in names)
            if image in samples:
                raise ValueError(f"line {number}: {image} is repeated from an earlier line.")
            samples[image] = Sample(image, mask=mask)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not samples:
        raise ValueError(f"{path}: lists no pair of an image and its mask.")
    return {"all": list(samples.values())}


# Which of these files, one of each group, show that a folder has a layout, and its reader.
LAYOUTS = {
    "stimuli_eye": ((("stimuli",), ("eye/fixations.mat",)), read_stimuli_eye),
    "mit1003": ((("ALLSTIMULI",), ("DATA", "ALLFIXATIONMAPS")), read_mit1003),
    "folders": ((("images",), ("maps", "fixations", "fixations.csv", "masks")), read_folders),
    "pairs": ((("pairs.txt",),), read_pairs),
}


def detect_layout(folder):
    """Name of the layout a folder has.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it matches none of the known layouts.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    for layout, (marks, _) in LAYOUTS.items():
        if all(any((folder / mark).exists() for mark in group) for group in marks):
            return layout
    wanted = "; ".join(
        f"{layout}: {' + '.join(' or '.join(group) for group in marks)}"
        for layout, (marks, _) in LAYOUTS.items()
    )
    raise ValueError(f"{folder}: matches none of the known layouts ({wanted}).")
