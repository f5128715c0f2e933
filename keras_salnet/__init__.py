"""Visual saliency in Keras: images in, the map of where people look out.

The names below are loaded when they are first used: importing this package loads neither Keras nor
TensorFlow.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "data",
        "evaluation",
        "formats",
        "images",
        "layers",
        "losses",
        "metrics",
        "models",
        "prediction",
        "training",
    ],
    submod_attrs={
        "images": ["visualize"],
        "models": ["load_model"],
        "prediction.predictor": ["Predictor"],
    },
)
