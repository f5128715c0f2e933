"""The trained models that come with the package.

Each is three files in ``keras_salnet/weights``: ``NAME.tflite``, which predicts without TensorFlow
or Keras; ``NAME.npz``, the Keras model's weights, for fine-tuning and other exports (LiteRT has
batch normalization folded into its convolutions); and ``NAME.json``, the model that they belong to.
Importing this module loads no Keras.
"""

import json
from pathlib import Path

SHIPPED = ("accurate", "fast")
DEFAULT = "fast"

_FOLDER = Path(__file__).parents[1] / "weights"


def litert_file(name):
    """Path of a shipped model's LiteRT file.

    Args:
        name: in `SHIPPED`.
    """
    return _FOLDER / f"{name}.tflite"


def preset(name):
    """The model that a name stands for.

    Args:
        name: in `SHIPPED`.

    Returns:
        Dict: ``model`` and ``model_args`` as for `models.create`, ``input_size`` (height, width),
        ``resize``, and ``mirrored``: whether the LiteRT file averages over the mirrored image
        (`models.mirrored`).
    """
    preset = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    return preset | {"input_size": tuple(preset["input_size"])}


def load_shipped(name):
    """A shipped model for Keras, such as to train it further.

    Args:
        name: in `SHIPPED`.

    Returns:
        `keras.Model`: images (B, H, W, 3), RGB, 0…255 → maps (B, H, W, 1), float32 in [0, 1].
    """
    import numpy as np

    from keras_salnet.models.registry import create

    about = preset(name)
    shape = (*about["input_size"], 3)
    net = create(about["model"], input_shape=shape, backbone_weights=None, **about["model_args"])
    with np.load(_FOLDER / f"{name}.npz") as stored:
        for weight in net.weights:
            weight.assign(stored[weight.path])
    return net


def store(net, name):
    """Put a trained model's weights in the package, in 16 bits.

    Args:
        net: the trained `keras.Model`.
        name: in `SHIPPED`.
    """
    import numpy as np

    from keras_salnet.files import atomic

    def rounded(value):
        # Vectors are few, and variances may be too large for 16 bits.
        return value.astype(np.float16 if value.ndim > 1 else np.float32)

    stored = {weight.path: rounded(np.asarray(weight)) for weight in net.weights}
    with atomic(_FOLDER / f"{name}.npz") as draft:
        np.savez_compressed(draft, **stored)
