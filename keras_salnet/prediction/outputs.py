"""Where what is made of an image goes."""

import string
from pathlib import Path
from typing import NamedTuple

_FIELDS = ("name", "ending", "kind", "folder")


class Found(NamedTuple):
    """A file to predict for.

    Args:
        path: of the file.
        folder: the part of its folder's path that its outputs keep, ``.`` for none.
    """

    path: Path
    folder: Path = Path()


class Outputs:
    """The names of the files that are written: an ``--out`` of the command line.

    Args:
        out: a folder, which stands for ``FOLDER/{folder}/{name}_{kind}.png``; or a file; or a
            pattern of the fields ``{name}`` and ``{ending}`` of the image's file, ``{kind}`` of
            picture and ``{folder}``, the image's below the one that was asked for.
        ending: of the files, where `out` is a folder.

    Raises:
        ValueError: an unknown field.

    Example:
        >>> Outputs("maps").path(Found(Path("a/photo.jpg")), "overlay").as_posix()
        'maps/photo_overlay.png'
        >>> Outputs("maps/{name}.png").path(Found(Path("a/photo.jpg")), "overlay").as_posix()
        'maps/photo.png'
    """

    def __init__(self, out, ending=".png"):
        self.pattern = str(out)
        self.fields = _fields(self.pattern)
        if not self.fields and not Path(out).suffix:
            self.pattern = str(Path(out) / "{folder}" / ("{name}_{kind}" + ending))
            self.fields = _fields(self.pattern)
        unknown = self.fields.difference(_FIELDS)
        if unknown:
            raise ValueError(
                f"--out {out}: there is no field {{{unknown.pop()}}}; there are: "
                f"{', '.join(f'{{{name}}}' for name in _FIELDS)}."
            )

    @property
    def root(self):
        """The folder that everything lies in."""
        fixed = Path(self.pattern.partition("{")[0] + "_")  # so that "maps/" is not its own parent
        return fixed.parent

    def check(self, kinds, several, nested=False):
        """See that no two files get the same name.

        Args:
            kinds: of what is written for each image.
            several: whether there may be more than one image.
            nested: whether some lie in folders that only ``{folder}`` tells apart.

        Raises:
            ValueError: they would.
        """
        for field, needed in (("name", several), ("kind", len(kinds) > 1), ("folder", nested)):
            if needed and field not in self.fields:
                raise ValueError(
                    f"--out {self.pattern}: one file for several {field}s; give a folder, or a "
                    f"pattern with {{{field}}}."
                )

    def check_names(self, paths):
        """See that no two files, of folders that their outputs' names do not tell, get one name.

        Args:
            paths: of the files.

        Raises:
            ValueError: they would.
        """
        written = {}
        for path in paths:
            target = self.path(Found(path), "saliency")
            if target in written:
                raise ValueError(
                    f"{written[target]} and {path} would both be written as {target}; predict them "
                    "into different --out folders."
                )
            written[target] = path

    def check_folder(self, folder, place):
        """See that what is below a folder gets names of its own, outside of it.

        Args:
            folder: path.
            place: what its images' outputs keep of it, as `Found.folder`.

        Raises:
            ValueError: they would be taken for its images the next time.
        """
        inside = folder.resolve()
        target = self.path(Found(folder / "image.png", place), "saliency").resolve()
        if inside in target.parents and inside not in self.root.resolve().parents:
            raise ValueError(
                f"--out {self.pattern}: lies in {folder}, whose images would include it "
                "next time; give a folder of its own."
            )

    def path(self, found, kind, ending=None):
        """The file of one kind for one image.

        Args:
            found: `Found`.
            kind: word for ``{kind}``.
            ending: instead of the pattern's own.

        Returns:
            Path.
        """
        path = Path(
            self.pattern.format(
                name=found.path.stem,
                ending=found.path.suffix.lstrip("."),
                kind=kind,
                folder=found.folder.as_posix(),
            )
        )
        return path.with_suffix(ending) if ending else path


def _fields(pattern):
    try:
        return {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
    except ValueError as error:
        raise ValueError(f"--out {pattern}: is not a valid pattern: {error}.") from error
