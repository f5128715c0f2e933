"""Writing files and folders whole or not at all."""

import contextlib
import os
import re
import shutil
import uuid
from pathlib import Path


@contextlib.contextmanager
def atomic(path, replace=True):
    """Write to a temporary name, renamed to `path` when the block succeeds.

    Args:
        path: the file or folder to make; one that exists is replaced.
        replace: False: a folder that exists, with anything in it, is not: that is an `OSError`.

    Yields:
        Path beside it, with the same ending, where nothing exists yet.

    Example:
        >>> with atomic("map.png") as draft:  # doctest: +SKIP
        ...     cv2.imwrite(str(draft), pixels)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, dot, endings = path.name.partition(".")
    draft = path.with_name(f".{stem}-{uuid.uuid4().hex[:8]}{dot}{endings}")
    try:
        yield draft
        if draft.is_dir() and path.is_dir() and replace:
            # A folder cannot be renamed onto another: the old one steps aside until then.
            old = path.with_name(f"{draft.name}-old")
            os.replace(path, old)
            os.replace(draft, path)
            shutil.rmtree(old)
        else:
            if draft.is_file():
                with draft.open("rb+") as file:  # else a power cut could leave the name alone
                    os.fsync(file.fileno())
            os.replace(draft, path)
    finally:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def remove_drafts(folder):
    """Remove, anywhere in a folder, what `atomic` left there when its process was killed."""
    for path in list(Path(folder).rglob(".*")):
        if re.fullmatch(r"\..*-[0-9a-f]{8}(\..*|-old)?", path.name):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
