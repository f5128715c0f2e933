"""OpenVINO, for Intel's processors: a folder with ``model.xml`` and ``model.bin``."""

import tempfile
from pathlib import Path

from keras_salnet.files import atomic
from keras_salnet.formats.description import KEY, Loaded, describe, read, require
from keras_salnet.formats.onnx import export_by_keras

KIND = "an OpenVINO folder"
ENDING = None
EXTRA = "openvino"
NEEDS = ("tensorflow", "openvino")
KERAS_LOADS = False
MIN_CC = 0.999

_MARK = "model.xml"


def find(path):
    """The model in the folder."""
    return path / _MARK if (path / _MARK).is_file() else None


def export_openvino(net, path, resize="stretch", name=None):
    """Write a model for OpenVINO, with Keras: a folder with ``model.xml`` and ``model.bin``.

    It takes ``image`` (B, H, W, 3) float32 RGB 0…255 and returns ``saliency`` (B, H, W, 1)
    float32 in [0, 1]. Its ``rt_info`` holds its description.

    Args:
        net: a model of this package.
        path: the folder to write; replaced if it exists.
        resize, name: as for `export_tflite`.

    Raises:
        ModuleNotFoundError: openvino is not installed.
        ValueError: the model's input size may vary.
    """
    with atomic(path) as draft:
        write(net, draft, resize, name)


def write(net, path, resize="stretch", name=None):
    """Write the folder; see `export_openvino`."""
    require(NEEDS[1:], EXTRA, "the export as openvino")
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, _MARK)
        export_by_keras(net, file, "openvino")
        model = openvino.Core().read_model(file)
        model.set_rt_info(describe(net, resize, name), KEY)
        path.mkdir()
        openvino.serialize(model, path / _MARK)


def load(path, input_size=None):
    """Load ``model.xml`` for the CPU."""
    require(["openvino"], EXTRA, path.parent)
    import openvino

    model = openvino.Core().read_model(path)
    description = read(model.get_rt_info(KEY).value) if model.has_rt_info(KEY) else {}
    # Some processors would compute in 16 bits.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(model, "CPU", exact)

    def infer(images):
        return compiled(images)["saliency"]

    _, height, width, _ = model.input("image").partial_shape
    return Loaded(infer, (height.get_length(), width.get_length()), description)
