"""The tf.data pipeline: samples → batches in the network's frame.

`keras_salnet.data.pydataset` has the same two functions without TensorFlow.

A dataset yields dicts of ``image`` (B, H, W, 3) float32 RGB 0…255, ``density`` (B, H, W, 1) float32
that sums to 1, ``mask`` (B, H, W, 1) float32, 1 where the frame shows the image, and ``warp``
(B, 9) float32, what `Augment` is to do.
"""

import numpy as np
import tensorflow as tf

from keras_salnet.data.augmentation import WARP_SIZE, draw_epoch, identity_warp
from keras_salnet.data.density import LEAST_SIGMA
from keras_salnet.data.shards import PreparedSample
from keras_salnet.data.sharing import ONE_DEVICE
from keras_salnet.images.files import exif_orientation
from keras_salnet.images.geometry import placement_box


def training_batches(
    samples, input_size, *, resize, batch_size, seed, augment, first_epoch=0, sharing=ONE_DEVICE
):
    """Endless shuffled batches, epoch after epoch; each epoch ends with its partial batch.

    The order and the warps are functions of (seed, epoch, sample) alone, so a run that starts at
    `first_epoch` sees what an uninterrupted one would.

    Args:
        samples: list of `Sample`.
        input_size: (height, width) of the network's input.
        resize: ``"stretch"`` or ``"pad"``.
        batch_size: int ≥ 1.
        seed: int ≥ 0.
        augment: name in `augmentation.RANGES`, to draw warps; or None.
        first_epoch: int ≥ 0.
        sharing: `Sharing`; an epoch leaves out what the devices cannot share evenly, other samples
            every time.

    Returns:
        `tf.data.Dataset`; an epoch is ``ceil(sharing.even(len(samples)) / batch_size)`` batches.
    """
    load = _loader(samples, input_size, resize)

    def draws(epoch):
        drawn = draw_epoch(seed, epoch, len(samples), augment)
        return [part[: sharing.even(len(samples))] for part in drawn]

    def one_epoch(epoch):
        order, warps = tf.numpy_function(draws, [epoch], (tf.int64, tf.float32))
        order, warps = tf.ensure_shape(order, [None]), tf.ensure_shape(warps, [None, WARP_SIZE])
        dataset = tf.data.Dataset.from_tensor_slices((order, warps))
        return dataset.map(load, tf.data.AUTOTUNE).batch(batch_size)

    epochs = tf.data.Dataset.counter(start=first_epoch)
    return epochs.flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)


