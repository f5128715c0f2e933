"""A model's folder of numbered versions, as TensorFlow Serving watches it."""

from pathlib import Path


def versions(folder):
    """The versions in a model's folder.

    Args:
        folder: path.

    Returns:
        List of their folders' paths, the newest first.
    """
    found = [path for path in Path(folder).glob("*") if _is_number(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def version_folder(path):
    """Where an export to a path goes.

    Args:
        path: a model's folder, such as ``models/saliency``, which gets its next version; or a
            version, such as ``models/saliency/7``, whose name is its number.

    Returns:
        Path of a version's folder.

    Raises:
        FileExistsError: `path` is a model itself, or a file.

    Example:
        >>> version_folder("models/saliency").as_posix()
        'models/saliency/1'
        >>> version_folder("models/saliency/7").as_posix()
        'models/saliency/7'
    """
    path = Path(path)
    if _is_number(path.name):
        return path
    if path.is_file() or (path / "saved_model.pb").exists():
        raise FileExistsError(
            f"{path}: is itself a {'file' if path.is_file() else 'SavedModel'}, not a folder of "
            "numbered versions; choose another path."
        )
    newest = versions(path)[:1]
    return path / str(int(newest[0].name) + 1 if newest else 1)


def _is_number(name):
    return name.isascii() and name.isdigit()
