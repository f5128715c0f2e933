"""Export to ONNX, for ONNX Runtime and what else reads it."""

import json
import tempfile
from pathlib import Path

import keras

from keras_salnet.files import atomic
from keras_salnet.formats.description import KEY, describe
from keras_salnet.models.loading import fixed_input_size, in_float32


def export_onnx(net, path, resize="stretch", name=None):
    """Write a model as an ONNX file, by Keras and tf2onnx.

    It takes ``image`` (B, H, W, 3) float32 RGB 0…255 and returns ``saliency`` (B, H, W, 1)
    float32 in [0, 1]. Its metadata holds what `keras_salnet.formats.description.describe` says of it.

    Args:
        net: a model of this package.
        path: the file to write; replaced where it exists.
        resize, name: as of `export_tflite`.

    Raises:
        ModuleNotFoundError: tf2onnx or onnx is not installed.
        ValueError: the model's input size may vary.
    """
    try:
        import onnx
        import tf2onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the export as onnx needs the package {error.name}, which is not installed: "
            "pip install 'keras-salnet[onnx]'."
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        export_by_keras(net, file, "onnx")
        model = onnx.load(file)
    onnx.helper.set_model_props(model, {KEY: json.dumps(describe(net, resize, name))})
    with atomic(path) as draft:
        onnx.save(model, draft)


def export_by_keras(net, path, format):
    """Keras's own export, with an output that has a name."""
    net = in_float32(net)
    spec = keras.InputSpec(
        "float32", (None, *fixed_input_size(net), net.input_shape[-1]), name="image"
    )
    named = keras.Model(net.inputs, {"saliency": net.output})
    named.export(str(path), format=format, input_signature=[spec], verbose=False)
