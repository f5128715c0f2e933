"""Image files: read them upright as RGB, read maps as grey, learn their size, write pictures."""

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from keras_salnet.files import atomic

_PNG = b"\x89PNG\r\n\x1a\n"  # how such a file begins


def read_image(source):
    """Read an image as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    What is transparent in a PNG is shown over white, as on a page.

    Args:
        source: path of the file, or what such a file holds, as bytes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not an image that OpenCV can read.
    """
    image = cv2.cvtColor(_decode(source, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    alpha = _read_alpha(source)
    if alpha is None:
        return image
    alpha = alpha[..., None].astype(np.uint16)  # 255² and half of 255 fit
    over_white = image * alpha
    over_white += 255 * (255 - alpha) + 127
    over_white //= 255
    return over_white.astype(np.uint8)


def _read_alpha(source):
    """(H, W) uint8: how opaque the pixels of a PNG are; None of what knows no transparency."""
    if not _is_png(source):
        return None
    with _open(source) as image:
        # TensorFlow knows a transparent colour in palettes alone.
        if image.mode not in ("LA", "P", "RGBA") or not image.has_transparency_data:
            return None
        opaque = image.convert("RGBA")
        opaque.info = {"exif": image.info.get("exif", b"")}  # not XMP, which OpenCV does not take
        return np.asarray(PIL.ImageOps.exif_transpose(opaque))[..., 3]


def _is_png(source):
    if isinstance(source, bytes):
        return source.startswith(_PNG)
    with open(source, "rb") as file:
        return file.read(len(_PNG)) == _PNG


def read_grey(path):
    """Read a map as (H, W) uint8 or uint16.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not an image that OpenCV can read.
    """
    # As TensorFlow decodes maps; OpenCV would turn them by their EXIF orientation.
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    return _decode(path, flags)


def image_size(source):
    """(height, width) that `read_image` would return, from the header alone.

    Args:
        source: as for `read_image`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not an image.
    """
    (width, height), orientation = _read_header(source)
    return (width, height) if orientation >= 5 else (height, width)


def image_size_if_readable(path):
    """`image_size`, or None for what `keras_salnet.data.check` is to tell."""
    try:
        return image_size(path)
    except (OSError, ValueError):
        return None


def exif_orientation(path):
    """EXIF orientation of an image file, 1…8, from its header alone; 1 where it has none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not an image.
    """
    return _read_header(path)[1]


def _read_header(source):
    exif = PIL.Image.Exif()
    with _open(source) as image:
        # Not `getexif`, which decodes a whole PNG, and takes XMP that OpenCV does not.
        exif.load(image.info.get("exif", b""))
        orientation = exif.get(PIL.ExifTags.Base.Orientation, 1)
        return image.size, orientation if orientation in range(1, 9) else 1


@contextlib.contextmanager
def _open(source):
    """Yield a `PIL.Image.Image` that is not decoded; errors in the block become ours."""
    try:
        with PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            yield image
    except FileNotFoundError:
        raise
    except Exception as error:  # each of Pillow's decoders raises its own
        raise ValueError(f"{_name(source)}: not a readable image: {error}") from error


def _decode(source, flags):
    if isinstance(source, bytes):
        data = np.frombuffer(source, np.uint8)
    elif Path(source).is_file():
        # imread knows no file names outside the locale's encoding; imdecode needs none.
        data = np.fromfile(source, np.uint8)
    else:
        raise FileNotFoundError(f"{source}: no such file.")
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:  # more than 2³⁰ pixels, as a damaged header may say
        image = None
    if image is None:
        raise ValueError(
            f"{_name(source)}: not a readable image; it may be truncated or of another format."
        )
    return image


def _name(source):
    return "image" if isinstance(source, bytes) else source


def write_picture(path, picture):
    """Write (H, W) grey or (H, W, 3) RGB uint8 as PNG or JPEG, by the ending, atomically.

    Raises:
        ValueError: the ending is not that of a picture.
        OSError: the picture cannot be written there.
    """
    if not cv2.haveImageWriter(Path(path).name):
        raise ValueError(f"{path}: must end in .png or .jpg.")
    with atomic(path) as draft:
        # imwrite knows no file names outside the locale's encoding.
        draft.write_bytes(encode_picture(picture, draft.suffix))


def encode_picture(picture, ending=".png"):
    """Encode a picture as the bytes of a file.

    Args:
        picture: (H, W) grey or (H, W, 3) RGB uint8.
        ending: of the file's name, ``".png"`` or ``".jpg"``.

    Returns:
        bytes.
    """
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(ending, picture)[1].tobytes()
