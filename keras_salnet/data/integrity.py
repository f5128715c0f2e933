"""Finding what is wrong with a dataset's files before anything is computed from them."""

import itertools
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image

from keras_salnet.data.sample import (
    image_size,
    points_inside,
    read_gaze_mat,
    read_grey,
    read_image,
)
from keras_salnet.data.shards import PreparedSample

logger = logging.getLogger(__name__)

# What is decoded with and without TensorFlow. MPO is the JPEG of some cameras.
_JPEG = ("JPEG", "MPO")
_MAP_FORMATS = ("JPEG", "PNG")
_IMAGE_FORMATS = (*_MAP_FORMATS, "BMP", "GIF", "WEBP")


def no_progress(samples, description):
    """The samples: what goes through them shows no progress."""
    return samples


def check(dataset, skip_bad=False, track=no_progress):
    """Decode every file of a dataset once and see that image and ground truth belong together.

    A file is bad that is missing, unreadable, truncated or empty; a density map that is all zeros
    or of another aspect than its image; a fixation map of another size or without a fixation; and
    an image of which no fixation and no map is known.

    Args:
        dataset: `Dataset`.
        skip_bad: leave out images with a bad file, and say so in the log, instead of raising.
        track: function (samples, description) → samples, to show progress.

    Returns:
        `Dataset` of the images that can be used; `dataset` itself where none is bad.

    Raises:
        ValueError: some file is bad; the message lists all of them and what is wrong with each. Or
            a split has nothing left.
    """
    samples = list(dict.fromkeys(dataset["all"]))  # those that are trained on twice, once
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_problems, samples)
        bad = {
            sample: problems
            for sample in track(samples, f"checking {dataset.name}")
            if (problems := next(found))
        }
    if not bad:
        logger.info("%s", dataset)
        return dataset
    # A shard is the problem of all its samples.
    listed = "\n  ".join(dict.fromkeys(itertools.chain.from_iterable(bad.values())))
    summary = f"{dataset.name}: {len(bad)} of {len(samples)} images cannot be used:\n  {listed}"
    if not skip_bad:
        raise ValueError(f"{summary}\nMend or remove them, or go on without them: --skip-bad.")
    logger.warning("%s\nThey are left out.", summary)
    splits = {
        split: [sample for sample in samples if sample not in bad]
        for split, samples in dataset.splits.items()
    }
    for split, left in splits.items():
        if not left:
            raise ValueError(f"{dataset.name}: no image of the split {split} can be used.")
    usable = dataset.replace(splits)
    logger.info("%s", usable)
    return usable


def _problems(sample):
    """What is wrong with a sample, a line a file; empty where it is fine."""
    problems = []
    if isinstance(sample, PreparedSample):  # its files were checked when it was prepared
        _try(problems, sample.shard.check)
        return problems
    size = _try(problems, _image_size, sample.image)
    if sample.density is None and sample.fixations is None:
        problems.append(f"{sample.image}: has neither a density map nor fixations.")
    if sample.density is not None:
        _try(problems, _check_density, sample.density, size)
    if isinstance(sample.fixations, Path):
        _try(problems, _check_fixation_file, sample.fixations, size)
    elif sample.fixations is not None and len(sample.fixations) == 0:
        problems.append(f"{sample.image}: nobody's fixation lies inside it.")
    return problems


def _try(problems, function, *arguments):
    try:
        return function(*arguments)
    except (OSError, ValueError) as error:
        problems.append(str(error))
        return None


def _image_size(path):
    if _verified(path, _IMAGE_FORMATS) not in _JPEG:
        read_image(path)
    return image_size(path)


def _check_density(path, size):
    _verified(path, _MAP_FORMATS)
    density = read_grey(path)
    if not density.any():
        raise ValueError(f"{path}: the density map is empty (all zeros).")
    if size is None:
        return
    height, width = density.shape
    # One aspect, but for the rounding of a smaller map to whole pixels.
    if abs(height * size[1] - width * size[0]) > max(size):
        raise ValueError(
            f"{path}: the map is {width}x{height}, its image {size[1]}x{size[0]}: another aspect."
        )


def _check_fixation_file(path, size):
    if path.suffix.lower() == ".mat":
        points, _ = read_gaze_mat(path)
        looked = size is None or points_inside(points, size).any()
    else:
        _verified(path, _IMAGE_FORMATS)
        fixations = read_grey(path)
        looked = fixations.any()
        if size is not None and fixations.shape != size:
            height, width = fixations.shape
            raise ValueError(
                f"{path}: the fixation map is {width}x{height}, its image {size[1]}x{size[0]}."
            )
    if not looked:
        raise ValueError(f"{path}: nobody's fixation lies inside the image.")


def _verified(path, formats):
    """The format of an image file that is whole. OpenCV fills up a truncated JPEG with grey."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty.")
    try:
        with PIL.Image.open(path, formats=formats) as image:
            if image.format == "BMP" and image.mode in ("1", "P"):
                raise ValueError("a BMP of few colours; save it as PNG")
            # At an eighth of its size a JPEG is decoded several times faster, as far as its end.
            image.draft(None, (1, 1))
            image.load()
            return image.format
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from error
