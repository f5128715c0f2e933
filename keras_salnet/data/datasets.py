"""Datasets: what `--data` names → samples, split."""

import dataclasses
import difflib
import os
import tomllib
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from keras_salnet.data import popout, readers
from keras_salnet.data.shards import is_prepared, read_prepared
from keras_salnet.images.files import image_size_if_readable

# Where the datasets' TOML files are: beside the package in a checkout and an editable install,
# inside it in a wheel.
_DESCRIPTION_FOLDERS = (
    Path(__file__).parents[1] / "datasets",
    Path(__file__).parents[2] / "datasets",
)

# Where datasets given by their public name lie; the environment variable, or this folder.
_HOME_VARIABLE, _HOME = "KERAS_SALNET_DATA", "data"

# For data that comes without them. About 1° of visual angle: it is 24 of OSIE's 800 pixels and 19
# of SALICON's 640.
_DEFAULT_SIGMA_OF_WIDTH = 0.03
_DEFAULT_VALIDATION = 0.1

_ORDER = {"train": 0, "val": 1, "test": 2}

# Keys of a description: folders and files with other names, and the layout whose they are; what is
# for people; and the rest.
_PLACES = {**dict.fromkeys(("images", "maps", "fixations", "masks"), "folders"), "pairs": "pairs"}
_ABOUT = {"name", "title", "licence", "url", "citation"}
_SIGMAS = ("sigma", "sigma_of_width", "sigma_degrees")  # ways to give σ
_SETTINGS = {"path", "layout", *_SIGMAS, "pixels_per_degree", "splits", *_PLACES}


@dataclass(frozen=True)
class Dataset:
    """A dataset, read.

    Args:
        name: for tables and folder names.
        splits: split, such as ``"train"``, ``"val"`` and ``"test"`` → list of `Sample`.
        source: what `load_dataset` reads it from, or None for one made in memory.
    """

    name: str
    splits: dict = field(repr=False)
    source: str | list | None = field(default=None, repr=False)

    def __getitem__(self, split):
        """The samples of a split; of ``"all"``, those of every split, in the order of the splits.

        Raises:
            ValueError: there is no such split.
        """
        if split == "all":
            return [sample for samples in self.splits.values() for sample in samples]
        if split not in self.splits:
            known = ", ".join([*self.splits, "all"])
            raise ValueError(f"dataset {self.name} has no split {split!r}; it has {known}.")
        return self.splits[split]

    @property
    def held_out(self):
        """The split to evaluate on: ``"test"``, else ``"val"``, else the last there is."""
        return next(
            split for split in ("test", "val", *reversed(self.splits)) if split in self.splits
        )

    def fingerprint(self, split):
        """Identifies the images of a split and their order, to see whether they have changed.

        Args:
            split: its name.

        Returns:
            Dict: ``"images"``, their number, and ``"names"``, a SHA-256 of their names in hex.
        """
        names = "\n".join(sample.name for sample in self[split])
        return {"images": len(self[split]), "names": sha256(names.encode()).hexdigest()}

    def replace(self, splits):
        """A copy with other splits."""
        return dataclasses.replace(self, splits=splits)

    def __str__(self):
        """Its name and what it holds, in a line: sizes of the splits, where densities come from."""
        sizes = ", ".join(f"{len(samples)} {split}" for split, samples in self.splits.items())
        samples = self["all"]
        sigmas = {round(s.sigma, 1) for s in samples if s.density is None and s.sigma is not None}
        if not sigmas:
            only_masks = any(s.mask for s in samples) and not any(s.density for s in samples)
            what = "masks" if only_masks else "density maps"
            return f"{self.name}: {sizes} images with {what}"
        sigma = "–".join(f"{value:g}" for value in sorted({min(sigmas), max(sigmas)}))
        return f"{self.name}: {sizes} images; densities from fixations with σ = {sigma} pixels"


def descriptions():
    """The public datasets that are described: name → its TOML as a dict, sorted by name.

    Each has `name`, `title`, `licence`, `url`, `citation`, `splits` and what its reader needs; the
    keys are explained in ``datasets/README.md``.
    """
    for folder in _DESCRIPTION_FOLDERS:
        files = sorted(folder.glob("*.toml"))
        if files:
            return {path.stem: _read_description(path) for path in files}
    raise FileNotFoundError(
        "the datasets' descriptions (datasets/*.toml) are not installed; reinstall keras-salnet."
    )


