"""Keras layers, in `keras.ops` alone: they run on TensorFlow, JAX and PyTorch."""

import lazy_loader

from keras_salnet.layers.registry import attention_names, create_attention

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention": ["CBAM", "FullyConnectedAttention", "SqueezeExcitation"],
        "pfa": ["PFAChannelAttention", "PFASpatialAttention"],
        "preprocessing": ["CaffePreprocessing"],
        "pyramid": ["ContextAwareFeatureExtraction"],
        "recurrent": ["RecurrentConv2D"],
        "rga": ["RGA", "ChannelRGA", "SpatialRGA"],
        "self_attention": ["NonLocal", "SelfAttention"],
    },
)
__all__ = [
    "CBAM",
    "RGA",
    "CaffePreprocessing",
    "ChannelRGA",
    "ContextAwareFeatureExtraction",
    "FullyConnectedAttention",
    "NonLocal",
    "PFAChannelAttention",
    "PFASpatialAttention",
    "RecurrentConv2D",
    "SelfAttention",
    "SpatialRGA",
    "SqueezeExcitation",
    "attention_names",
    "create_attention",
]
