"""What an exported file says of itself: its frame, how images are fitted into it, what it returns.

It is a JSON text, `KEY` in the metadata of TFLite and ONNX files and in OpenVINO's ``rt_info``, and
the file `SAVEDMODEL_FILE` in a SavedModel.
"""

import json
import mmap
from pathlib import Path

from keras_salnet import __version__

KEY = "keras_salnet"
# TensorFlow keeps such a folder beside a model for files of other programs.
SAVEDMODEL_FILE = Path("assets.extra", f"{KEY}.json")


def describe(net, resize="stretch", name=None, quantization="none", batch=None):
    """What a file exported from a model is to say.

    Args:
        net: the model.
        resize: how images are brought into its frame, ``"stretch"`` or ``"pad"``.
        name: of the trained model; the architecture's by default.
        quantization: what its numbers are stored as.
        batch: number of images that it takes at once; None for any.

    Returns:
        Dict of what JSON can hold.
    """
    shape = [batch, *net.input_shape[1:]]
    return {
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


def with_tflite_metadata(code, about):
    """A TFLite file's bytes with a description of `describe` among its metadata."""
    from ai_edge_litert.tools import flatbuffer_utils as flatbuffers

    model = flatbuffers.ModelT.InitFromObj(flatbuffers.Model.GetRootAs(code))
    buffer, entry = flatbuffers.BufferT(), flatbuffers.schema_fb.MetadataT()
    buffer.data = list(json.dumps(about).encode())
    model.buffers.append(buffer)
    entry.name, entry.buffer = KEY, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffers.convert_object_to_bytearray(model))


def read_tflite_metadata(path):
    """The description in a ``.tflite`` file; {} where it holds none.

    Raises:
        ValueError: it is damaged.
    """
    from ai_edge_litert.schema_py_generated import Model

    # Mapped, not read: of a large file only some pages are looked at.
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        model = Model.GetRootAs(code)
        for entry in map(model.Metadata, range(model.MetadataLength())):
            if entry.Name() == KEY.encode():
                return json.loads(bytes(model.Buffers(entry.Buffer()).DataAsNumpy()))
    return {}
