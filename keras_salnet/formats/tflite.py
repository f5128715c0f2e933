"""Export to TFLite, for phones and for LiteRT anywhere."""

import tempfile

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from keras_salnet.files import atomic
from keras_salnet.formats.description import describe, with_tflite_metadata
from keras_salnet.images.geometry import Placement
from keras_salnet.models.loading import fixed_input_size, in_float32

QUANTIZATIONS = ("none", "fp16", "dynamic", "int8")

_CONVOLUTIONS = (
    schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.TRANSPOSE_CONV,
)


def export_tflite(net, path, quantize="none", representative=None, resize="stretch", name=None):
    """Write a model as a TFLite file.

    Whatever the quantization, its signature ``serving_default`` takes ``image`` (1, H, W, 3)
    float32 RGB 0…255 and returns ``saliency`` (1, H, W, 1) float32 in [0, 1]. It uses built-in
    operations alone, and holds what `keras_salnet.formats.description.describe` says of it.

    Args:
        net: a model of this package.
        path: the file to write; replaced where it exists.
        quantize: ``"none"`` for float32; ``"fp16"`` for 16-bit weights, half of the size;
            ``"dynamic"`` for 8-bit weights, a quarter of the size, and 8-bit arithmetic where the
            runtime has it; ``"int8"`` for 8-bit weights and activations. Then float32 remains what
            normalizes the pixels, before the first convolution; what draws the map, from the last
            one on, for in 8 bits a sigmoid that peaks at 0.3 has no more than 77 levels; and what
            is the same on all images.
        representative: for ``"int8"``, list of about a hundred images (H, W, 3) float32 RGB 0…255
            in the frame, on which the ranges of the activations are measured.
        resize: how images are brought into the frame, ``"stretch"`` or ``"pad"``, for the metadata.
        name: of the trained model, for the metadata; the architecture's by default.

    Raises:
        ValueError: no such quantization, no images for ``"int8"``, or the model's input size may
            vary.
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, not {quantize!r}.")
    if quantize == "int8" and not representative:
        raise ValueError("quantize='int8' measures on images: give some as representative.")
    net = in_float32(net)
    spec = tf.TensorSpec((1, *fixed_input_size(net), net.input_shape[-1]), tf.float32, name="image")

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
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            code = _convert_to_int8(converter, representative)
        else:
            code = converter.convert()
    code = with_tflite_metadata(code, describe(net, resize, name, quantize, batch=1))
    with atomic(path) as draft:
        draft.write_bytes(code)


def representative_images(dataset, input_size, resize="stretch", count=128, seed=0):
    """Images of a dataset to measure activations on.

    Args:
        dataset: `keras_salnet.data.Dataset`; its split ``train`` is drawn from, where it has one.
        input_size: (height, width).
        resize: how they are brought into it, ``"stretch"`` or ``"pad"``.
        count: int, how many at most.
        seed: int, of what is drawn.

    Returns:
        List of (H, W, 3) float32 RGB 0…255.
    """
    samples = dataset["train" if "train" in dataset.splits else "all"]
    chosen = np.random.default_rng(seed).permutation(len(samples))[:count]
    images = (samples[index].read_image() for index in chosen)
    return [Placement(image.shape[:2], input_size, resize).image(image) for image in images]


def _convert_to_int8(converter, representative):
    """The bytes of the file, quantized but for what must stay float32."""
    converter.representative_dataset = lambda: ({"image": image[None]} for image in representative)
    # It is also TensorFlow's way to quantize a part of a model.
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_nodes=_kept_in_float32(debugger.calibrated_model)
    )
    return debugger.get_nondebug_quantized_model()


def _kept_in_float32(code):
    """The names of what is not quantized of a TFLite model whose activations were measured."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(code))
    (graph,) = model.subgraphs
    kinds = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
    convolutions = [place for place, kind in enumerate(kinds) if kind in _CONVOLUTIONS]
    outputs = [graph.tensors[operator.outputs[0]] for operator in graph.operators]
    # Before the first convolution: LiteRT turns RGB into BGR by REVERSE_V2, which keeps the bytes,
    # though the quantizer gives its output another scale: VGG16 would see wrong colours.
    # From the last one on: an 8-bit sigmoid has steps of 1/256.
    kept = outputs[: convolutions[0]] + outputs[convolutions[-1] :]
    # What is 0 on all images, as a ReLU's only feature may be: XNNPACK crashes on such a scale.
    kept += [tensor for tensor in outputs if _is_constant(tensor)]
    return [tensor.name.decode() for tensor in kept]


def _is_constant(tensor):
    """Whether its measured values are all the same; False for what is not measured."""
    measured = tensor.quantization
    if measured is None or measured.min is None:
        return False
    return measured.max[0] - measured.min[0] < 1e-5
