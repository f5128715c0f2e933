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
        "export",
        "layers",
        "losses",
        "metrics",
        "models",
        "prediction",
        "training",
        "visualize",
    ],
    submod_attrs={"models": ["load_model"], "predictor": ["Predictor"]},
)