def validation_batches(samples, input_size, *, resize, batch_size, sharing=ONE_DEVICE):
    """Batches in the samples' order, once through. Arguments as in `training_batches`."""
    samples = samples[: sharing.even(len(samples))]
    warps = np.tile(identity_warp(), (len(samples), 1))
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(len(samples)), warps))
    load = _loader(samples, input_size, resize)
    return dataset.map(load, tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _loader(samples, input_size, resize):
    """(index, warp) → the sample's tensors."""
    prepared = [isinstance(sample, PreparedSample) for sample in samples]
    if not any(prepared):
        return _file_loader(samples, input_size, resize)
    if all(prepared):
        return _shard_loader(samples, input_size, resize)
    # Each takes the places of its own samples among all.
    is_prepared, places = tf.constant(prepared), np.zeros(len(samples), np.int64)
    loaders = []
    for kind, loader in ((True, _shard_loader), (False, _file_loader)):
        own = np.flatnonzero(np.equal(prepared, kind))
        places[own] = np.arange(len(own))
        loaders.append(loader([samples[i] for i in own], input_size, resize))
    places, (from_shard, from_files) = tf.constant(places), loaders

    def load(index, warp):
        place = places[index]
        return tf.cond(
            is_prepared[index], lambda: from_shard(place, warp), lambda: from_files(place, warp)
        )

    return load


def _shard_loader(samples, input_size, resize):
    """`_loader` of `PreparedSample`s."""
    for sample in samples:
        sample.refuse_another(input_size, resize)
    sizes = tf.constant([sample.size for sample in samples])

    def read(index):
        return samples[index].pixels, samples[index].levels

    def load(index, warp):
        image, levels = tf.numpy_function(read, [index], (tf.uint8, tf.uint16))
        levels = tf.cast(tf.ensure_shape(levels, input_size)[..., None], tf.float32)
        return {
            "image": tf.cast(tf.ensure_shape(image, (*input_size, 3)), tf.float32),
            "density": levels / tf.reduce_sum(levels),
            "mask": _mask(input_size, box_in(sizes[index], input_size, resize)),
            "warp": warp,
        }

    return load


def _file_loader(samples, input_size, resize):
    """`_loader` of samples that are files of their own."""
    images = tf.constant([str(sample.image) for sample in samples])
    masked = tf.constant([sample.has_mask_only for sample in samples])
    maps = tf.constant([str(sample.map_file or "") for sample in samples])
    # Where there is a map, nobody needs the points.
    points = tf.ragged.constant(
        [() if sample.map_file else sample.density_points() for sample in samples],
        ragged_rank=1,
        inner_shape=(2,),
        dtype=tf.float32,
    )
    sigmas = tf.constant([sample.sigma or 1.0 for sample in samples], tf.float32)
    orientations = tf.constant([exif_orientation(sample.image) for sample in samples])

    def load(index, warp):
        image = decode_image(tf.io.read_file(images[index]))
        image = _upright(image, orientations[index])
        box = box_in(tf.shape(image), input_size, resize)
        path = maps[index]
        density = tf.cond(
            path == "",
            lambda: _density(points[index], sigmas[index], tf.shape(image), input_size, box),
            lambda: place(_decode_map(tf.io.read_file(path), masked[index]), input_size, box),
        )
        total = tf.reduce_sum(density)
        return {
            "image": place(image, input_size, box),
            "density": density / tf.where(total > 0, total, 1.0),
            "mask": _mask(input_size, box),
            "warp": warp,
        }

    return load


def decode_image(encoded):
    """Encoded JPEG, PNG, GIF or BMP → (h, w, 3) uint8 RGB.

    JPEGs by the accurate DCT, as OpenCV does; PNGs over white where they are transparent. An EXIF
    orientation is not applied.
    """
    image = tf.case(
        [
            (
                tf.io.is_jpeg(encoded),
                lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
            ),
            (
                tf.strings.substr(encoded, 0, 4) == b"\x89PNG",
                lambda: _decode_png(encoded),
            ),
        ],
        default=lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _decode_png(encoded):
    """Over white where it is transparent, in the integers of `sample.read_image`."""
    image = tf.io.decode_png(encoded)  # its channels: grey or RGB, and perhaps alpha
    channels = tf.shape(image)[2]

    def over_white():
        levels = tf.cast(image, tf.int32)
        colours, alpha = levels[..., :-1], levels[..., -1:]
        return tf.cast((colours * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)

    image = tf.cond(channels % 2 == 0, over_white, lambda: image)
    return tf.cond(channels < 3, lambda: tf.repeat(image, 3, axis=2), lambda: image)


def _upright(image, orientation):
    """Turn and mirror an image as its EXIF orientation 1…8 says."""

    def is_one_of(*codes):
        return tf.reduce_any(orientation == tf.constant(codes))

    turned = tf.cond(is_one_of(5, 6, 7, 8), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    mirrored = tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(turned, [1]), lambda: turned)
    return tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(mirrored, [0]), lambda: mirrored)


def _decode_map(encoded, is_mask):
    """Encoded greyscale map, 8- or 16-bit PNG or JPEG → (h, w, 1) float32 in [0, 1].

    That of a mask is 0 or 1, as for `Sample.read_mask`.
    """
    as_floats = tf.image.convert_image_dtype
    grey = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: as_floats(
            tf.io.decode_jpeg(encoded, channels=1, dct_method="INTEGER_ACCURATE"), tf.float32
        ),
        lambda: as_floats(tf.io.decode_png(encoded, channels=1, dtype=tf.uint16), tf.float32),
    )
    return tf.where(is_mask, tf.cast(grey >= 0.5, tf.float32), grey)


def _density(points, sigma, size, input_size, box):
    """`fixation_density` in the frame: (n, 2) points of the image → (H, W, 1) of any sum."""
    top, left, height, width = (tf.cast(value, tf.float32) for value in box)
    source_height, source_width = tf.cast(size[0], tf.float32), tf.cast(size[1], tf.float32)
    scale_x, scale_y = width / source_width, height / source_height
    x = (points[:, 0] + 0.5) * scale_x - 0.5 + left
    y = (points[:, 1] + 0.5) * scale_y - 0.5 + top

    def profiles(centres, length, sigma):
        sigma = tf.maximum(sigma, LEAST_SIGMA)
        return tf.exp(-0.5 * ((tf.range(length, dtype=tf.float32) - centres[:, None]) / sigma) ** 2)

    along_y, along_x = (
        profiles(y, input_size[0], sigma * scale_y),
        profiles(x, input_size[1], sigma * scale_x),
    )
    density = tf.matmul(along_y, along_x, transpose_a=True)[..., None]
    return density * _mask(input_size, box)


def _mask(input_size, box):
    """`Placement.mask` in TensorFlow."""
    _, _, height, width = box
    return _pad(tf.ones((height, width, 1)), input_size, box)


def box_in(size, input_size, resize):
    """`Placement.box` of an image of (dynamic) shape `size`."""
    size = tf.cast(size, tf.int64)
    box = placement_box(
        size[0], size[1], *input_size, resize, minimum=tf.minimum, maximum=tf.maximum
    )
    return tuple(tf.cast(value, tf.int32) for value in box)


def place(image, input_size, box):
    """`Placement.image` in TensorFlow: (h, w, C) → (H, W, C) float32."""
    _, _, height, width = box
    return _pad(resample(image, (height, width)), input_size, box)


def undo(saliency, size, box):
    """`Placement.undo` in TensorFlow: (H, W, C) of the frame → (*size, C) float32 of the image."""
    top, left, height, width = box
    return resample(saliency[top : top + height, left : left + width], size)


def _pad(image, input_size, box):
    """(height, width, C) of the box → (H, W, C), zeros around it."""
    top, left, height, width = box
    bottom, right = input_size[0] - top - height, input_size[1] - left - width
    image = tf.pad(image, [(top, bottom), (left, right), (0, 0)])
    return tf.ensure_shape(image, [*input_size, None])


def resample(image, size):
    """`keras_salnet.images.geometry.resample` in TensorFlow: (h, w, C) → (*size, C) float32."""
    image = tf.cast(image, tf.float32)
    smaller = (
        tf.minimum(tf.shape(image)[0], size[0]),
        tf.minimum(tf.shape(image)[1], size[1]),
    )
    for target, method in ((smaller, "area"), (size, "bilinear")):
        image = _resize_unless_equal(image, target, method)
    return image


def _resize_unless_equal(image, size, method):
    shape = tf.shape(image)
    return tf.cond(
        tf.logical_and(shape[0] == size[0], shape[1] == size[1]),
        lambda: image,
        lambda: tf.image.resize(image, size, method=method),
    )
