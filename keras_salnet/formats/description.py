"""Shared by the formats: the description that an export carries, and the loaded model.

The description is a JSON text: `KEY` in the metadata of TFLite and ONNX files and in OpenVINO's
``rt_info``, and a file in a SavedModel.
"""

import json
from importlib import util
from typing import NamedTuple

from keras_salnet import __version__

KEY = "keras_salnet"


class Loaded(NamedTuple):
    """A model that was read from a file.

    Attributes:
        infer: function (B, H, W, 3) float32 RGB 0…255 → (B, H, W, 1) maps in [0, 1].
        input_size: (height, width) that it takes; None for a side that may vary.
        description: what the file says of itself, from `read`; {} if nothing.
        batches: whether several images at once cost less than one by one.
    """

    infer: object
    input_size: tuple
    description: dict
    batches: bool = True


def describe(net, resize="stretch", name=None, quantization="none", batch=None):
    """Describe a model for the file it is exported to.

    Args:
        net: the model.
        resize: how images are brought to its input size, ``"stretch"`` or ``"pad"``.
        name: of the trained model; the architecture's by default.
        quantization: how its numbers are stored.
        batch: number of images that it takes at once; None for any.

    Returns:
        The description, as JSON.
    """
    shape = [batch, *net.input_shape[1:]]
    description = {
        "name": name or net.name,
        "description": "Where people look in an image.",
        "keras_salnet": __version__,
        "input_size": shape[1:3],
        "resize": resize,
        "quantization": quantization,
        "input": {
            "name": "image",
            "shape": shape,
            "dtype": "float32",
            "color_space": "RGB",
            "range": [0, 255],
            # What to subtract and divide by: the model itself does what its encoder needs.
            "mean": 0,
            "std": 1,
        },
        "output": {
            "name": "saliency",
            "shape": [*shape[:3], 1],
            "dtype": "float32",
            "range": [0, 1],
        },
    }
    return json.dumps(description)


def read(text):
    """Read a description, in today's names whichever version wrote it.

    Args:
        text: JSON of `describe`, as str or bytes.

    Returns:
        Dict.
    """
    description = json.loads(text)
    for earlier, key in (("fit", "resize"), ("frame", "input_size")):
        if earlier in description:
            description[key] = description.pop(earlier)
    return description


def require(packages, extra, purpose):
    """Check that packages are installed.

    Args:
        packages: their import names.
        extra: the extra of this package that installs them.
        purpose: what needs them, as a message begins.

    Raises:
        ModuleNotFoundError: one is not.
    """
    for package in packages:
        if util.find_spec(package) is None:
            raise ModuleNotFoundError(
                f"{purpose} needs the package {package}, which is not installed: "
                f"pip install 'keras-salnet[{extra}]'."
            )
