"""Trained models for other runtimes."""

from keras_salnet.formats.onnx import export_onnx
from keras_salnet.formats.openvino import export_openvino
from keras_salnet.formats.savedmodel import export_savedmodel
from keras_salnet.formats.tflite import export_tflite

__all__ = ["export_onnx", "export_openvino", "export_savedmodel", "export_tflite"]
