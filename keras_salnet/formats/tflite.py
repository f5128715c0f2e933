"""TFLite, for phones and for LiteRT anywhere."""

import os
import tempfile

import numpy as np

from keras_salnet.files import atomic
from keras_salnet.formats.description import KEY, Loaded, describe, read

KIND = "a .tflite file"
ENDING = ".tflite"
EXTRA = None
NEEDS = ("tensorflow",)
KERAS_LOADS = False
# By quantization; 8 bits cost a little.
MIN_CC = {"none": 0.999, "fp16": 0.999, "dynamic": 0.99, "int8": 0.99}

QUANTIZATIONS = tuple(MIN_CC)


def find(path):
    """The file itself."""
    return path if path.is_file() and path.name.endswith(ENDING) else None


def export_tflite(net, path, quantize="none", representative=None, resize="stretch", name=None):
    """Write a model as a TFLite file.

    Whatever the quantization, its signature ``serving_default`` takes ``image`` (1, H, W, 3)
    float32 RGB 0…255 and returns ``saliency`` (1, H, W, 1) float32 in [0, 1]. The file uses
    built-in operations alone and holds its description.

    Args:
        net: a model of this package.
        path: the file to write; replaced if it exists.
        quantize: ``"none"`` for float32; ``"fp16"`` for 16-bit weights, half the size;
            ``"dynamic"`` for 8-bit weights, a quarter of the size, with 8-bit arithmetic where the
            runtime has it; ``"int8"`` for 8-bit weights and activations. Three parts stay float32
            even then: the normalization of the pixels, before the first convolution; the drawing
            of the map, from the last one on, since an 8-bit sigmoid that peaks at 0.3 has only 77
            levels; and anything that is the same on all images.
        representative: for ``"int8"``, a list of about a hundred images (H, W, 3) float32 RGB
            0…255 at the input size, on which the ranges of the activations are measured.
        resize: how images are brought to the input size, ``"stretch"`` or ``"pad"``, for the
            description.
        name: of the trained model, for the description; the architecture's by default.

    Raises:
        ValueError: an unknown quantization, no images for ``"int8"``, or a model whose input size
            may vary.
    """
    with atomic(path) as draft:
        write(net, draft, resize, name, quantize, representative)


def write(net, path, resize="stretch", name=None, quantize="none", representative=None):
    """Write the file; see `export_tflite`.

    Not by Keras's own ``model.export(format="litert")``, which names the output ``output_0``.
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, not {quantize!r}.")
    if quantize == "int8" and not representative:
        raise ValueError("quantize='int8' measures on images: give some as representative.")
    import keras
    import tensorflow as tf

    from keras_salnet.models.loading import fixed_input_size, in_float32

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
    path.write_bytes(_described(code, describe(net, resize, name, quantize, batch=1)))


def load(path, input_size=None):
    """Load the file into LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    # From memory: a mapped file that another export replaces in place would end the process.
    code = path.read_bytes()
    interpreter = Interpreter(model_content=code, num_threads=os.cpu_count())
    interpreter.allocate_tensors()  # else the first image would wait for it
    run = interpreter.get_signature_runner("serving_default")
    shape = run.get_input_details()["image"]["shape"]

    def infer(images):  # one by one: the file takes batches of 1
        return np.concatenate([run(image=image[None])["saliency"] for image in images])

    input_size = tuple(int(side) for side in shape[1:3])
    return Loaded(infer, input_size, _description(code), batches=False)


def _described(code, description):
    """The bytes of a file with a description among its metadata."""
    from ai_edge_litert.tools import flatbuffer_utils as flatbuffers

    model = flatbuffers.ModelT.InitFromObj(flatbuffers.Model.GetRootAs(code))
    buffer, entry = flatbuffers.BufferT(), flatbuffers.schema_fb.MetadataT()
    buffer.data = list(description.encode())
    model.buffers.append(buffer)
    entry.name, entry.buffer = KEY, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffers.convert_object_to_bytearray(model))


def _description(code):
    """The description in a file's bytes; {} if it holds none."""
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(code)
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == KEY.encode():
            return read(bytes(model.Buffers(entry.Buffer()).DataAsNumpy()))
    return {}


def representative_images(dataset, input_size, resize="stretch", count=128, seed=0):
    """Choose images of a dataset to measure activations on.

    Args:
        dataset: `keras_salnet.data.Dataset`; they come from its split ``train``, if it has one.
        input_size: (height, width).
        resize: how they are brought to it, ``"stretch"`` or ``"pad"``.
        count: int, the most to choose.
        seed: int, of the choice.

    Returns:
        List of (H, W, 3) float32 RGB 0…255.
    """
    from keras_salnet.images.geometry import Placement

    samples = dataset["train" if "train" in dataset.splits else "all"]
    chosen = np.random.default_rng(seed).permutation(len(samples))[:count]
    images = (samples[index].read_image() for index in chosen)
    return [Placement(image.shape[:2], input_size, resize).image(image) for image in images]


def _convert_to_int8(converter, representative):
    """The bytes of the file, quantized except for what must stay float32."""
    import tensorflow as tf

    converter.representative_dataset = lambda: ({"image": image[None]} for image in representative)
    # TensorFlow's way to quantize a part of a model.
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_nodes=_kept_in_float32(debugger.calibrated_model)
    )
    return debugger.get_nondebug_quantized_model()


def _kept_in_float32(code):
    """Names of the tensors that stay float32 in a model whose activations were measured."""
    from ai_edge_litert import schema_py_generated as schema

    convolution = {
        schema.BuiltinOperator.CONV_2D,
        schema.BuiltinOperator.DEPTHWISE_CONV_2D,
        schema.BuiltinOperator.TRANSPOSE_CONV,
    }
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(code))
    (graph,) = model.subgraphs
    kinds = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
    convolutions = [place for place, kind in enumerate(kinds) if kind in convolution]
    outputs = [graph.tensors[operator.outputs[0]] for operator in graph.operators]
    # Before the first convolution: LiteRT turns RGB into BGR by REVERSE_V2, which keeps the bytes,
    # though the quantizer gives its output another scale: VGG16 would see wrong colours.
    # From the last one on: an 8-bit sigmoid has steps of 1/256.
    kept = outputs[: convolutions[0]] + outputs[convolutions[-1] :]
    # What is 0 on all images, as a ReLU's only feature may be: XNNPACK crashes on such a scale.
    kept += [tensor for tensor in outputs if _is_constant(tensor)]
    return [tensor.name.decode() for tensor in kept]


def _is_constant(tensor):
    """Whether a tensor's measured values are all the same; False if it was not measured."""
    measured = tensor.quantization
    if measured is None or measured.min is None:
        return False
    return measured.max[0] - measured.min[0] < 1e-5
