"""Augmentation: drawn on the host from (seed, epoch, sample), applied on the device."""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops


class Ranges(NamedTuple):
    """How far augmentation goes: half-widths of uniform draws, but for `min_crop`."""

    rotation: float  # degrees
    min_crop: float  # smallest crop, as a part of the frame's side; the largest is 1
    brightness: float  # grey levels
    contrast: float  # of a factor around 1
    saturation: float


# Where people look depends on how a scene lies and is lit, and so is changed less than objects,
# whose ranges are those of PFA (Zhao & Wu, CVPR 2019).
RANGES = {
    "gaze": Ranges(rotation=10, min_crop=0.75, brightness=20, contrast=0.25, saturation=0.25),
    "objects": Ranges(rotation=25, min_crop=0.875, brightness=20, contrast=0.5, saturation=0),
}

WARP_SIZE = 9


def identity_warp():
    """The warp that changes nothing: (9,) float32."""
    return np.array([1, 0, 0, 0, 1, 0, 0, 1, 1], np.float32)


def draw_epoch(seed, epoch, samples, augment):
    """Draw the order of one epoch and what augmentation does in it.

    A pure function of its arguments, on numpy: every backend, worker and resumed run draws the
    same.

    Args:
        seed, epoch: ints ≥ 0.
        samples: int, the number of samples.
        augment: name in `RANGES`, or None for the identity.

    Returns:
        ((n,) int64 permutation of the samples, (n, 9) float32 warps in that order).
    """
    order = np.random.default_rng((0, seed, epoch)).permutation(samples)
    if augment is None:
        return order, np.tile(identity_warp(), (samples, 1))
    return order, draw_warps(seed, epoch, order, augment)


def draw_warps(seed, epoch, samples, augment="gaze"):
    """Draw what augmentation does to each sample in one epoch, whatever their order.

    Args:
        seed, epoch: ints ≥ 0.
        samples: (n,) ints, the samples' places in the dataset.
        augment: name in `RANGES`.

    Returns:
        (n, 9) float32: the affine map from output to input, (a b c; d e f) in pixels from the
        frame's centre with the shifts c and f in half frames, then brightness in grey levels,
        contrast and saturation as factors.
    """
    draws = (np.random.default_rng((1, seed, epoch, sample)) for sample in samples)
    return np.stack([_draw_warp(rng, RANGES[augment]) for rng in draws])


def _draw_warp(rng, ranges):
    flip = rng.choice([-1.0, 1.0])
    rotation = np.deg2rad(ranges.rotation)
    angle = rng.uniform(-rotation, rotation)
    crop = rng.uniform(ranges.min_crop, 1.0)
    shift_x, shift_y = rng.uniform(crop - 1, 1 - crop, size=2)
    cos, sin = crop * np.cos(angle), crop * np.sin(angle)
    return np.array(
        [
            *(flip * cos, -sin, shift_x),
            *(flip * sin, cos, shift_y),
            rng.uniform(-ranges.brightness, ranges.brightness),
            rng.uniform(1 - ranges.contrast, 1 + ranges.contrast),
            rng.uniform(1 - ranges.saturation, 1 + ranges.saturation),
        ],
        np.float32,
    )


