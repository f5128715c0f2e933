"""A dataset that was prepared once: decoded, fitted into the network's frame, kept in TFRecords.

`keras_salnet.data.prepared` writes what is read here. A prepared folder holds ``manifest.json``
and shards such as ``train-00000.tfrecord``. Each record is a `tf.train.Example` of bytes alone, in
which the planes lie as they do in memory: they are read by mapping the file, in any order and
without TensorFlow. Its features:

- ``image``: (H, W, 3) uint8 RGB, what `Placement.image` gives, rounded;
- ``density``: (H, W) little-endian uint16, the density in the frame, of which 65535 is the maximum;
- ``fixations``: (n, 2) little-endian float64, points (x, y) in pixels of the image, and
  ``observer``: (n,) little-endian int64; left out where they are not known;
- ``about``: JSON of the image's ``size`` (height, width), the paths of ``image``, ``density`` and
  ``mask`` that it was made from, ``sigma`` and ``dropped``, as in `Sample`.
"""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_salnet.data.sample import Sample
from keras_salnet.images.geometry import Placement

MANIFEST = "manifest.json"
UNFINISHED = "unfinished.json"  # the manifest, until all shards are written
VERSION = 1

_KEYS = {"version", "dataset", "source", "samples", "input_size", "resize", "splits"}
_HEADER, _FOOTER = 12, 4  # bytes of a TFRecord around its payload: length and checksums
_AGAIN = "Prepare the dataset again: keras-salnet datasets prepare."


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedSample(Sample):
    """A sample whose planes in the network's frame lie in a shard.

    All else is as in the dataset that it was made from, whose image and map files are needed where
    they are to be read at their own size, as in an evaluation.

    Args:
        pixels: (H, W, 3) uint8 image in the frame.
        levels: (H, W) uint16 density in the frame, of any sum.
        size: (height, width) of the image.
        resize: ``"stretch"`` or ``"pad"``, how it was fitted.
        shard: `Shard` that it lies in.
    """

    pixels: np.ndarray = field(repr=False)
    levels: np.ndarray = field(repr=False)
    size: tuple[int, int]
    resize: str
    shard: "Shard" = field(repr=False)

    def read_in(self, input_size, resize):
        """As `Sample.read_in`, up to the rounding of pixels to 8 bits and of densities to 16."""
        self.refuse_another(input_size, resize)
        density = self.levels[..., None].astype(np.float32)
        density /= density.sum(dtype=np.float64)
        mask = Placement(self.size, input_size, resize).mask()
        return self.pixels.astype(np.float32), density, mask

    def refuse_another(self, input_size, resize):
        """As `Sample.refuse_another`."""
        prepared = self.levels.shape
        if prepared != tuple(input_size) or self.resize != resize:
            raise ValueError(
                f"{self.shard.path.parent}: was prepared for {_sized(prepared)} by {self.resize}, "
                f"not for {_sized(input_size)} by {resize}; train at that size, or prepare the "
                f"dataset for this one: --input-size {_sized(input_size)} --resize {resize}."
            )


def _sized(input_size):
    return "x".join(map(str, input_size))


class Shard:
    """A file of records.

    Args:
        path: where it is.
        sha256: hexadecimal, of the whole file.
    """

    def __init__(self, path, sha256):
        self.path = path
        self._sha256 = sha256
        self._lock = threading.Lock()
        self._whole = None

    def __reduce__(self):
        return Shard, (self.path, self._sha256)  # for other processes, whose lock is their own

    def check(self):
        """Read the file through, the first time.

        Raises:
            ValueError: it is not what was written.
        """
        with self._lock:
            if self._whole is None:
                self._whole = sha256(self.path) == self._sha256
        if not self._whole:
            raise ValueError(f"{self.path}: is damaged (wrong checksum). {_AGAIN}")


def is_prepared(folder):
    """Whether a folder is one of `prepare`'s, finished or not."""
    return any((Path(folder) / name).is_file() for name in (MANIFEST, UNFINISHED))


def read_prepared(folder):
    """Read a prepared folder.

    Returns:
        (name of the dataset, {split: list of `PreparedSample`}).

    Raises:
        ValueError: it is not finished, or a file in it is missing or damaged.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder}: preparing it was interrupted. {_AGAIN}")
    manifest = read_manifest(folder / MANIFEST)
    splits = {
        split: [sample for shard in shards for sample in _read_shard(folder, shard, manifest)]
        for split, shards in manifest["splits"].items()
    }
    return manifest["dataset"], splits


def read_manifest(path):
    """A prepared folder's manifest as a dict.

    Raises:
        ValueError: it is not one.
    """
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}. {_AGAIN}") from None
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise ValueError(f"{path}: not a manifest that this version knows. {_AGAIN}")
    if missing := _KEYS - manifest.keys():
        raise ValueError(f"{path}: lacks {', '.join(sorted(missing))}. {_AGAIN}")
    return manifest


def sha256(path):
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_shard(folder, described, manifest):
    """Yield the samples of a shard, their planes mapped into memory."""
    path = folder / described["file"]
    found = path.stat().st_size if path.is_file() else 0
    if found != described["bytes"]:
        raise ValueError(f"{path}: is of {found} bytes, not {described['bytes']}. {_AGAIN}")
    shard = Shard(path, described["sha256"])
    data = memoryview(np.memmap(path, mode="r"))
    start = 0
    for _ in range(described["count"]):
        try:
            length = int.from_bytes(data[start : start + 8], "little")
            features = _parse(data[start + _HEADER : start + _HEADER + length])
            yield _sample(features, tuple(manifest["input_size"]), manifest["resize"], shard)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{path}: is damaged at byte {start}. {_AGAIN}") from error
        start += _HEADER + length + _FOOTER


def _sample(features, input_size, resize, shard):
    """`PreparedSample` of a record: name → bytes."""
    about = json.loads(bytes(features["about"]))
    fixations = observer = None
    if "fixations" in features:
        fixations = np.frombuffer(features["fixations"], "<f8").reshape(-1, 2)
    if "observer" in features:
        observer = np.frombuffer(features["observer"], "<i8")
    # Earlier versions stored nothing about masks.
    paths = (about["density"], about.get("mask"))
    density, mask = (None if path is None else Path(path) for path in paths)
    return PreparedSample(
        Path(about["image"]),
        density,
        fixations,
        observer,
        about["sigma"],
        about["dropped"],
        mask,
        pixels=np.frombuffer(features["image"], np.uint8).reshape(*input_size, 3),
        levels=np.frombuffer(features["density"], "<u2").reshape(input_size),
        size=tuple(about["size"]),
        resize=resize,
        shard=shard,
    )


def _parse(example):
    """A serialized `tf.train.Example` of bytes → {name: memoryview}.

    Example, Features, the entries of their map, Feature and BytesList: each is a message of nothing
    but fields with a length.
    """
    (features,) = _fields(example)
    parsed = {}
    for entry in _fields(features):
        name, feature = _fields(entry)
        (values,) = _fields(feature)
        (parsed[str(name, "utf-8")],) = _fields(values)
    return parsed


def _fields(message):
    """Yield the values of a protobuf message's fields, all of which have a length."""
    place = 0
    while place < len(message):
        if message[place] & 7 != 2:
            raise ValueError("not a field with a length")
        place, length, shift = place + 1, 0, 0
        while True:  # seven bits a byte, until one that is less than 128
            byte = message[place]
            length |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                break
        if place + length > len(message):
            raise ValueError("a field longer than its message")
        yield message[place : place + length]
        place += length