def _read_description(path):
    """A dataset's TOML as a dict, checked."""
    try:
        description = tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from None
    known = sorted(_ABOUT | _SETTINGS)
    unknown = [f"{key}{_nearest(key, known)}" for key in description if key not in known]
    if unknown:
        raise ValueError(
            f"{path}: unknown key {', '.join(unknown)}; the keys are {', '.join(known)}."
        )
    for key in (*_ABOUT, "path"):
        if not isinstance(description.get(key, ""), str):
            raise ValueError(f"{path}: {key} must be a string, not {description[key]!r}.")
    for key, value in _places(description).items():
        if not value or not all(isinstance(name, str) for name in value):
            raise ValueError(
                f"{path}: {key} must be a string or a list of some, not {description[key]!r}."
            )
    for key, least, most, unit in (
        ("sigma", 0.5, 1e4, "pixels"),
        ("sigma_of_width", 1e-3, 1, "parts of the image's width"),
        ("sigma_degrees", 0.1, 10, "degrees of visual angle"),
        ("pixels_per_degree", 5, 1000, "pixels"),
    ):
        value = description.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{path}: {key} must be a number, not {value!r}.")
        if not least <= value <= most:
            raise ValueError(f"{path}: {key} must be {least:g}…{most:g} {unit}, not {value!r}.")
    sigmas = [key for key in _SIGMAS if key in description]
    if len(sigmas) > 1:
        raise ValueError(f"{path}: {' and '.join(sigmas)} exclude each other; give one.")
    if ("sigma_degrees" in description) != ("pixels_per_degree" in description):
        raise ValueError(
            f"{path}: sigma_degrees and pixels_per_degree go together; give both or neither."
        )
    layout = description.get("layout")
    if layout not in (None, *readers.LAYOUTS):
        raise ValueError(
            f"{path}: layout must be one of {', '.join(readers.LAYOUTS)}, not {layout!r}."
        )
    places = _places(description)
    for key in places:
        layout = description.setdefault("layout", _PLACES[key])
        if layout != _PLACES[key]:
            raise ValueError(f"{path}: {key} is for the layout {_PLACES[key]}, not for {layout}.")
    if len({len(names) for names in places.values()}) > 1:
        raise ValueError(f"{path}: {', '.join(places)} must be lists of one length.")
    splits = description.get("splits")
    sizes = splits.values() if isinstance(splits, dict) else ()
    if splits is not None and not (sizes and all(type(n) is int and n > 0 for n in sizes)):
        raise ValueError(f"{path}: splits must give each split its number of images.")
    if "all" in (splits or ()):
        raise ValueError(f"{path}: splits: all means every split; choose another name.")
    return description


def _nearest(word, words):
    """Suggestion for a misspelt key."""
    close = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _places(description):
    """Key → list of the folders or files that a description names by it."""
    named = {key: description[key] for key in _PLACES if key in description}
    return {key: value if isinstance(value, list) else [value] for key, value in named.items()}


def load_dataset(data="popout", folder=None):
    """Read a dataset.

    Nothing is decoded yet: `keras_salnet.data.check` finds what cannot be.

    Args:
        data: one of

            - ``"popout"``: the embedded displays;
            - a dataset's folder. One named as one of `descriptions()` is read by its description;
              of any other the layout is detected, σ is 3 % of the image's width and, where there
              are no splits, the last tenth by file name is for validation;
            - a folder that `keras_salnet.data.prepare` made of a dataset;
            - a TOML file of one's own, with the same keys; its `path` is the folder (relative to
              the file, and by default the file's own);
            - a list of these: they are joined, see `join`;
            - a text file (``.txt``) of pairs of an image and its mask, see `readers.read_pairs`;
            - a name of `descriptions()`: its folder of this name is looked for in the folder
              ``data``, or the one that the environment variable KERAS_SALNET_DATA names.

        folder: where the dataset of that name lies, if it is called otherwise.

    Returns:
        `Dataset`; training needs its splits ``train`` and ``val``.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: the folder matches none of the known layouts, or holds another number of images
            than its splits need; the TOML file is not valid; the dataset is unknown.

    Example:
        >>> load_dataset("/data/osie")  # doctest: +SKIP
        Dataset(name='osie')
    """
    if isinstance(data, list):
        read = {name: load_dataset(name) for name in dict.fromkeys(data)}
        return join([read[name] for name in data])
    if folder is not None:
        public = descriptions()
        if _key(data) not in public:
            raise ValueError(
                f"{data}: is not a known dataset{_nearest(_key(data), public)}; there are "
                f"{', '.join(public)}."
            )
        return _read(Path(folder).expanduser(), str(data), None, public[_key(data)])
    if data == "popout":
        return _read(popout.folder(), "popout", "popout", {})
    path = Path(data).expanduser()
    source = os.path.abspath(path)
    name = Path(source).name  # as the user calls it, be it a link
    if path.suffix == ".toml":
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        description = _read_description(path)
        folder = path.parent / Path(description.get("path", ".")).expanduser()
        return _read(folder, description.get("name", path.stem), source, description)
    if path.suffix == ".txt":
        return _read(path.parent, path.stem, source, {"layout": "pairs", "pairs": path.name})
    public = descriptions()
    if not path.exists() and _key(data) in public:
        return load_dataset(_home(_key(data), public))
    return _read(path, name, source, public.get(_key(name), {}))


