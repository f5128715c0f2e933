"""Trained models for other runtimes."""

from keras_salnet.export.check import check_export
from keras_salnet.export.onnx import export_onnx
from keras_salnet.export.openvino import export_openvino
from keras_salnet.export.savedmodel import export_savedmodel
from keras_salnet.export.tflite import export_tflite

__all__ = ["check_export", "export_onnx", "export_openvino", "export_savedmodel", "export_tflite"]
