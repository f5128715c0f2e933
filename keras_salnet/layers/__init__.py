"""Keras layers, in `keras.ops` alone: they run on TensorFlow, JAX and PyTorch."""

from keras_salnet.layers.preprocessing import CaffePreprocessing
from keras_salnet.layers.rga import RGA, ChannelRGA, SpatialRGA

__all__ = ["RGA", "CaffePreprocessing", "ChannelRGA", "SpatialRGA"]
