"""Datasets: what `--data` names → samples, split."""

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from keras_salnet.data import popout, readers

# Where the datasets' TOML files are: beside the package in a checkout and an editable install,
# inside it in a wheel.
_DESCRIPTION_FOLDERS = (
    Path(__file__).parents[1] / "datasets",
    Path(__file__).parents[2] / "datasets",
)

# For data that comes without one: 1° of visual angle at the common 640x480 on a desk.
_DEFAULT_SIGMA = 19.0
_DEFAULT_VALIDATION = 0.1


@dataclass(frozen=True)
class Dataset:
    """A dataset, read.

    Args:
        name: for tables and folder names.
        splits: split (``"train"``, ``"val"``, some also ``"test"``) → list of `Sample`.
        source: what `load_dataset` reads it from, or None for one made by hand.
    """

    name: str
    splits: dict = field(repr=False)
    source: str | None = field(default=None, repr=False)

    def __getitem__(self, split):
        """The samples of a split.

        Raises:
            ValueError: there is no such split.
        """
        if split not in self.splits:
            raise ValueError(
                f"dataset {self.name} has no split {split!r}; it has {', '.join(self.splits)}."
            )
        return self.splits[split]

    @property
    def held_out(self):
        """The split to evaluate on: the test split, or the validation split where there is none."""
        return "test" if "test" in self.splits else "val"


def descriptions():
    """The public datasets that are described: name → its TOML as a dict, sorted by name.

    Each has `name`, `title`, `layout`, `sigma` (pixels), `splits` (images of each split in the
    order of file names), `licence`, `url`, `citation`.
    """
    for folder in _DESCRIPTION_FOLDERS:
        files = sorted(folder.glob("*.toml"))
        if files:
            return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in files}
    raise FileNotFoundError(
        "the datasets' descriptions (datasets/*.toml) are not installed; reinstall keras-salnet."
    )


def load_dataset(data="popout"):
    """Read a dataset.

    Args:
        data: ``"popout"`` for the embedded displays, or a dataset's folder. A folder named as one
            of `descriptions()` is read by its layout, σ and splits; of any other one the layout is
            detected, σ is 19 pixels and, where the layout has no splits, its last tenth by file
            name is for validation.

    Returns:
        `Dataset` with at least the splits ``train`` and ``val``.

    Raises:
        FileNotFoundError: there is no such folder, or a file of it is missing.
        ValueError: it has none of the known layouts, or fewer images than its splits need.

    Example:
        >>> load_dataset("/data/osie")  # doctest: +SKIP
        Dataset(name='osie')
    """
    if data == "popout":
        folder, name, source = popout.folder(), data, data
    else:
        folder = Path(data).expanduser()
        source = os.path.abspath(folder)
        name = Path(source).name  # as the user calls it, be it a link
    description = descriptions().get(name.lower(), {})
    layout = description.get("layout") or readers.detect_layout(folder)
    _, read = readers.LAYOUTS[layout]
    splits = read(folder, description.get("sigma", _DEFAULT_SIGMA))
    if "all" in splits:
        splits = _split(splits["all"], description.get("splits"), folder)
    missing = {"train", "val"} - splits.keys()
    if missing:
        raise ValueError(f"{folder}: has no split {' and no split '.join(sorted(missing))}.")
    return Dataset(name, splits, source)


def _split(samples, sizes, folder):
    """Cut a list of samples into splits of these sizes, one after the other."""
    if sizes is None:
        validation = max(1, round(_DEFAULT_VALIDATION * len(samples)))
        sizes = {"train": len(samples) - validation, "val": validation}
    if sum(sizes.values()) != len(samples) or min(sizes.values()) < 1:
        wanted = ", ".join(f"{size} {split}" for split, size in sizes.items())
        raise ValueError(f"{folder}: holds {len(samples)} images, but its splits need {wanted}.")
    splits, start = {}, 0
    for split, size in sizes.items():
        splits[split] = samples[start : start + size]
        start += size
    return splits
