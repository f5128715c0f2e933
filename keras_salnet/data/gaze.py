"""Files of eye tracking → where people looked: (n, 2) points (x, y), and (n,) whose they are.

One function a format. Points are 0-based pixels of the image, wherever they lie; what lies outside
is dropped later, where the image's size is known.
"""

import contextlib
import csv
from pathlib import Path

import numpy as np

_NO_POINTS = np.zeros((0, 2))

# Of Judd's eye tracker and of the MATLAB code that comes with its data.
_SAMPLES_A_SECOND = 240
_SACCADE = 34 * 6  # change of speed that begins or ends one: pixels a degree × degrees a second
_SMOOTHING = 4  # samples
_LONGEST_END = 25  # samples from the speeding up to the end of the slowing down
_SHORTEST_FIXATION = 12  # samples, 50 ms


def join_observers(fixations):
    """A list of (k, 2) points, one an observer → ((n, 2) float64 points, (n,) ints: whose)."""
    fixations = [np.asarray(points, np.float64).reshape(-1, 2) for points in fixations]
    observer = np.repeat(np.arange(len(fixations)), [len(points) for points in fixations])
    return np.concatenate([_NO_POINTS, *fixations]), observer


def map_points(looked, size=None):
    """A map of fixations, (H, W) and above 0 where somebody looked → (n, 2) float64 points.

    Raises:
        ValueError: it has not the size (height, width), where that is given.
    """
    if size is not None and looked.shape != tuple(size):
        shape = "x".join(map(str, looked.shape[::-1]))
        raise ValueError(f"the fixation map is {shape}, its image {size[1]}x{size[0]}")
    y, x = np.nonzero(looked > 0)
    return np.stack([x, y], axis=1).astype(np.float64)


@contextlib.contextmanager
def open_mat(path, kind, load=None):
    """The variables of a MATLAB file, for a `with` block that reads `kind` of file from them.

    Args:
        path: the file.
        kind: what it should be, for the message.
        load: function from the path to the variables; `scipy.io.loadmat` by default.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read, or the block fails: it is not of this kind.
    """
    import scipy.io  # 0.3 s that other layouts need not wait for

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        yield (load or scipy.io.loadmat)(path)
    except Exception as error:  # what scipy raises on a broken file has no common base
        raise ValueError(f"{path}: not {kind}: {error!r}") from error


def _load_cells(path):
    """Variables of a MATLAB file, also of numbers and cells in one of MATLAB 7.3, which is HDF5."""
    import h5py
    import scipy.io

    def value(item):
        if item.attrs.get("MATLAB_empty"):
            return np.zeros((0, 0))
        array = item[()].T  # MATLAB counts columns first
        if item.dtype != h5py.ref_dtype:
            return array
        cells = np.empty(array.shape, object)
        for place, reference in np.ndenumerate(array):
            cells[place] = value(file[reference])
        return cells

    try:
        return scipy.io.loadmat(path)
    except NotImplementedError:
        with h5py.File(path) as file:
            return {name: value(file[name]) for name in ("white", "fixCell") if name in file}


def read_image_mat(path, size=None):
    """Read an image's own file: SALICON's, a struct array ``gaze``, or CAT2000's ``fixLocs``.

    The first holds each observer's 1-based ``fixations``, the second a map of them all.

    Args:
        path: the file.
        size: (height, width) of the image, which a map must have; None where it is not known.

    Returns:
        ((n, 2) float64 points (x, y), 0-based, (n,) ints: the observer of each, or None).

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not such a file.
    """
    kind = (
        "a fixation file of SALICON's (a struct array `gaze` with `fixations`) or CAT2000's (a map "
        "`fixLocs`)"
    )
    with open_mat(path, kind) as mat:
        if "fixLocs" in mat:
            return map_points(mat["fixLocs"], size), None
        fixations = list(mat["gaze"].ravel()["fixations"])
        if any(points.size and points.shape[1] != 2 for points in fixations):
            raise ValueError("fixations must have two columns, x and y")
        return join_observers([points.astype(np.float64) - 1 for points in fixations])


