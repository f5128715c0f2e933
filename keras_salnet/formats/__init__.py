"""The formats that a trained model is stored in: one module each, which writes and loads it.

A format's module has

- ``KIND``: what holds such a model, as help texts say it;
- ``ENDING``: how its files end, or None if it is a folder;
- ``EXTRA``: the extra of this package that installs its runtime, or None;
- ``NEEDS``: the packages that write it and that this package may be installed without;
- ``KERAS_LOADS``: whether loading it takes Keras or TensorFlow;
- ``MIN_CC``: the least mean CC between its maps and Keras's, or None for what needs no check;
- ``find(path)``: the file or folder at a path that `load` takes, or None;
- ``write(net, path, resize, name)``: write a model to a new path;
- ``load(path, input_size)``: read a model as `description.Loaded`.

None of them imports TensorFlow, Keras or a runtime before it writes or loads.
"""

import importlib

import lazy_loader

# The order in which `find` looks at a path.
FORMATS = ("savedmodel", "keras", "weights", "tflite", "onnx", "openvino")

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "onnx": ["export_onnx"],
        "openvino": ["export_openvino"],
        "savedmodel": ["export_savedmodel"],
        "tflite": ["export_tflite"],
    },
)
__all__ = [
    "FORMATS",
    "export_onnx",
    "export_openvino",
    "export_savedmodel",
    "export_tflite",
    "find",
    "get",
    "kinds",
]


def get(name):
    """The module of a format.

    Args:
        name: in `FORMATS`.
    """
    return importlib.import_module(f"keras_salnet.formats.{name}")


def find(path):
    """The format of the model at a path.

    Args:
        path: `pathlib.Path` of a file or folder that exists.

    Returns:
        (module of the format, path that its `load` takes).

    Raises:
        ValueError: it is not a model.
    """
    for module in map(get, FORMATS):
        if (found := module.find(path)) is not None:
            return module, found
    raise ValueError(f"{path}: not a model; expected {kinds()}.")


def kinds():
    """Text that lists what holds a model: "a SavedModel folder, a run folder …"."""
    *first, last = (get(name).KIND for name in FORMATS if name != "weights")
    return f"{', '.join(first)} or {last}"
