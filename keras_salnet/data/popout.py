"""The embedded dataset: odd-one-out ("pop-out") displays, drawn by code.

The classic search displays of attention research (Treisman & Gelade, 1980): many bars alike on a
textured ground and one that differs in colour, orientation or size. People look at the odd one, so
the ground truth is known without an eye tracker: a Gaussian at the target over a weak centre bias.
The target is equally likely anywhere, so that knowing the centre bias alone does not help much.
"""

import logging
import os
from pathlib import Path

import cv2
import numpy as np

from keras_salnet.data.density import fixation_density
from keras_salnet.files import atomic
from keras_salnet.images.files import write_picture

logger = logging.getLogger(__name__)

SIZE = 192  # pixels, height and width of a display
SPLITS = {"train": 1000, "val": 100, "test": 100}
FIXATIONS = 30  # a display

# Of the drawing code: displays of another version lie in another folder.
_VERSION = 1
_TARGET_SIGMA = 12.0  # pixels
_CENTRE_SIGMA = 45.0
_CENTRE_WEIGHT = 0.2
_GRID = 5  # items a side, before some are left out
_MARGIN = 8  # pixels between the target's centre and the border
_SINGLETONS = ("colour", "orientation", "size")


def folder():
    """The folder of the displays, in SALICON's layout; drawn when it is not there yet.

    It lies in Keras's cache (``KERAS_HOME``, else ``~/.keras``), takes 60 MB, and is the same
    for the same versions of numpy and OpenCV.

    Raises:
        OSError: the cache cannot be written.
    """
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    path = home / "datasets" / f"keras-salnet-popout-{_VERSION}"
    if not path.is_dir():
        logger.info("drawing the pop-out displays into %s", path)
        with atomic(path) as draft:
            write(draft)
    return path


def write(root, splits=None):
    """Draw displays into a folder, in SALICON's layout.

    Args:
        root: the folder.
        splits: split → number of displays; `SPLITS` by default. No display is in two splits.
    """
    for number, (split, count) in enumerate((splits or SPLITS).items()):
        folders = [Path(root) / kind / split for kind in ("images", "maps", "fixations")]
        for path in folders:
            path.mkdir(parents=True, exist_ok=True)
        images, maps, fixations = folders
        for index in range(count):
            image, density, points = draw(number, index)
            name = f"{split}_{index:04d}"
            write_picture(images / f"{name}.jpg", image)
            levels = np.round(density / density.max() * 65535).astype(np.uint16)
            write_picture(maps / f"{name}.png", levels)
            looked = np.zeros((SIZE, SIZE), np.uint8)
            looked[points[:, 1], points[:, 0]] = 255
            write_picture(fixations / f"{name}.png", looked)


def draw(split, index):
    """Draw one display.

    Args:
        split, index: ints; each pair is a display of its own.

    Returns:
        image (192, 192, 3) uint8 RGB, density (192, 192) float64 that sums to 1, and 30 fixations
        (30, 2) int (x, y), sampled from it.
    """
    rng = np.random.default_rng((split, index))
    image = _ground(rng)
    target = rng.uniform(_MARGIN, SIZE - 1 - _MARGIN, 2)
    common, odd = _looks(rng)
    for place in _places_around(target, rng):
        _draw_bar(image, *place, common, rng)
    _draw_bar(image, *target, odd, rng)
    noise = rng.normal(0, 2, (SIZE, SIZE, 1))
    image = np.clip(image + noise, 0, 255).astype(np.uint8)

    at_target = fixation_density([target], (SIZE, SIZE), _TARGET_SIGMA)
    at_centre = fixation_density([[(SIZE - 1) / 2] * 2], (SIZE, SIZE), _CENTRE_SIGMA)
    density = (1 - _CENTRE_WEIGHT) * at_target + _CENTRE_WEIGHT * at_centre
    chosen = rng.choice(density.size, FIXATIONS, p=density.ravel())
    return image, density, np.stack([chosen % SIZE, chosen // SIZE], axis=1)


def _ground(rng):
    """A dim, smooth texture of two random tints, (SIZE, SIZE, 3) float32."""
    cells = int(rng.integers(4, 24))
    noise = rng.random((cells, cells, 1)).astype(np.float32)
    weight = cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)[..., None]
    tints = rng.uniform(40, 110) + rng.uniform(-15, 15, (2, 3)).astype(np.float32)
    return np.ascontiguousarray(tints[0] * weight + tints[1] * (1 - weight), np.float32)


def _places_around(target, rng):
    """Centres of the other bars, (n, 2): a jittered grid with gaps, clear of the target."""
    cell = SIZE / _GRID
    columns, rows = np.meshgrid(np.arange(_GRID), np.arange(_GRID))
    centres = (np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * cell
    centres += rng.uniform(-0.15, 0.15, centres.shape) * cell
    centres = centres[np.hypot(*(centres - target).T) > 0.8 * cell]
    return rng.permutation(centres)[: rng.integers(15, 25)]


def _looks(rng):
    """The look (hue, angle, length) of the common bars and of the odd one."""
    hue, angle, length = rng.uniform(0, 180), rng.uniform(0, 180), rng.uniform(20, 24)
    kind = rng.choice(_SINGLETONS)
    common = odd = (hue, angle, length)
    if kind == "colour":
        odd = (hue + rng.uniform(50, 130), angle, length)
    elif kind == "orientation":
        odd = (hue, angle + rng.uniform(50, 130), length)
    else:
        factor = rng.choice([0.5, 1.6])
        odd = (hue, angle, length * factor)
    return common, odd


def _draw_bar(image, x, y, look, rng):
    """A bar of one third of its length in width, slightly unlike its neighbours, anti-aliased."""
    hue, angle, length = look
    hue = (hue + rng.normal(0, 1.5)) % 180
    angle += rng.normal(0, 4)
    value = rng.uniform(200, 240)
    pixel = np.array([[[hue, 200, value]]], np.uint8)
    colour = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)

    left, top = max(0, int(x - length)), max(0, int(y - length))
    patch = image[top : int(y + length) + 1, left : int(x + length) + 1]
    corners = cv2.boxPoints(((float(x - left), float(y - top)), (length, length / 3), angle))
    shift = 4  # fractional bits of the corners
    cover = np.zeros(patch.shape[:2], np.uint8)
    corners = np.round(corners * 2**shift).astype(np.int32)
    cv2.fillConvexPoly(cover, corners, 255, lineType=cv2.LINE_AA, shift=shift)
    patch += cover[..., None] / np.float32(255) * (colour - patch)
