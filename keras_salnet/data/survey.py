"""Survey a copy of a dataset: its contents in a table, and everything that is wrong with it."""

import hashlib
import logging
from dataclasses import dataclass

from keras_salnet.data.checks import (
    find_problems,
    has_masks_only,
    summarize,
)
from keras_salnet.data.readers import some
from keras_salnet.images.files import image_size_if_readable
from keras_salnet.parallel import in_threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """A split in numbers.

    Args:
        images, maps, fixations, observers, masks: how many images there are, and how many of them
            have a density map, fixations, fixations of known observers, and a mask.
        sizes: the images' (height, width), of those that can be read.
        dropped: how many fixations lie outside their image.
    """

    images: int
    maps: int
    fixations: int
    observers: int
    masks: int
    sizes: set
    dropped: int


@dataclass(frozen=True)
class Survey:
    """Result of `survey`.

    Args:
        rows: split → `Row`.
        errors: what must not be so, a list of messages: bad files, and images that stand in
            several splits.
    """

    rows: dict
    errors: list

    def table(self):
        """The rows as a `rich.table.Table`."""
        from rich import box
        from rich.table import Table

        counts = ("images", "maps", "fixations", "observers", "masks", "dropped")
        table = Table("split", box=box.SIMPLE_HEAD, padding=0)
        for column in (*counts, "width", "height"):
            table.add_column(f" {column}", justify="right", no_wrap=True)
        for split, row in self.rows.items():
            heights, widths = zip(*row.sizes, strict=True) if row.sizes else ((), ())
            cells = [str(getattr(row, column)) for column in counts]
            table.add_row(split, *cells, _range(widths), _range(heights))
        return table


def survey(dataset, track=None):
    """Decode every file of a dataset, count what there is, and find what is wrong or twice there.

    Images are the same if their files are, byte by byte. The log says what the dataset is, and
    warns of images that stand several times in one split.

    Args:
        dataset: `Dataset`.
        track: function (samples, description) → samples, to show progress.

    Returns:
        `Survey`.
    """
    logger.info("%s", dataset)
    masks_only = has_masks_only(dataset)
    title = f"checking {dataset.name}"
    samples = dataset["all"]
    looks = in_threads(lambda sample: _look(sample, masks_only), samples, track, title)
    looked = iter(looks)
    rows, copies = {}, {}
    for split, samples in dataset.splits.items():
        here = [next(looked) for _ in samples]
        rows[split] = Row(
            images=len(samples),
            maps=sum(sample.density is not None for sample in samples),
            fixations=sum(sample.fixations is not None for sample in samples),
            observers=sum(look.observers for look in here),
            masks=sum(sample.mask is not None for sample in samples),
            sizes={look.size for look in here} - {None},
            dropped=sum(look.dropped for look in here),
        )
        for sample, look in zip(samples, here, strict=True):
            copies.setdefault(look.digest, []).append((split, sample.image))
    copies.pop(None, None)
    errors = []
    if any(look.problems for look in looks):
        errors.append(summarize([look.problems for look in looks], len(looks)))
    repeated = [group for group in copies.values() if len(group) > 1]
    across = [group for group in repeated if len({split for split, _ in group}) > 1]
    if across:
        listed = "".join(f"\n  {_equal(group)}" for group in across)
        errors.append(f"{len(across)} images are in several splits:{listed}")
    within = [_equal(group) for group in repeated if group not in across]
    if within:
        logger.warning(
            "%s: %d images are repeated in a split: %s",
            dataset.name,
            len(within),
            some(within),
        )
    return Survey(rows, errors)


def _equal(group):
    return " = ".join(f"{image} ({split})" for split, image in group)


@dataclass(frozen=True)
class _Look:
    problems: list
    size: tuple | None
    observers: bool
    dropped: int
    digest: bytes | None


def _look(sample, masks_only):
    problems = find_problems(sample, masks_only)
    try:
        gaze = sample.read_gaze()
        observers, dropped = gaze.observer is not None, gaze.dropped
    except (OSError, ValueError):
        observers, dropped = False, 0
    try:
        with sample.image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        digest = None
    return _Look(problems, image_size_if_readable(sample.image), observers, dropped, digest)


def _range(sides):
    """[600, 480] → '480–600'; '–' where there is none."""
    return "–".join(str(side) for side in sorted({min(sides), max(sides)})) if sides else "–"
