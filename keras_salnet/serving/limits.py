"""Limits on what a request may cost, and the refusals that name the limit."""

import io
import math
from dataclasses import dataclass

import PIL.Image
from fastapi import HTTPException, Request

# What is taken, as Pillow and as HTTP call it.
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "GIF": "image/gif",
}


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Args:
        max_bytes: of a request's body.
        max_pixels: of an image.
        max_queue: images that are in the server at once, waiting or worked on.
        timeout: seconds from a request's arrival to its answer.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 25_000_000
    max_queue: int = 64
    timeout: float = 30.0


class LimitedRequest(Request):
    """A request whose body is read no further than allowed.

    Args:
        request: the request as it came.
        max_bytes: of its body; beyond them, reading it raises HTTPException with 413.
    """

    def __init__(self, request, max_bytes):
        super().__init__(request.scope, request.receive)
        self._max_bytes = max_bytes

    async def stream(self):
        """Yield the body's chunks."""
        message = self.headers.get("content-length", "")
        if message.isdecimal() and int(message) > self._max_bytes:
            raise self._too_large()
        read = 0
        async for chunk in super().stream():
            read += len(chunk)
            if read > self._max_bytes:
                raise self._too_large()
            yield chunk

    def _too_large(self):
        # The rest is not read, so that the connection cannot serve another request.
        return HTTPException(
            413, f"the request has more than {self._max_bytes} bytes.", {"Connection": "close"}
        )


def check_image(encoded, max_pixels):
    """Refuse an image by its header, before anything is decoded.

    Args:
        encoded: bytes.
        max_pixels: the most that it may have.

    Raises:
        HTTPException: 413, it has more pixels; 422, it is no image of `MEDIA_TYPES`.
    """
    try:
        with PIL.Image.open(io.BytesIO(encoded), formats=list(MEDIA_TYPES)) as image:
            pixels = image.width * image.height
    except PIL.Image.DecompressionBombError:
        pixels = math.inf
    except Exception as error:  # each of Pillow's decoders raises its own
        message = "is empty" if not encoded else "not a readable image, or damaged"
        raise HTTPException(422, f"image: {message}; send {', '.join(MEDIA_TYPES)}.") from error
    if pixels > max_pixels:
        raise HTTPException(413, f"image: has more than {max_pixels} pixels.")
