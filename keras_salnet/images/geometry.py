"""How an image of any size lies in the network's frame, and the way back.

One definition (`Placement`), applied here in numpy and OpenCV and in `keras_salnet.data.pipeline`
in TensorFlow; the tests hold the two equal.
"""

from dataclasses import dataclass

import cv2
import numpy as np

MODES = ("stretch", "pad")


@dataclass(frozen=True)
class Placement:
    """The box of the frame that shows an image.

    One object moves image, map and points, so that they cannot drift apart. Pixel centres lie at
    whole coordinates.

    Args:
        source: (height, width) of the image.
        input_size: (height, width) of the network's input.
        mode: ``"stretch"`` fills the frame, ``"pad"`` keeps the aspect and centres the image
            between bars of zeros.

    Example:
        >>> placement = Placement((480, 640), (256, 256), "pad")
        >>> placement.box
        (32, 0, 192, 256)
        >>> placement.points([[319.5, 239.5]]).tolist()
        [[127.5, 127.5]]
    """

    source: tuple[int, int]
    input_size: tuple[int, int]
    mode: str = "stretch"

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"resize must be one of {', '.join(MODES)}, not {self.mode!r}.")

    @property
    def box(self):
        """(top, left, height, width) of the image in the frame, in whole pixels."""
        return placement_box(*self.source, *self.input_size, self.mode, minimum=min, maximum=max)

    def image(self, image):
        """(h, w, C) image or map → (H, W, C) float32 in the frame, zeros around it."""
        top, left, height, width = self.box
        canvas = np.zeros((*self.input_size, image.shape[2]), np.float32)
        canvas[top : top + height, left : left + width] = resample(image, (height, width))
        return canvas

    def mask(self):
        """(H, W, 1) float32: 1 where the frame shows the image, 0 where it is padding."""
        top, left, height, width = self.box
        mask = np.zeros((*self.input_size, 1), np.float32)
        mask[top : top + height, left : left + width] = 1
        return mask

    def undo(self, saliency):
        """(H, W) map of the frame → (h, w) float32 map of the image."""
        top, left, height, width = self.box
        inside = saliency[top : top + height, left : left + width, None]
        return resample(inside, self.source)[..., 0]

    def points(self, points):
        """(n, 2) points (x, y) of the image → float64 points of the frame."""
        scale, offset = self._scale_and_offset()
        return (np.asarray(points, np.float64).reshape(-1, 2) + 0.5) * scale - 0.5 + offset

    def undo_points(self, points):
        """(n, 2) points (x, y) of the frame → float64 points of the image."""
        scale, offset = self._scale_and_offset()
        return (np.asarray(points, np.float64).reshape(-1, 2) - offset + 0.5) / scale - 0.5

    def scale(self):
        """Frame pixels an image pixel, (x, y) float64: turns the image's σ into the frame's."""
        return self._scale_and_offset()[0]

    def _scale_and_offset(self):
        top, left, height, width = self.box
        scale = np.array([width / self.source[1], height / self.source[0]])
        return scale, np.array([left, top], np.float64)


def placement_box(height, width, input_height, input_width, mode, minimum, maximum):
    """The box of `Placement`, in integer arithmetic that Python and TensorFlow share.

    Args:
        height, width: of the image: ints or integer scalars.
        input_height, input_width, mode: as in `Placement`.
        minimum, maximum: the functions for these scalars.

    Returns:
        (top, left, height, width).
    """
    if mode == "stretch":
        return 0, 0, input_height, input_width
    # Rounded to the nearest pixel; the axis that limits the scale comes out exactly at its frame.
    box_height = (2 * height * input_width + width) // (2 * width)
    box_width = (2 * width * input_height + height) // (2 * height)
    box_height = maximum(minimum(box_height, input_height), 1)
    box_width = maximum(minimum(box_width, input_width), 1)
    return (input_height - box_height) // 2, (input_width - box_width) // 2, box_height, box_width


def resample(image, size):
    """Resample an image or map: area average where it shrinks, bilinear where it grows.

    Plain bilinear sampling of a large photograph would skip most of its pixels.

    Args:
        image: (h, w, C), any dtype OpenCV takes.
        size: (height, width).

    Returns:
        (height, width, C) float32, or float64 of a float64 image.
    """
    image = np.asarray(image)
    if image.dtype != np.float64:
        image = image.astype(np.float32)
    smaller = (min(image.shape[0], size[0]), min(image.shape[1], size[1]))
    for target, interpolation in ((smaller, cv2.INTER_AREA), (tuple(size), cv2.INTER_LINEAR)):
        if image.shape[:2] != target:
            resized = cv2.resize(image, target[::-1], interpolation=interpolation)
            image = resized.reshape(*target, -1)  # OpenCV drops a single channel
    return image
