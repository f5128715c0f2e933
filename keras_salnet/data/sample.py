"""One image and what is known of where people looked at it, or of the objects that stand out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_salnet.data.density import LEAST_SIGMA, fixation_density
from keras_salnet.data.gaze import join_observers, map_points, read_image_mat, read_judd_mat
from keras_salnet.images.files import image_size, read_grey, read_image
from keras_salnet.images.geometry import Placement

_NO_POINTS = np.zeros((0, 2))


class Gaze(NamedTuple):
    """Where people looked at an image.

    Args:
        points: (n, 2) float64 fixations (x, y) inside the image.
        observer: (n,) ints, whose fixation each is, or None where that is not known.
        dropped: int, how many more lay outside the image and are left out.
    """

    points: np.ndarray
    observer: np.ndarray | None
    dropped: int


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its ground truth, as files: nothing is decoded before it is needed.

    Args:
        image: path of the image.
        density: path of a density map (8- or 16-bit greyscale), or None: then the density is made
            from the fixations.
        fixations: (n, 2) float64 points (x, y) in pixels of the image, 0-based, pixel centres at
            whole numbers; or the path of a fixation map, non-zero where somebody looked, or of
            SALICON's or CAT2000's ``.mat``; or those of MIT1003's ``.mat``, one an observer; or
            None.
        observer: (n,) ints, whose fixation each is, or None where unknown or in those files.
        sigma: standard deviation of the Gaussian that turns fixations into a density, in pixels
            of the image.
        dropped: int, how many more points lay outside the image and were left out of `fixations`.
        mask: path of a mask of the salient objects, white on black, or None. Where nothing else is
            known, it is the density: equal on all of the objects, 0 elsewhere.
    """

    image: Path
    density: Path | None = None
    fixations: np.ndarray | Path | tuple[Path, ...] | None = field(default=None, repr=False)
    observer: np.ndarray | None = field(default=None, repr=False)
    sigma: float | None = None
    dropped: int = 0
    mask: Path | None = None

    @property
    def name(self):
        """File name of the image without its ending."""
        return self.image.stem

    @property
    def has_mask_only(self):
        """Whether a mask is known and nothing of where people looked."""
        return self.mask is not None and self.density is None and self.fixations is None

    @property
    def map_file(self):
        """Path of the map or mask that the density is, or None where it is made from fixations."""
        return self.mask if self.has_mask_only else self.density

    def read_image(self):
        """(H, W, 3) uint8 RGB."""
        return read_image(self.image)

    def read_fixations(self):
        """(n, 2) float64 points inside the image; empty where there are none."""
        return self.read_gaze().points

    def read_gaze(self):
        """The fixations inside the image, whose they are, and how many lay outside: `Gaze`."""
        if self.fixations is None:
            return Gaze(_NO_POINTS, None, 0)
        if isinstance(self.fixations, np.ndarray):
            return Gaze(self.fixations, self.observer, self.dropped)
        if isinstance(self.fixations, Path) and self.fixations.suffix.lower() != ".mat":
            return Gaze(read_fixation_map(self.fixations), None, 0)
        size = image_size(self.image)
        return gaze_inside(*self.read_mats(size), size)

    def read_mats(self, size=None):
        """The fixations of MATLAB files as these hold them, wherever they lie.

        Args:
            size: (height, width) of the image, which a map of fixations must have; None where it
                is not known.

        Returns:
            ((n, 2) float64 points, (n,) ints: whose, or None).
        """
        if isinstance(self.fixations, Path):
            return read_image_mat(self.fixations, size)
        return join_observers([read_judd_mat(path) for path in self.fixations])

    def read_mask(self):
        """(H, W) bool: where the salient objects are, at least half as bright as white.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is not an image, or no mask is known.
        """
        if self.mask is None:
            raise ValueError(f"{self.image}: there is no mask.")
        grey = read_grey(self.mask)
        return grey >= np.iinfo(grey.dtype).max / 2

    def read_density(self, size):
        """The ground-truth density at its own resolution.

        Args:
            size: (height, width) of the image, for a density made from fixations.

        Returns:
            (H, W) float64 that sums to 1.

        Raises:
            ValueError: the map or mask is empty, or there is neither, nor fixations.
        """
        level = self._read_map()
        if level is not None:
            return _normalized(level)
        return fixation_density(self.density_points(), size, self.sigma)

    def read_density_in(self, input_size, resize="stretch"):
        """The ground-truth density in a frame: what training sees, without augmentation.

        Args:
            input_size: (height, width).
            resize: ``"stretch"`` or ``"pad"``.

        Returns:
            (H, W) float64 that sums to 1; 0 on padding.

        Raises:
            ValueError: as `read_density`.
        """
        level = self._read_map()
        placement = Placement(image_size(self.image), input_size, resize)
        if level is not None:
            # In the image's box: a small map's own is another one, by the rounding of its size.
            return _normalized(placement.image(level[..., None])[..., 0])
        points = placement.points(self.density_points())
        sigma = np.maximum(self.sigma * placement.scale(), LEAST_SIGMA)
        density = fixation_density(points, input_size, sigma)
        return _normalized(density * placement.mask()[..., 0])

    def read_in(self, input_size, resize="stretch"):
        """Read the sample as training sees it, without augmentation.

        Args:
            input_size: (height, width).
            resize: ``"stretch"`` or ``"pad"``.

        Returns:
            (H, W, 3) image, (H, W, 1) density and (H, W, 1) mask in the frame, float32.

        Raises:
            ValueError: as `read_density`.
        """
        image = self.read_image()
        density = self.read_density_in(input_size, resize)[..., None].astype(np.float32)
        placement = Placement(image.shape[:2], input_size, resize)
        return placement.image(image), density, placement.mask()

    def refuse_another(self, input_size, resize):
        """Raise ValueError if the sample was prepared with another input size or resizing."""

    def density_points(self):
        """The fixations that the density is made from, where there is no map: (n, 2), n ≥ 1.

        Raises:
            ValueError: there is no fixation, or no σ.
        """
        fixations = self.read_fixations()
        if len(fixations) == 0 or self.sigma is None:
            raise ValueError(f"{self.image}: there is neither a density map nor a fixation.")
        return fixations

    def _read_map(self):
        """The content of `map_file`, (H, W) float64 of any sum, or None."""
        if self.map_file is None:
            return None
        if self.has_mask_only:
            level, empty = self.read_mask(), "mask is empty (nothing is white)"
        else:
            level, empty = read_grey(self.density), "density map is empty (all zeros)"
        if not level.any():
            raise ValueError(f"{self.map_file}: the {empty}.")
        return level.astype(np.float64)


def _normalized(density):
    return density / density.sum(dtype=np.float64)


def gaze_inside(points, observer, size):
    """`Gaze` at an image of (height, width), of points (n, 2) anywhere and their observer."""
    inside = points_inside(points, size)
    observer = None if observer is None else observer[inside]
    return Gaze(points[inside], observer, int(np.sum(~inside)))


def points_inside(points, size):
    """(n,) bool: which points (x, y) lie inside an image of (height, width); NaN does not."""
    height, width = size
    x, y = points[:, 0], points[:, 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def read_fixation_map(path):
    """Read a picture of fixations: (n, 2) float64 points where it is not black.

    In a JPEG, what surrounds a bright pixel is not quite black: there, they are what is more than
    half as bright as the brightest.
    """
    looked = read_grey(path)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        looked = looked > looked.max() / 2
    return map_points(looked)
