"""Small servers and images for the tests beside this file."""

import io
import time

import numpy as np
import PIL.Image
from fastapi.testclient import TestClient

from keras_salnet import Predictor
from keras_salnet.serving.app import create_app
from keras_salnet.serving.limits import Limits

FRAME = (32, 48)


def encoded(image, format="PNG", **options):
    """An image, or an array, as a file's bytes."""
    stream = io.BytesIO()
    image = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, format, **options)
    return stream.getvalue()


def redness(images):
    """A model that finds red salient: (B, H, W, 3) → (B, H, W, 1)."""
    return images[..., :1] / 255


def spot(height, width, y, x):
    """A black image with one red square."""
    image = np.zeros((height, width, 3), np.uint8)
    image[max(0, y - 8) : y + 8, max(0, x - 8) : x + 8, 0] = 255
    return image


def in_process(infer=redness, limits=None, resize="stretch", input_size=FRAME, **options):
    """A client of a server in this process, to be entered."""
    predictor = Predictor(infer, input_size, resize, name="red")
    return TestClient(create_app(predictor, limits or Limits(), **options))


def eventually(condition, seconds=10):
    """Wait for a condition, or fail."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
