"""Export to OpenVINO, for Intel's processors."""

import json
import tempfile
from pathlib import Path

from keras_salnet.files import atomic
from keras_salnet.formats.description import KEY, describe
from keras_salnet.formats.onnx import export_by_keras


def export_openvino(net, path, resize="stretch", name=None):
    """Write a model for OpenVINO, by Keras: a folder with ``model.xml`` and ``model.bin``.

    It takes ``image`` (B, H, W, 3) float32 RGB 0…255 and returns ``saliency`` (B, H, W, 1)
    float32 in [0, 1]. Its ``rt_info`` holds what `keras_salnet.formats.description.describe` says of it.

    Args:
        net: a model of this package.
        path: the folder to write; replaced where it exists.
        resize, name: as of `export_tflite`.

    Raises:
        ModuleNotFoundError: openvino is not installed.
        ValueError: the model's input size may vary.
    """
    try:
        import openvino
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the export as openvino needs the package openvino, which is not installed: "
            "pip install 'keras-salnet[openvino]'."
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.xml")
        export_by_keras(net, file, "openvino")
        model = openvino.Core().read_model(file)
        model.set_rt_info(json.dumps(describe(net, resize, name)), KEY)
        with atomic(path) as draft:
            draft.mkdir()
            openvino.serialize(model, draft / "model.xml")
