"""Trained models for other runtimes."""

from keras_salnet.export.savedmodel import export_savedmodel
from keras_salnet.export.tflite import export_tflite

__all__ = ["export_savedmodel", "export_tflite"]