@keras.saving.register_keras_serializable(package="keras_salnet")
class Augment(layers.Layer):
    """Flip, rotate, crop, brighten, contrast and saturate each sample by its own draw.

    Image, density and mask go through one warp, bilinear, written as gathers: it compiles
    under XLA on every backend. What the warp brings in from outside the frame repeats the image's
    border, has no density and is masked.

    Call:
        A dict of ``image`` (B, H, W, 3) 0…255, ``density`` and ``mask`` (B, H, W, 1) and ``warp``
        (B, 9) from `draw_warps` → a dict of the first three, float32. Outside training they are
        returned as they came.
    """

    def __init__(self, **kwargs):
        # Pixels and densities need float32 also where the network runs in less.
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs, training=None):
        image, density, mask = inputs["image"], inputs["density"], inputs["mask"]
        if training:
            warp = inputs["warp"]
            planes = ops.concatenate([image, density, mask], axis=-1)
            planes, inside = _affine(planes, ops.reshape(warp[:, :6], (-1, 2, 3)))
            # A pixel that mixes in padding is padding, and padding stays black.
            shown = ops.cast(planes[..., 4:] > 0.999, "float32")
            image = _recolour(planes[..., :3], warp[:, 6:]) * shown
            mask = shown * inside
            density = planes[..., 3:4] * mask
        return {"image": image, "density": density, "mask": mask}

    def compute_output_shape(self, input_shape):
        return {name: input_shape[name] for name in ("image", "density", "mask")}


def _affine(planes, matrix):
    """Sample planes (B, H, W, C) bilinearly at matrix (B, 2, 3) times the output's coordinates.

    Returns the warped planes, borders repeated, and (B, H, W, 1): 1 where the source lay inside.
    """
    _, height, width, channels = planes.shape
    half_x, half_y = (width - 1) / 2, (height - 1) / 2
    # Pixels from the centre, where a rotation is rigid in a frame of any aspect. Written out: as a
    # matrix product, GPUs would round the coordinates to TensorFloat-32, a part of a pixel.
    y, x = ops.meshgrid(
        ops.arange(height, dtype="float32") - half_y,
        ops.arange(width, dtype="float32") - half_x,
        indexing="ij",
    )
    x, y = ops.ravel(x), ops.ravel(y)  # (HW,)
    (a, b, c), (d, e, f) = ([matrix[:, i, j, None] for j in range(3)] for i in range(2))  # (B, 1)
    x, y = a * x + b * y + c * half_x + half_x, d * x + e * y + f * half_y + half_y  # (B, HW)
    tolerance = 1e-3
    inside = ops.logical_and(
        ops.logical_and(x >= -tolerance, x <= width - 1 + tolerance),
        ops.logical_and(y >= -tolerance, y <= height - 1 + tolerance),
    )
    x, y = ops.clip(x, 0, width - 1), ops.clip(y, 0, height - 1)
    left = ops.clip(ops.floor(x), 0, max(width - 2, 0))
    top = ops.clip(ops.floor(y), 0, max(height - 2, 0))
    corner = ops.cast(top, "int32") * width + ops.cast(left, "int32")
    corner += ops.arange(ops.shape(planes)[0], dtype="int32")[:, None] * (height * width)
    # The rows above and below are stacked and summed: XLA computes a stack and a sum once, where it
    # would repeat plain products and additions in each place that uses the result.
    rows = ops.stack([corner, corner + width], axis=1)  # (B, 2, HW)
    row_weights = ops.stack([1 - (y - top), y - top], axis=1)[..., None]
    right_weight = (x - left)[:, None, :, None]
    flat = ops.reshape(planes, (-1, channels))  # whole pixels are taken, of all images: (BHW, C)
    in_rows = (
        ops.take(flat, rows, axis=0) * (1 - right_weight)
        + ops.take(flat, rows + 1, axis=0) * right_weight
    )
    warped = ops.sum(in_rows * row_weights, axis=1)
    inside = ops.cast(ops.reshape(inside, (-1, height, width, 1)), "float32")
    return ops.reshape(warped, (-1, height, width, channels)), inside


def _recolour(image, colour):
    """Images (B, H, W, 3) in 0…255 by colour (B, 3): brightness, contrast, saturation."""
    brightness, contrast, saturation = (colour[:, i, None, None, None] for i in range(3))
    grey = ops.mean(image, axis=-1, keepdims=True)
    mean = ops.mean(grey, axis=(1, 2, 3), keepdims=True)  # saturation leaves it as it is
    image = grey + (image - grey) * saturation
    image = mean + (image - mean) * contrast
    return ops.clip(image + brightness, 0, 255)
