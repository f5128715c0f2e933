"""The signature of encoded images: from their bytes to the frame, and from maps to pictures.

In TensorFlow, so that all of it lies in the exported graph and runs in the server.
"""

import tensorflow as tf

from keras_salnet.data.pipeline import box_in, decode_image, place, undo

# In a server that decodes what strangers send. The map of such an image takes 400 MB.
MOST_PIXELS = 100_000_000

# Its parts that are looked at; every whole image is longer.
_HEADER_BYTES = 26

# Format's first bytes → what stands where such a file ends.
_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND"}


def load_images(image_bytes, input_size, resize):
    """Decode a batch of images and bring them into the frame.

    Args:
        image_bytes: (B,) strings: encoded JPEG, PNG, GIF or BMP of any sizes.
        input_size: (height, width).
        resize: how they are brought into it, ``"stretch"`` or ``"pad"``.

    Returns:
        ((B, H, W, 3) float32 RGB 0…255, (B, 2) int32 heights and widths of the images).

    Raises:
        tf.errors.InvalidArgumentError: there is no image, or one cannot be read or has more than
            `MOST_PIXELS`; named by its place in the batch if its header shows it.
    """
    image_bytes = tf.ensure_shape(image_bytes, [None])
    count = tf.size(image_bytes)
    some = tf.debugging.Assert(count > 0, ["image_bytes: holds no image; give one or more."])

    def load(numbered):
        image = decode_image(_checked(*numbered))
        size = tf.shape(image)[:2]
        return place(image, input_size, box_in(size, input_size, resize)), size

    with tf.control_dependencies([some]):
        return tf.map_fn(
            load,
            (tf.range(count), image_bytes),
            fn_output_signature=(
                tf.TensorSpec((*input_size, 3), tf.float32),
                tf.TensorSpec(2, tf.int32),
            ),
        )


def draw_maps(saliency, sizes, resize):
    """`keras_salnet.images.visualize.to_grey` of each map at its image's size, as PNG files.

    Args:
        saliency: (B, H, W, 1) floats ≥ 0 in the frame.
        sizes: (B, 2) int32 heights and widths of the images.
        resize: how they were brought into it.

    Returns:
        (B,) strings: grey PNGs of 8 bits, white where a map has its maximum, black without any.
    """
    input_size = saliency.shape[1:3]

    def draw(one):
        map_, size = one
        map_ = undo(map_, size, box_in(size, input_size, resize))
        scaled = tf.math.divide_no_nan(map_, tf.reduce_max(map_))
        return tf.io.encode_png(tf.cast(tf.round(255 * scaled), tf.uint8))

    return tf.map_fn(draw, (saliency, sizes), fn_output_signature=tf.TensorSpec((), tf.string))


def _checked(number, encoded):
    """The image itself, if what is cheaply seen of it promises that it can be decoded here.

    TensorFlow reports errors in decoding, without the place in the batch.
    """

    def see(holds, message, *values):
        message = tf.strings.format(f"image_bytes[{{}}]: {message}", (number, *values))
        return tf.debugging.Assert(holds, [message])

    length = tf.strings.length(encoded)
    with tf.control_dependencies([see(_has_end(encoded), "is cut off after {} bytes.", length)]):
        size = _announced_size(encoded)
    pixels = tf.reduce_prod(size)
    is_image = see(pixels > 0, "is not a JPEG, PNG, GIF or BMP ({} bytes).", length)
    message = f"has {{}} x {{}} pixels; at most {MOST_PIXELS} are taken."
    with tf.control_dependencies([is_image, see(pixels <= MOST_PIXELS, message, size[0], size[1])]):
        return tf.identity(encoded)


def _begins_with(encoded, magic):
    return tf.strings.substr(encoded, 0, len(magic)) == magic


def _has_end(encoded):
    """Whether the end of its format stands anywhere in it: cameras write more behind it."""

    def holds(mark):
        def search():
            content = tf.io.decode_raw(encoded, tf.uint8)
            starts = tf.size(content) - len(mark) + 1
            found = [content[place : place + starts] == byte for place, byte in enumerate(mark)]
            return tf.reduce_any(tf.reduce_all(found, axis=0))

        return search

    return tf.case(
        [(_begins_with(encoded, magic), holds(mark)) for magic, mark in _ENDS.items()],
        default=lambda: tf.constant(True),
    )


def _announced_size(encoded):
    """(height, width) int64 by the header, so that nothing large is decoded; 0 of no image."""

    def sides(place, dtype, little_endian):
        """Two numbers that stand in the file as width, height."""
        field = tf.strings.substr(encoded, place, 2 * dtype.size)
        return tf.cast(tf.io.decode_raw(field, dtype, little_endian)[::-1], tf.int64)

    def of_jpeg():
        return tf.cast(tf.image.extract_jpeg_shape(encoded)[:2], tf.int64)

    return tf.case(
        [
            (tf.strings.length(encoded) < _HEADER_BYTES, lambda: tf.zeros(2, tf.int64)),
            (tf.io.is_jpeg(encoded), of_jpeg),
            (_begins_with(encoded, b"\x89PNG"), lambda: sides(16, tf.int32, False)),
            (_begins_with(encoded, b"GIF8"), lambda: sides(6, tf.uint16, True)),
            # The lines of a BMP may stand from top to bottom: then its height is negative.
            (_begins_with(encoded, b"BM"), lambda: tf.abs(sides(18, tf.int32, True))),
        ],
        default=lambda: tf.zeros(2, tf.int64),
    )
