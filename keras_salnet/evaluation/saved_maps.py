"""Saved maps of any model, scored like those of a `Predictor`."""

import logging
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from keras_salnet.data.gaze import open_mat
from keras_salnet.data.readers import some
from keras_salnet.images.files import read_grey, read_image
from keras_salnet.parallel import in_threads

logger = logging.getLogger(__name__)

# File ending → kind, the most precise first.
_KINDS = {".npy": "NPY", ".mat": "MAT", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

# Maximum difference, of 255 levels, between the channels of a grey picture. JPEG at low quality
# stays below it; even MATLAB's bone, the colour map closest to grey, reaches twice as much.
_CHROMA_NOISE = 16

_MAX_PROBLEMS = 10  # listed in an error


class SavedMaps:
    """Maps of one model, made by any program, as files in a folder.

    An image's map is the file with the image's name and another ending, optionally with the suffix
    ``_saliency``, as written by ``keras-salnet predict``. If there are several, the most precise
    kind is used: ``.npy``, then ``.mat``, ``.png``, and ``.jpg`` or ``.jpeg``. Other files are
    ignored.

    - Pictures are grey, of 8 or 16 bits; transparency and EXIF orientation are ignored. Coloured
      ones are refused: the colours of a heat map are not values.
    - NumPy arrays hold real numbers, (H, W); axes of length 1 are ignored.
    - MATLAB files (``-v7`` or older) hold one matrix of real numbers; 1×1 variables and those of
      other types are ignored.

    Attributes: `folder`, and `name`, the folder's name, for tables.

    Args:
        folder: path of the folder; its files are listed once.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no file that could be a map.

    Example:
        >>> maps = SavedMaps("deepgaze")  # doctest: +SKIP
        >>> maps.check(dataset["test"])  # doctest: +SKIP
        >>> maps("images/photo.jpg").shape  # of deepgaze/photo.npy  # doctest: +SKIP
        (480, 640)
    """

    def __init__(self, folder):
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: no such folder.")
        self.name = Path(os.path.abspath(self.folder)).name  # of a link its own, not its target's
        self._files = {}
        for path in sorted(self.folder.iterdir()):
            if path.name[0] != "." and path.suffix.lower() in _KINDS and path.is_file():
                self._files.setdefault(path.stem, []).append(path)
        if not self._files:
            raise ValueError(f"{self.folder}: holds no map ({', '.join(_KINDS)}).")

    def __call__(self, image):
        """Read the map of an image.

        Args:
            image: path of the image, which itself is not read.

        Returns:
            (H, W) float64, the finite values as stored, of any size.

        Raises:
            FileNotFoundError: the image has no map.
            ValueError: it has several of one kind, or the file cannot be read as a map.
        """
        return _read(self._file(Path(image).stem)).astype(np.float64)

    def check(self, samples, track=None):
        """Decode the map of every sample once, before anything is scored.

        Logs the number of maps of each kind, and warns of constant maps and, where gaze is known,
        of maps rounded to 8 bits.

        Args:
            samples: list of `Sample`.
            track: function (items, description) → items, to show progress.

        Raises:
            ValueError: a sample has no map, several of one kind, or an unreadable one; or images
                share a map. The message lists up to ten problems.
        """
        images, problems = self._assign(samples)
        looks = in_threads(_look, list(images), track, f"checking {self.name}")
        problems += [look.problem for look in looks if look.problem]
        if problems:
            more = len(problems) - _MAX_PROBLEMS
            listed = [*problems[:_MAX_PROBLEMS], *([f"… and {more} more."] if more > 0 else [])]
            lines = "\n  ".join(listed)
            raise ValueError(f"{self.folder}: these maps cannot be scored:\n  {lines}")
        kinds = Counter(map(_kind, images))
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        logger.info("%s: %d maps (%s)", self.folder, len(images), counts)
        coarse = sum(look.coarse for look in looks)
        if coarse and not all(sample.has_mask_only for sample in samples):
            logger.warning(
                "%s: %d of %d maps have 8 bits per value: KL and IG punish values rounded to 0 "
                "without bound. Save floats, as .npy, if you can.",
                self.folder,
                coarse,
                len(images),
            )
        constant = [path.name for path, look in zip(images, looks, strict=True) if look.constant]
        if constant:
            logger.warning(
                "%s: %d of %d maps are constant and predict nothing: %s",
                self.folder,
                len(constant),
                len(images),
                some(constant),
            )

    def _assign(self, samples):
        """(Map's path → set of its images, list of problems)."""
        missing, problems, images = [], [], {}
        for sample in samples:
            try:
                images.setdefault(self._file(sample.name), set()).add(sample.image)
            except FileNotFoundError:
                missing.append(sample.name)
            except ValueError as error:
                problems.append(str(error))
        if missing:
            problems.append(
                f"{len(missing)} of {len(samples)} images have no map: {some(missing)}; name each "
                "map like its image, such as NAME.npy or NAME_saliency.png."
            )
        for path, sharing in images.items():
            if len(sharing) > 1:
                problems.append(
                    f"{path}: is the map of {' and '.join(map(str, sorted(sharing)))}; give the "
                    "images different names."
                )
        return images, problems

    def _file(self, stem):
        """Path of the map of the image with this stem; raises like `__call__`."""
        files = [*self._files.get(stem, ()), *self._files.get(f"{stem}_saliency", ())]
        for kind in _KINDS.values():
            of_kind = [path for path in files if _kind(path) == kind]
            if len(of_kind) > 1:
                raise ValueError(
                    f"{of_kind[0]} and {of_kind[1].name} are both maps of {stem}; remove one."
                )
            if of_kind:
                return of_kind[0]
        raise FileNotFoundError(
            f"{self.folder}: has no map of {stem}, such as {stem}.npy or {stem}_saliency.png."
        )


def _kind(path):
    return _KINDS[path.suffix.lower()]


class _Look(NamedTuple):
    """A map's problem or None, whether it has 8 bits per value, and whether it is constant."""

    problem: str | None
    coarse: bool = False
    constant: bool = False


def _look(path):
    try:
        values = _read(path)
    except (OSError, ValueError) as error:
        return _Look(str(error))
    return _Look(None, values.dtype.itemsize == 1, values.min() == values.max())


def _read(path):
    """A map as stored: (H, W) finite real numbers of any type, not empty."""
    values = {"NPY": _read_npy, "MAT": _read_mat}.get(_kind(path), _read_picture)(path)
    if values.size == 0:
        raise ValueError(f"{path}: the map is empty, of shape {values.shape}.")
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise ValueError(
            f"{path}: {bad} of {values.size} values are NaN or infinite; all must be finite."
        )
    return values


def _read_picture(path):
    red, green, blue = cv2.split(read_image(path))
    if max(cv2.absdiff(red, green).max(), cv2.absdiff(blue, green).max()) > _CHROMA_NOISE:
        raise ValueError(
            f"{path}: is in colour, perhaps a drawn heat map; save the values themselves, in "
            "grey or as .npy."
        )
    return read_grey(path)


def _read_npy(path):
    with path.open("rb") as file:
        try:
            values = np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # what NumPy raises on a broken file has no common base
            raise ValueError(
                f"{path}: cannot be read as an array of numbers: {error}; save it again with "
                "np.save, as floats."
            ) from error
    if not _is_real(values):
        raise ValueError(f"{path}: holds {values.dtype}; a map needs real numbers.")
    matrix = values if values.ndim == 2 else values.squeeze()
    if matrix.ndim != 2:
        raise ValueError(
            f"{path}: has shape {values.shape}; it must be one map of one image, (H, W)."
        )
    return matrix


def _read_mat(path):
    with open_mat(path, "a readable MATLAB file (save it with -v7)") as variables:
        names = [name for name in variables if not name.startswith("__")]  # those are scipy's
    matrices = [name for name in names if _is_matrix(variables[name])]
    if len(matrices) != 1:
        raise ValueError(
            f"{path}: must hold one matrix of real numbers larger than 1×1, the map; it holds "
            f"{len(matrices)} (variables: {', '.join(names) or 'none'}). Save the map alone."
        )
    return variables[matrices[0]]


def _is_real(values):
    return values.dtype.kind in "biuf"


def _is_matrix(value):
    return isinstance(value, np.ndarray) and _is_real(value) and value.ndim == 2 and value.size > 1