def _key(name):
    """The name of a description that a dataset's name stands for: PASCAL-S is pascal_s."""
    return str(name).lower().replace("-", "_")


def join(datasets):
    """Several datasets as one, split by split, to train on all of them.

    Args:
        datasets: list of `Dataset`. One that is in it twice has its training images seen twice an
            epoch, each time augmented anew; its other splits count once.

    Returns:
        `Dataset`; each sample keeps its σ.

    Example:
        >>> popout = load_dataset()
        >>> joined = join([popout, popout])
        >>> len(joined["train"]) / len(popout["train"]), len(joined["val"]) / len(popout["val"])
        (2.0, 1.0)
    """
    distinct = list({id(dataset): dataset for dataset in datasets}.values())
    splits = dict.fromkeys(split for dataset in distinct for split in dataset.splits)
    for split in splits:
        counted = datasets if split == "train" else distinct
        splits[split] = [sample for each in counted for sample in each.splits.get(split, [])]
    sources = []
    for dataset in datasets:
        sources += dataset.source if isinstance(dataset.source, list) else [dataset.source]
    name = "+".join(dataset.name for dataset in distinct)
    return Dataset(name, splits, None if None in sources else sources)


def _home(name, public):
    home = Path(os.environ.get(_HOME_VARIABLE, _HOME)).expanduser()
    inside = sorted(home.iterdir()) if home.is_dir() else []
    folders = [path for path in inside if _key(path.name) == name and path.is_dir()]
    if not folders:
        raise FileNotFoundError(
            f"{name}: there is no folder {home / name}. Get the dataset from {public[name]['url']} "
            f"(licence: {public[name]['licence']}) and give its folder, or put it in {home}/ or "
            f"where {_HOME_VARIABLE} says."
        )
    return folders[-1]  # the small letters of its name sort behind capitals


def _read(folder, name, source, description):
    if is_prepared(folder):
        return Dataset(*read_prepared(folder), source)
    layout = description.get("layout") or readers.detect_layout(folder)
    _, read = readers.LAYOUTS[layout]
    places = _places(description)
    splits = {}
    for names in zip(*places.values(), strict=True) if places else [()]:
        for split, samples in read(folder, **dict(zip(places, names, strict=True))).items():
            splits.setdefault(split, []).extend(samples)
    splits = _split(splits, description.get("splits"), folder)
    names = sorted(splits, key=lambda split: (_ORDER.get(split, len(_ORDER)), split))
    splits = {
        split: [_with_sigma(sample, description) for sample in splits[split]] for split in names
    }
    return Dataset(name, splits, source)


def _split(found, sizes, folder):
    """The splits that were found, if they have these sizes; or all of their samples, cut into some.

    Folders of other names than the splits' are no splits, as CAT2000's categories. They are cut in
    the order of their images' names, so that there are some of each in every split.
    """
    if "all" not in found:
        held = {split: len(samples) for split, samples in found.items()}
        if sizes is None or sizes == held:
            return found
        if sizes.keys() & held:
            raise ValueError(_wrong_sizes(folder, _counts(held), sizes))
        together = (sample for samples in found.values() for sample in samples)
        found = {"all": sorted(together, key=lambda s: (s.image.name, s.image))}
    samples = found["all"]
    if sizes is None:
        validation = max(1, round(_DEFAULT_VALIDATION * len(samples)))
        sizes = {"train": len(samples) - validation, "val": validation}
    if sum(sizes.values()) != len(samples) or min(sizes.values()) < 1:
        raise ValueError(_wrong_sizes(folder, str(len(samples)), sizes))
    splits, start = {}, 0
    for split, size in sizes.items():
        splits[split] = samples[start : start + size]
        start += size
    return splits


def _counts(sizes):
    return ", ".join(f"{size} {split}" for split, size in sizes.items())


def _wrong_sizes(folder, held, wanted):
    return f"{folder}: holds {held} images, but its splits need {_counts(wanted)}."


def _with_sigma(sample, description):
    sigma = description.get("sigma")
    if "sigma_degrees" in description:
        sigma = description["sigma_degrees"] * description["pixels_per_degree"]
    looked_at = sample.density is None and sample.fixations is not None
    if sigma is None and looked_at and (size := image_size_if_readable(sample.image)):
        sigma = size[1] * description.get("sigma_of_width", _DEFAULT_SIGMA_OF_WIDTH)
    return dataclasses.replace(sample, sigma=sigma)
