"""ONNX, for ONNX Runtime and other software that reads it."""

import tempfile
from pathlib import Path

from keras_salnet.files import atomic
from keras_salnet.formats.description import KEY, Loaded, describe, read, require

KIND = "an .onnx file"
ENDING = ".onnx"
EXTRA = "onnx"
NEEDS = ("tensorflow", "onnx", "tf2onnx")
KERAS_LOADS = False
MIN_CC = 0.999


def find(path):
    """The file itself."""
    return path if path.is_file() and path.name.endswith(ENDING) else None


def export_onnx(net, path, resize="stretch", name=None):
    """Write a model as an ONNX file, with Keras and tf2onnx.

    It takes ``image`` (B, H, W, 3) float32 RGB 0…255 and returns ``saliency`` (B, H, W, 1)
    float32 in [0, 1]. Its metadata hold its description.

    Args:
        net: a model of this package.
        path: the file to write; replaced if it exists.
        resize, name: as for `export_tflite`.

    Raises:
        ModuleNotFoundError: tf2onnx or onnx is not installed.
        ValueError: the model's input size may vary.
    """
    with atomic(path) as draft:
        write(net, draft, resize, name)


def write(net, path, resize="stretch", name=None):
    """Write the file; see `export_onnx`."""
    require(NEEDS[1:], EXTRA, "the export as onnx")
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        export_by_keras(net, file, "onnx")
        model = onnx.load(file)
    onnx.helper.set_model_props(model, {KEY: describe(net, resize, name)})
    onnx.save(model, path)


def load(path, input_size=None):
    """Load the file into ONNX Runtime."""
    require(["onnxruntime"], EXTRA, path)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()

    def infer(images):
        return session.run(["saliency"], {"image": images})[0]

    description = session.get_modelmeta().custom_metadata_map.get(KEY, "{}")
    return Loaded(infer, image.shape[1:3], read(description))


def export_by_keras(net, path, format):
    """Export with `keras.Model.export`, giving the input and the output their names."""
    import keras

    from keras_salnet.models.loading import fixed_input_size, in_float32

    net = in_float32(net)
    shape = (None, *fixed_input_size(net), net.input_shape[-1])
    spec = keras.InputSpec("float32", shape, name="image")
    named = keras.Model(net.inputs, {"saliency": net.output})
    named.export(str(path), format=format, input_signature=[spec], verbose=False)