def read_osie_mat(path):
    """Read ``fixations.mat`` of OSIE's family: each image's name and its observers' fixations.

    Yields:
        (file name of an image, ((n, 2) points, (n,) ints)).

    Raises:
        FileNotFoundError, ValueError: as `read_image_mat`.
    """
    kind = (
        "a fixations.mat of OSIE's family (a cell array `fixations` of `img` and `subjects` with "
        "`fix_x` and `fix_y`)"
    )
    with open_mat(path, kind) as mat:
        for cell in mat["fixations"].ravel():
            record = cell[0, 0]
            subjects = [_osie_points(subject[0, 0]) for subject in record["subjects"].ravel()]
            yield str(record["img"].item()), join_observers(subjects)


def _osie_points(subject):
    # Files of this family store what fits: uint8 would overflow in the first sum.
    x, y = (np.asarray(subject[k], np.float64).ravel() for k in ("fix_x", "fix_y"))
    return np.stack([x, y], axis=1)


def read_cells_mat(path, size_of):
    """Read a file with a cell for each image: Toronto's ``white``, PASCAL-S's ``fixCell``.

    The cells of the first are maps; those of the second have a row a fixation: 1-based row and
    column of the pixel, and the observer.

    Args:
        path: the file.
        size_of: function from a cell's number, from 1, to its image's (height, width), or None
            where that is not known.

    Yields:
        ((n, 2) points, (n,) observers or None), in the order of the cells.

    Raises:
        FileNotFoundError, ValueError: as `read_image_mat`.
    """
    kind = "a file of fixations, a cell an image (Toronto's `white` or PASCAL-S's `fixCell`)"
    with open_mat(path, kind, _load_cells) as mat:
        maps = "white" in mat
        for number, cell in enumerate(mat["white" if maps else "fixCell"].ravel(), start=1):
            try:
                yield (map_points(cell, size_of(number)), None) if maps else _pascal_points(cell)
            except ValueError as error:
                raise ValueError(f"cell {number}: {error}") from None


def _pascal_points(rows):
    if rows.size == 0:
        return _NO_POINTS, np.zeros(0, int)
    y, x, observer = rows.astype(np.float64).T
    return np.stack([x, y], axis=1) - 1, np.unique(observer, return_inverse=True)[1]


def read_judd_mat(path):
    """Read one observer's gaze at one image of MIT1003: ``DATA/OBSERVER/IMAGE.mat``.

    The file holds what the eye tracker saw, 240 times a second. Its fixations are those of Judd's
    code (`judd_fixations`) but for the first, which is where the cross was that people looked at
    before the image came: as the paper and pysaliency do. Coordinates are taken as 0-based.

    Returns:
        (n, 2) float64 points (x, y); blinks lie outside the image.

    Raises:
        FileNotFoundError, ValueError: as `read_image_mat`.
    """
    kind = "an eye tracking file of MIT1003's (a struct with `DATA` with `eyeData`)"
    with open_mat(path, kind) as mat:
        (record,) = (value for name, value in mat.items() if not name.startswith("__"))
        gaze = record["DATA"].ravel()[0]["eyeData"].ravel()[0].astype(np.float64)
        if gaze.size == 0:
            return _NO_POINTS
        if gaze.ndim != 2 or gaze.shape[1] < 2:
            raise ValueError(f"eyeData must have two columns, x and y, not the shape {gaze.shape}")
        return judd_fixations(gaze[:, :2])[1:]


def judd_fixations(gaze):
    """Find the fixations in a recording of gaze as ``checkFixations.m`` of MIT1003 does.

    A saccade begins where the eye speeds up for three samples or more, and ends where it stops
    slowing down after that. What lies between two saccades is a fixation if it is long enough.

    Args:
        gaze: (n, 2) float64 points (x, y), 240 a second.

    Returns:
        (k, 2) float64: the median of each fixation, in their order; k ≥ 1. NaN where nothing of a
        fixation was seen.

    Source: B. Hidalgo-Sotelo's code, published with Judd, Ehinger, Durand, Torralba: Learning to
        predict where humans look. ICCV 2009.
    """
    count = len(gaze)
    saccades = []
    for start, end in _saccades(_acceleration(gaze)):
        if saccades and start - saccades[-1][1] <= _SHORTEST_FIXATION:
            saccades[-1] = saccades[-1][0], end
        else:
            saccades.append((start, end))
    if saccades and count - 1 - saccades[-1][1] <= _SHORTEST_FIXATION:
        saccades[-1] = saccades[-1][0], count - 1
    starts = [0, *(end + 1 for _, end in saccades)]
    ends = [*(start for start, _ in saccades), count]
    return np.array(
        [_median(gaze[start:end]) for start, end in zip(starts, ends, strict=True) if start < count]
    )


