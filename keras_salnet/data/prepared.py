"""Preparing a dataset once for all trainings; `keras_salnet.data.shards` says what is written."""

import hashlib
import json
import logging
from pathlib import Path

import cv2
import numpy as np

from keras_salnet.data.shards import MANIFEST, UNFINISHED, VERSION, read_manifest, sha256
from keras_salnet.files import atomic, remove_drafts
from keras_salnet.images.files import image_size
from keras_salnet.images.geometry import MODES
from keras_salnet.parallel import look_ahead, processes

logger = logging.getLogger(__name__)

_RECORDS = 256  # a shard: 80 MiB at 256 × 256


def prepare(dataset, out, *, input_size=(256, 256), resize="stretch", workers=1, track=None):
    """Decode a dataset and fit it into the network's frame, once for all trainings.

    It may be killed at any moment: run again, it keeps the shards that are finished and whole, and
    what it leaves is the same to the byte as without interruption.

    Args:
        dataset: `Dataset`, checked.
        out: the folder to make, or to complete.
        input_size: (height, width) of the network's input.
        resize: ``"stretch"`` or ``"pad"``.
        workers: int ≥ 1, processes that decode.
        track: function (samples, description) → samples, to show progress.

    Returns:
        Path of the folder; `load_dataset` reads it.

    Raises:
        FileExistsError: `out` holds something else, or was prepared otherwise.
        ModuleNotFoundError: TensorFlow, which writes the records, is not installed.
        ValueError, OSError: as of a sample's files.
    """
    import tensorflow as tf

    if resize not in MODES:
        raise ValueError(f"resize must be one of {', '.join(MODES)}, not {resize!r}.")
    out = Path(out)
    manifest = {
        "version": VERSION,
        "dataset": dataset.name,
        "source": dataset.source,
        "samples": _fingerprint(dataset),
        "input_size": list(input_size),
        "resize": resize,
        "splits": {split: [] for split in dataset.splits},
    }
    done = _done(out, manifest)
    out.mkdir(parents=True, exist_ok=True)
    remove_drafts(out)
    planned = [
        (split, f"{split}-{number:05d}.tfrecord", samples[first : first + _RECORDS])
        for split, samples in dataset.splits.items()
        for number, first in enumerate(range(0, len(samples), _RECORDS))
    ]

    def write_manifest(name):
        for split in dataset.splits:
            names = [name for of, name, _ in planned if of == split and name in done]
            manifest["splits"][split] = [done[name] for name in names]
        with atomic(out / name) as draft:
            draft.write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")

    if not (out / MANIFEST).exists():
        write_manifest(UNFINISHED)  # says from the beginning what the folder is
    if done:
        logger.info("%s: %d of %d shards are kept.", out, len(done), len(planned))
    missing = [(name, samples) for _, name, samples in planned if name not in done]
    todo = [sample for _, samples in missing for sample in samples]
    shown = track(todo, f"preparing {dataset.name}") if track else todo
    with processes(workers, _start_worker) as pool:
        tasks = ((sample, input_size, resize) for sample in shown)
        records = look_ahead(pool, _features, tasks, 4 * workers)
        for name, samples in missing:
            with atomic(out / name) as draft:
                with tf.io.TFRecordWriter(str(draft)) as writer:
                    for _ in samples:
                        writer.write(_example(tf, next(records)))
                done[name] = {
                    "file": name,
                    "count": len(samples),
                    "bytes": draft.stat().st_size,
                    "sha256": sha256(draft),
                }
            write_manifest(UNFINISHED)
    write_manifest(MANIFEST)
    (out / UNFINISHED).unlink(missing_ok=True)
    return out


def _start_worker():
    cv2.setNumThreads(1)  # the processes are enough for all cores


def _features(sample, input_size, resize):
    """A sample's record: name → bytes."""
    image, density, _ = sample.read_in(input_size, resize)
    gaze = sample.read_gaze()
    about = {
        "size": image_size(sample.image),
        "image": str(sample.image),
        "density": None if sample.density is None else str(sample.density),
        "mask": None if sample.mask is None else str(sample.mask),
        "sigma": sample.sigma,
        "dropped": gaze.dropped,
    }
    features = {
        "about": json.dumps(about).encode(),
        "density": np.round(density / density.max() * 65535).astype("<u2").tobytes(),
        "image": np.round(image).astype(np.uint8).tobytes(),
    }
    if sample.fixations is not None:
        features["fixations"] = gaze.points.astype("<f8").tobytes()
    if gaze.observer is not None:
        features["observer"] = gaze.observer.astype("<i8").tobytes()
    return features


def _example(tf, features):
    """The serialized `tf.train.Example` of name → bytes."""
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in features.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _fingerprint(dataset):
    """Tells whether a dataset's files and settings are still the same."""
    digest = hashlib.sha256()
    for split, samples in dataset.splits.items():
        for sample in samples:
            gaze = sample.fixations if isinstance(sample.fixations, tuple) else [sample.fixations]
            files = [
                (str(path), (stat := path.stat()).st_size, stat.st_mtime_ns)
                for path in (sample.image, sample.density, sample.mask, *gaze)
                if isinstance(path, Path)
            ]
            digest.update(repr((split, files, sample.sigma)).encode())
            if isinstance(sample.fixations, np.ndarray):
                digest.update(sample.fixations.tobytes())
    return digest.hexdigest()


def _done(out, manifest):
    """Shards of an earlier, equal run that are finished and whole: name → line of the manifest."""
    if not out.exists():
        return {}
    found = next((out / name for name in (MANIFEST, UNFINISHED) if (out / name).is_file()), None)
    if found is None:
        # A run that was killed in its first shard leaves drafts alone.
        if out.is_dir() and all(path.name.startswith(".") for path in out.iterdir()):
            return {}
        raise FileExistsError(f"{out}: already exists; choose another --out.")
    before = read_manifest(found)
    changed = [key for key in manifest if key != "splits" and before.get(key) != manifest[key]]
    if changed:
        raise FileExistsError(
            f"{out}: was prepared from another dataset or with other settings "
            f"({', '.join(changed)}); give another --out, or remove it."
        )
    shards = [shard for shards in before["splits"].values() for shard in shards]
    return {
        shard["file"]: shard
        for shard in shards
        if (path := out / shard["file"]).is_file() and sha256(path) == shard["sha256"]
    }
