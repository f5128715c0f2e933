"""Check a dataset's files before anything is computed from them."""

import logging
from pathlib import Path

import numpy as np
import PIL.Image

from keras_salnet.data.sample import points_inside
from keras_salnet.data.shards import PreparedSample
from keras_salnet.images.files import image_size, read_grey, read_image
from keras_salnet.parallel import in_threads

logger = logging.getLogger(__name__)

# What is decoded with and without TensorFlow. MPO is the JPEG of some cameras.
_JPEG = ("JPEG", "MPO")
_MAP_FORMATS = ("JPEG", "PNG")
_IMAGE_FORMATS = (*_MAP_FORMATS, "BMP", "GIF", "WEBP")


def check(dataset, skip_bad=False, track=None):
    """Decode every file of a dataset once and see that image and ground truth belong together.

    A file is bad that is missing, unreadable, truncated or empty; a density map that is all zeros
    or of another aspect than its image; a fixation map or mask of another size or with nothing in
    it; and an image of which no fixation and no map is known, unless masks are all that is known
    of the whole dataset: then one without a mask.

    Args:
        dataset: `Dataset` to train or evaluate on.
        skip_bad: leave out images with a bad file, and say so in the log, instead of raising.
        track: function (samples, description) → samples, to show progress.

    Returns:
        `Dataset` of the images that can be used; `dataset` itself where none is bad.

    Raises:
        ValueError: some file is bad; the message lists all of them and what is wrong with each. Or
            a split has nothing left.
    """
    samples = list(dict.fromkeys(dataset["all"]))  # those that are trained on twice, once
    masks_only = has_masks_only(dataset)
    title = f"checking {dataset.name}"
    found = in_threads(lambda sample: find_problems(sample, masks_only), samples, track, title)
    bad = {sample: problems for sample, problems in zip(samples, found, strict=True) if problems}
    if not bad:
        logger.info("%s", dataset)
        return dataset
    summary = f"{dataset.name}: {summarize(bad.values(), len(samples))}"
    if not skip_bad:
        raise ValueError(f"{summary}\nFix or remove these files, or skip them with --skip-bad.")
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


def has_masks_only(dataset):
    """Whether a `Dataset` knows masks and nothing of where people look."""
    samples = dataset["all"]
    looked_at = any(s.density is not None or s.fixations is not None for s in samples)
    return not looked_at and any(s.has_mask_only for s in samples)


def summarize(problems, count):
    """Lists of problems, one list an image → what to say of them, of `count` images."""
    problems = [some for some in problems if some]
    # A shard is the problem of all its samples.
    listed = "\n  ".join(dict.fromkeys(problem for some in problems for problem in some))
    return f"{len(problems)} of {count} images cannot be used:\n  {listed}"


def find_problems(sample, masks_only=False):
    """List the problems of a sample, one line per file.

    Args:
        sample: `Sample`.
        masks_only: a mask will do.
    """
    problems = []
    if isinstance(sample, PreparedSample):  # its files were checked when it was prepared
        _try(problems, sample.shard.check)
        return problems
    size = _try(problems, _image_size, sample.image)
    if sample.density is None and sample.fixations is None and not (masks_only and sample.mask):
        lacks = "no mask" if masks_only else "neither a density map nor fixations"
        problems.append(f"{sample.image}: has {lacks}.")
    if sample.density is not None:
        _try(problems, _check_density, sample.density, size)
    if sample.fixations is not None:
        _try(problems, _check_fixations, sample, size)
    if sample.mask is not None:
        _try(problems, _check_mask, sample, size)
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
            f"{path}: the map is {width}x{height}, its image {size[1]}x{size[0]}: "
            "the aspects differ."
        )


def _check_fixations(sample, size):
    file = sample.fixations if isinstance(sample.fixations, Path) else None
    if isinstance(sample.fixations, np.ndarray):
        looked = len(sample.fixations)
    elif file is None or file.suffix.lower() == ".mat":
        points, _ = sample.read_mats(size)
        looked = size is None or points_inside(points, size).any()
    else:
        _verified(file, _IMAGE_FORMATS)
        fixations = read_grey(file)
        _check_size(file, "fixation map", fixations.shape, size)
        looked = fixations.any()
    if not looked:
        where = f"{sample.image}: no fixation lies inside it."
        raise ValueError(f"{file}: no fixation lies inside the image." if file else where)


def _check_mask(sample, size):
    _verified(sample.mask, _MAP_FORMATS)
    mask = sample.read_mask()
    _check_size(sample.mask, "mask", mask.shape, size)
    brightest = read_grey(sample.mask).max()
    # Where people disagree of what the object is, none may be half white: in PASCAL-S, which has
    # fixations too.
    if not mask.any() and (brightest <= 1 or sample.fixations is None):
        raise ValueError(
            f"{sample.mask}: the mask is empty: its brightest pixel is {brightest}; what it marks "
            "must be at least half as bright as white."
        )


def _check_size(path, what, shape, size):
    if size is not None and shape != size:
        height, width = shape
        raise ValueError(f"{path}: the {what} is {width}x{height}, its image {size[1]}x{size[0]}.")


def _verified(path, formats):
    """The format of an image file that is whole. OpenCV fills up a truncated JPEG with grey."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty.")
    try:
        with PIL.Image.open(path, formats=formats) as image:
            if image.format == "BMP" and image.mode in ("1", "P"):
                raise ValueError("a BMP of few colours; save it as PNG")
            if image.format == "WEBP" and (image.mode != "RGB" or image.is_animated):
                raise ValueError("a WebP with transparency or of several frames; save it as PNG")
            if formats is _MAP_FORMATS and image.mode == "CMYK":
                raise ValueError("a map in CMYK; save it in grey")
            # At an eighth of its size a JPEG is decoded several times faster, as far as its end.
            image.draft(None, (1, 1))
            image.load()
            return image.format
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from error
