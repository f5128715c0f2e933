"""Saliency models, one paper a file, their registry, and how saved ones load."""

import lazy_loader

from keras_salnet.models.registry import create, names

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loading": ["load_model"],
        "opensalicon": ["OpenSALICON"],
        "pfa": ["PFA"],
        "vggrga": ["VGGRGA"],
    },
)
__all__ = ["PFA", "VGGRGA", "OpenSALICON", "create", "load_model", "names"]
