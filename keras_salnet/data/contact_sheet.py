"""A contact sheet: some images of a dataset with their ground truth, to see that they fit."""

import cv2
import numpy as np

from keras_salnet.images.geometry import Placement
from keras_salnet.images.visualize import overlay

_TILE = (144, 192)  # height and width in pixels of an image on the sheet
_GAP = 4
_LINE = 18  # pixels for the name under a tile
_COLUMNS = 4  # of pairs of tiles


def contact_sheet(dataset, count=24):
    """Draw a grid of images, spread evenly over the splits and over each.

    Each has its fixations drawn in and its mask outlined, and beside it the ground truth as a heat
    map over the image: its density, or its mask where there is none. What cannot be read is left
    out.

    Args:
        dataset: `Dataset`.
        count: int ≥ 1, of images, at least one a split.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: no image can be drawn.
    """
    share = max(1, count // max(1, len(dataset.splits)))
    tiles = []
    for split, samples in dataset.splits.items():
        places = np.linspace(0, len(samples) - 1, min(share, len(samples))).round().astype(int)
        for sample in (samples[place] for place in places):
            try:
                tiles.append(_tile(sample, split))
            except (OSError, ValueError):
                continue  # `check` tells
    if not tiles:
        raise ValueError(f"{dataset.name}: no image can be drawn.")
    columns = min(_COLUMNS, len(tiles))
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _tile(sample, split):
    """A sample beside its ground truth, its name below: (H, W, 3) uint8 RGB."""
    image = sample.read_image()
    placement = Placement(image.shape[:2], _TILE, "pad")
    plain = placement.image(image).round().astype(np.uint8)
    drawn = plain.copy()
    truth = None
    if sample.mask is not None:
        truth = (placement.image(sample.read_mask()[..., None].astype(np.float32)) > 0.5)[..., 0]
        contours, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, (0, 255, 0), 1)
    if sample.fixations is not None or sample.density is not None:
        truth = sample.read_density_in(_TILE, "pad")
    for point in placement.points(sample.read_fixations()).round().astype(int).tolist():
        for radius, colour in ((2, (0, 0, 0)), (1, (255, 255, 255))):
            cv2.circle(drawn, point, radius, colour, cv2.FILLED)
    heat = plain if truth is None else overlay(plain, truth)
    height, width = _TILE
    tile = np.zeros((height + _LINE + _GAP, 2 * (width + _GAP), 3), np.uint8)
    tile[:height, :width] = drawn
    tile[:height, width + _GAP : -_GAP] = heat
    # OpenCV's letters are ASCII alone.
    text = f"{split}/{sample.name}".encode("ascii", "replace").decode()
    place = (2, height + _LINE - 5)
    cv2.putText(tile, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (200, 200, 200), 1, cv2.LINE_AA)
    return tile
