"""Visual saliency in Keras: give it an image, get a map of where people look.

Names load on first use, so importing this package imports neither Keras nor TensorFlow.
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
        "visualize",
    ],
    submod_attrs={
        "models": ["load_model"],
        "prediction.predictor": ["Predictor"],
    },
)
