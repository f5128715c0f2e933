"""Export to TFLite, for phones and for LiteRT anywhere."""

import tempfile

import keras
import tensorflow as tf

from keras_salnet.files import atomic
from keras_salnet.models.loading import fixed_frame

QUANTIZATIONS = ("none", "dynamic")


def export_tflite(net, path, quantize="none"):
    """Write a model as a TFLite file.

    Its signature ``serving_default`` takes ``image`` (1, H, W, 3) float32 RGB 0…255 and returns
    ``saliency`` (1, H, W, 1) float32 in [0, 1]. It uses built-in operations alone.

    Args:
        net: a float32 model of this package.
        path: the file to write; replaced where it exists.
        quantize: ``"none"`` for float32, or ``"dynamic"`` for 8-bit weights, a quarter of the
            size, and 8-bit arithmetic where the runtime has it.

    Raises:
        ValueError: no such quantization, or the model's input size may vary.
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, not {quantize!r}.")
    spec = tf.TensorSpec((1, *fixed_frame(net), net.input_shape[-1]), tf.float32, name="image")

    def serving_default(image):
        return {"saliency": net(image, training=False)}

    # Through a SavedModel: straight from the function, the file would lack the weights.
    archive = keras.export.ExportArchive()
    archive.track(net)
    archive.add_endpoint("serving_default", serving_default, input_signature=[spec])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["serving_default"]
        )
        if quantize == "dynamic":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        code = converter.convert()
    with atomic(path) as draft:
        draft.write_bytes(code)
