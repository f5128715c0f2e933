"""Datasets, their samples, and how these reach the network."""

from keras_salnet.data.checks import check
from keras_salnet.data.datasets import Dataset, join, load_dataset
from keras_salnet.data.prepared import prepare
from keras_salnet.data.sample import Sample

__all__ = ["Dataset", "Sample", "check", "join", "load_dataset", "prepare"]
