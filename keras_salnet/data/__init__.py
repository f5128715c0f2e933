"""Datasets, their samples, and how these reach the network."""

from keras_salnet.data.datasets import Dataset, load_dataset
from keras_salnet.data.sample import Sample

__all__ = ["Dataset", "Sample", "load_dataset"]