def _acceleration(gaze):
    """(n,) change of the smoothed speed at each sample, in pixels a second."""
    steps = np.zeros(len(gaze))
    steps[1:] = np.hypot(*np.diff(gaze, axis=0).T)
    steps = np.convolve(steps, np.full(_SMOOTHING, 1 / _SMOOTHING))[: len(gaze)]
    change = np.zeros(len(gaze))
    window = _SMOOTHING + 1
    if len(gaze) > window + 1:
        speed = np.lib.stride_tricks.sliding_window_view(steps, window).sum(axis=1)
        speed *= _SAMPLES_A_SECOND / _SMOOTHING
        change[1:-window] = np.diff(speed)[1:]
    return change


def _saccades(change):
    """Yield (first sample, last sample) of each saccade, which may overlap."""
    slowing = change < -_SACCADE
    edges = np.diff(np.concatenate([[0], change > _SACCADE, [0]]).astype(int))
    starts, ends = np.nonzero(edges > 0)[0], np.nonzero(edges < 0)[0] - 1
    lasting = ends - starts >= 2
    starts, ends = starts[lasting], ends[lasting]
    for start, end in zip(starts, ends, strict=True):
        after = np.arange(end + 1, min(end + 1 + _LONGEST_END, len(change) - 2))
        settled = after[slowing[after] & ~slowing[after + 1]]
        if len(settled):
            yield start, settled[0]
        elif len(ends) == 1 and end == np.nonzero(change)[0][-1]:
            yield start, len(change) - 1  # the image went before the eye stood still


def _median(points):
    """Median of the points' x and of their y, each without NaN; NaN where there is nothing else."""
    values = (axis[~np.isnan(axis)] for axis in points.T)
    return [np.median(axis) if len(axis) else np.nan for axis in values]


def read_table(path, images, splits):
    """Read a CSV table of fixations, with the columns image, x, y and, where known, observer.

    Args:
        path: the table.
        images: folder that the column image is relative to.
        splits: names of the folders in there, of which one comes before an image's name; none
            where the images lie in `images` itself.

    Returns:
        Path of an image → ((n, 2) points, (n,) ints, or None where some observer is missing).

    Raises:
        ValueError: it is not such a table; the message names the line.
    """
    looks = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = {"image", "x", "y"} - set(table.fieldnames or ())
            if missing:
                raise ValueError(
                    f"has no column {' and no column '.join(sorted(missing))}; its first line must "
                    "name the columns image, x, y and, where known, observer."
                )
            for row in table:
                try:
                    name, *look = _read_row(row, splits)
                except ValueError as error:
                    raise ValueError(f"line {table.line_num}: {error}") from None
                looks.setdefault(images / name, []).append(look)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from None
    gaze = {}
    for image, rows in looks.items():
        points, observers = zip(*rows, strict=True)
        known = None not in observers
        gaze[image] = (
            np.array(points),
            np.unique(observers, return_inverse=True)[1] if known else None,
        )
    return gaze


def _read_row(row, splits):
    """A row of the table → (image, (x, y), observer or None)."""
    if any(row.get(None) or ()):
        raise ValueError("has more cells than the first line; decimals must be written as 1.5.")
    name = Path(row["image"] or "")
    if len(name.parts) != 1 + bool(splits) or (splits and name.parts[0] not in splits):
        wanted = f"{splits[0]}/{name.name}" if splits else "photo.jpg"
        raise ValueError(f"image must be its path below images, as {wanted}, not {str(name)!r}.")
    try:
        point = float(row["x"]), float(row["y"])
    except (TypeError, ValueError):
        raise ValueError(f"x and y must be numbers, not {row['x']!r} and {row['y']!r}.") from None
    return name, point, row.get("observer") or None
