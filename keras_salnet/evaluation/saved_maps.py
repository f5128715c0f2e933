"""Maps that a model of any kind left in a folder, to be scored as a `Predictor`'s."""

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

# Ending → kind of file, the most precise first.
_KINDS = {".npy": "NPY", ".mat": "MAT", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

# By how many of 255 levels the channels of a grey picture may differ. JPEG at low quality stays
# below it; even MATLAB's bone, the colour map nearest to grey, reaches twice as much.
_CHROMA_NOISE = 16

_MOST_PROBLEMS = 10  # that are listed


class SavedMaps:
    """The maps of one model, made by whatever program, as files in a folder.

    An image's map is the file of its name but for the ending, or of that name and ``_saliency``, as
    ``keras-salnet predict`` writes it. Where there are several, the most precise kind is taken:
    ``.npy``, then ``.mat``, ``.png``, and ``.jpg`` or ``.jpeg``. All other files are ignored.

    - A picture is grey, of 8 or 16 bits; transparency and EXIF orientation are ignored. Colours
      are refused: a drawn heat map does not tell its values.
    - An array saved by NumPy holds real numbers, (H, W) but for axes of length 1.
    - A MATLAB file, saved with ``-v7`` or older, holds a single matrix of real numbers; smaller
      variables, 1×1, and those of other types may lie beside it.

    Its attributes: `folder`, and `name`, that of the folder, for tables.

    Args:
        folder: path of the folder; its files are listed once.

    Raises:
        FileNotFoundError: there is no such folder.
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
            raise FileNotFoundError(f"{self.folder}: there is no such folder.")
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
            (H, W) float64, the values as they are stored, finite; of any size.

        Raises:
            FileNotFoundError: the image has no map.
            ValueError: it has several of one kind, or the file cannot be read as a map.
        """
        return _read(self._file(Path(image).stem)).astype(np.float64)

    def check(self, samples, track=None):
        """Decode the map of every sample once, before anything is scored.

        The log tells how many maps of which kind there are, and warns of maps that were rounded to
        8 bits, where it is known where people looked, and of constant ones.

        Args:
            samples: list of `Sample`.
            track: function (items, description) → items, to show progress.

        Raises:
            ValueError: a sample has no map, several of one kind, or one that cannot be read; or
                several images have the same. The message lists what is wrong, up to ten files.
        """
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
                f"{len(missing)} of {len(samples)} images have no map: {some(missing)}; each takes "
                "a file of its own name, such as NAME.npy or NAME_saliency.png."
            )
        for path, sharing in images.items():
            if len(sharing) > 1:
                problems.append(
                    f"{path}: is the map of {' and '.join(map(str, sorted(sharing)))}; give each "
                    "image a name of its own."
                )
        looks = in_threads(_look, list(images), track, f"checking {self.name}")
        problems += [look.problem for look in looks if look.problem]
        if problems:
            if len(problems) > _MOST_PROBLEMS:
                more = len(problems) - _MOST_PROBLEMS
                problems = [*problems[:_MOST_PROBLEMS], f"… and {more} more."]
            listed = "\n  ".join(problems)
            raise ValueError(f"{self.folder}: these maps cannot be scored:\n  {listed}")
        kinds = Counter(map(_kind, images))
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        logger.info("%s: %d maps (%s)", self.folder, len(images), counts)
        coarse = sum(look.coarse for look in looks)
        if coarse and not all(sample.has_mask_only for sample in samples):
            logger.warning(
                "%s: %d of %d maps have 8 bits a value: what is rounded to 0 there, KL and IG "
                "punish without bound. Save floats, as .npy, where you can.",
                self.folder,
                coarse,
                len(images),
            )
        constant = [path.name for path, look in zip(images, looks, strict=True) if look.constant]
        if constant:
            logger.warning(
                "%s: %d of %d maps are constant, which tells nothing of where people look: %s",
                self.folder,
                len(constant),
                len(images),
                some(constant),
            )

    def _file(self, stem):
        """The file of the map of the image of this stem; raises as `__call__`."""
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
            f"{self.folder}: holds no map of {stem}, such as {stem}.npy or {stem}_saliency.png."
        )


def _kind(path):
    return _KINDS[path.suffix.lower()]


class _Look(NamedTuple):
    """What is wrong with a map, or None; whether it has 8 bits a value; whether it is constant."""

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
    """A map as it is stored: (H, W) finite real numbers of any type, at least one."""
    values = {"NPY": _read_npy, "MAT": _read_mat}.get(_kind(path), _read_picture)(path)
    if values.size == 0:
        raise ValueError(f"{path}: the map is empty, of shape {values.shape}.")
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise ValueError(
            f"{path}: {bad} of {values.size} values are NaN or infinite; all of them must be "
            "finite."
        )
    return values


def _read_picture(path):
    red, green, blue = cv2.split(read_image(path))
    if max(cv2.absdiff(red, green).max(), cv2.absdiff(blue, green).max()) > _CHROMA_NOISE:
        raise ValueError(
            f"{path}: is in colour, a drawn heat map perhaps, which does not tell its values; save "
            "the values themselves, in grey or as .npy."
        )
    return read_grey(path)


def _read_npy(path):
    with path.open("rb") as file:
        try:
            values = np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # what NumPy raises on a broken file has no common base
            raise ValueError(
                f"{path}: cannot be read as an array of numbers: {error}; save it anew with "
                "np.save, as floats."
            ) from error
    if not _is_real(values):
        raise ValueError(f"{path}: holds {values.dtype}; a map takes real numbers.")
    matrix = values if values.ndim == 2 else values.squeeze()
    if matrix.ndim != 2:
        raise ValueError(
            f"{path}: has the shape {values.shape}; it must be one map of one image, (H, W)."
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
