"""Trained models for other runtimes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "onnx": ["export_onnx"],
        "openvino": ["export_openvino"],
        "savedmodel": ["export_savedmodel"],
        "tflite": ["export_tflite"],
    },
)
