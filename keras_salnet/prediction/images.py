"""Maps of image files, of one or a million: resumable, in constant memory, in shards."""

import itertools
import logging
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from keras_salnet.data.readers import IMAGE_ENDINGS
from keras_salnet.images.files import read_image
from keras_salnet.parallel import look_ahead
from keras_salnet.prediction.outputs import Found

_log = logging.getLogger(__name__)

# Images that the model takes at once, where it has one frame for all of them.
_BATCH = 8


class ImageFiles:
    """The image files among some files and below some folders, however many.

    Of folders, nothing is kept: each pass reads them anew, in the order of the file system. What
    lies below a folder keeps its place there; below one of several, also that folder's name.

    Args:
        inputs: paths of files, taken whatever their ending, and folders.
        shard: (i, n): only the i-th of n parts, 1 ≤ i ≤ n. Which part an image belongs to depends
            on its place and name alone, not on the other images.
        without: a folder that is passed over, such as that of the outputs.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: two folders of the same name.
    """

    def __init__(self, inputs, shard=(1, 1), without=None):
        inputs = {Path(path).resolve(): Path(path) for path in inputs}
        for path in inputs.values():
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such file or folder.")
        several = len(inputs) > 1
        self.folders = {  # and what outputs keep of their paths
            path: Path(path.resolve().name if several else "")
            for path in inputs.values()
            if path.is_dir()
        }
        self.files = [path for path in inputs.values() if not path.is_dir()]
        names = [path.resolve().name for path in self.folders]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two folders are called {name}; predict for one at a time.")
        self._shard = shard
        self._without = Path(without).resolve() if without is not None else None

    @property
    def several(self):
        """Whether there may be more than one image."""
        return bool(self.folders) or len(self.files) > 1

    def __iter__(self):
        """Yields `Found`."""
        part, parts = self._shard
        for found in self._all():
            place = (found.folder / found.path.name).as_posix()
            if zlib.crc32(place.encode("utf-8", "surrogateescape")) % parts == part - 1:
                yield found

    def __len__(self):
        return sum(1 for _ in self)

    def _all(self):
        yield from map(Found, self.files)
        for folder, place in self.folders.items():
            yield from self._walk(folder, place)

    def _walk(self, folder, place):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = folder / entry.name
                if entry.is_dir(follow_symlinks=False):
                    if self._without is None or path.resolve() != self._without:
                        yield from self._walk(path, place / entry.name)
                elif path.suffix.lower() in IMAGE_ENDINGS and entry.is_file():
                    yield Found(path, place)


class Output(NamedTuple):
    """One of the files that are made of each image.

    Args:
        kind: word in its name.
        write: function (path, image, saliency) that makes it.
        ending: of its name, where it is another than the pictures'.
    """

    kind: str
    write: Callable
    ending: str | None = None


@dataclass
class Tally:
    """How many images were predicted, were there already, and could not be read."""

    done: int = 0
    there: int = 0
    failed: int = 0


class _Job(NamedTuple):
    found: Found
    targets: list  # of (path, write): what is not there yet


def predict_images(predictor, files, outputs, made, force=False, track=None):
    """Predict for image files and write what is made of each.

    Images are read and outputs written by threads while the model predicts. What is there already
    is left as it is, so that a killed run goes on where it was.

    Args:
        predictor: `Predictor`.
        files: `ImageFiles`.
        outputs: `Outputs`.
        made: list of `Output`.
        force: replace what is there.
        track: function (sized iterable, title) → iterable that shows progress, or None.

    Returns:
        `Tally`. The log names each image that cannot be read.

    Raises:
        ValueError: two outputs would have the same name; `files` are in the folder of the outputs.
        OSError: an output cannot be written.
    """
    # Otherwise the folders need not be read for it.
    nested = "folder" not in outputs.fields and any(found.folder.parts for found in files)
    kinds = [output.kind for output in made if output.ending is None]
    outputs.check(kinds, files.several, nested)
    outputs.check_names(files.files)
    for folder, place in files.folders.items():
        outputs.check_folder(folder, place)
    batch = _BATCH if None not in predictor.input_size else 1
    tally = Tally()

    def jobs():
        for found in track(files, "predicting") if track else files:
            targets = [
                (path, output.write)
                for output in made
                for path in [outputs.path(found, output.kind, output.ending)]
                if force or not path.exists()
            ]
            if targets:
                yield _Job(found, targets)
            else:
                tally.there += 1

    def images():
        for job, image, error in look_ahead(pool, _read, zip(jobs()), 2 * batch):
            if error is None and files.folders and "ending" not in outputs.fields:
                error = _twin(job.found.path)
            if error is None:
                yield job, image
            else:
                tally.failed += 1
                _log.error("%s", error)

    def predictions():
        source = images()
        while chunk := list(itertools.islice(source, batch)):
            maps = predictor.batch([image for _, image in chunk])
            for (job, image), saliency in zip(chunk, maps, strict=True):
                yield job, image, saliency

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in look_ahead(pool, _write, predictions(), 2 * batch):
            tally.done += 1
    return tally


def _read(job):
    """(job, its image or None, what is wrong with it or None)."""
    try:
        return job, read_image(job.found.path), None
    except (OSError, ValueError) as error:
        return job, None, error


def _write(job, image, saliency):
    for path, write in job.targets:
        write(path, image, saliency)


def _twin(path):
    """The problem of an image next to another of the same name, or None."""
    for ending in IMAGE_ENDINGS:
        for twin in (path.with_suffix(ending), path.with_suffix(ending.upper())):
            if twin.name != path.name and twin.exists() and not twin.samefile(path):
                return (
                    f"{path} and {twin.name} would both be written under one name; give --out a "
                    "pattern with {ending}."
                )
    return None
