"""The models that come with the package, trained.

Each is a LiteRT file, which predicts without TensorFlow or Keras. Beside it lies what that file
does not hold of the Keras model's weights, for fine-tuning and other exports: LiteRT has batch
normalization folded into convolutions. All other weights are read from the LiteRT file itself, in
the 8 or 16 bits that it holds them in. Importing this loads no Keras.
"""

from pathlib import Path

from keras_salnet.training.recipes import RECIPES

# Name → recipe that it was trained by; docs/models has a card of each.
SHIPPED = {"accurate": "accurate", "fast": "mobilerga"}
DEFAULT = "fast"
# Those whose LiteRT file sees the mirrored image, too (`keras_salnet.models.mirrored`).
MIRRORED = {"accurate"}

_FOLDER = Path(__file__).parents[1] / "weights"


def litert_file(name):
    """Path of a shipped model's LiteRT file.

    Args:
        name: in `SHIPPED`.
    """
    return _FOLDER / f"{name}.tflite"


def load_shipped(name):
    """A shipped model for Keras, such as to train it further.

    Args:
        name: in `SHIPPED`.

    Returns:
        `keras.Model`: images (B, H, W, 3), RGB, 0…255 → maps (B, H, W, 1), float32 in [0, 1].
    """
    import numpy as np

    from keras_salnet.models import create

    recipe = shipped_recipe(name)
    shape = (*recipe.input_size, 3)
    net = create(recipe.model, input_shape=shape, backbone_weights=None, **recipe.model_args)
    held = kernels(litert_file(name))
    with np.load(_FOLDER / f"{name}.npz") as stored:
        for weight in net.weights:
            value = stored[weight.path]
            weight.assign(held[str(value)] if value.dtype.kind == "U" else value)
    return net


def shipped_recipe(name):
    """The `Recipe` that a shipped model was trained by.

    Args:
        name: in `SHIPPED`.
    """
    return RECIPES[SHIPPED[name]]


def kernels(path):
    """The convolution kernels in a LiteRT file.

    Args:
        path: of the file, with weights in 8 or 16 bits.

    Returns:
        Dict: name of the tensor → (height, width, channels in, channels out) float32, as Keras lays
        them out.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    types = {schema.TensorType.INT8: np.int8, schema.TensorType.FLOAT16: np.float16}
    model = schema.Model.GetRootAs(Path(path).read_bytes())
    graph = model.Subgraphs(0)
    found = {}
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        data = model.Buffers(tensor.Buffer())
        if tensor.Type() in types and tensor.ShapeLength() == 4 and data.DataLength():
            values = data.DataAsNumpy().view(types[tensor.Type()]).reshape(tensor.ShapeAsNumpy())
            if tensor.Type() == schema.TensorType.INT8:  # with a scale for each output channel
                values = values * tensor.Quantization().ScaleAsNumpy().reshape(-1, 1, 1, 1)
            found[tensor.Name().decode()] = values.astype(np.float32).transpose(1, 2, 3, 0)
    return found
