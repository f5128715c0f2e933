"""Saliency models, one paper a file, their registry, and how saved ones load."""

import lazy_loader

from keras_salnet.models.registry import MODELS, create, names

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        **{name: [entry.builder] for name, entry in MODELS.items()},
        "attach": ["attach_attention"],
        "loading": ["load_model"],
        "mirrored": ["mirrored"],
    },
)
__all__ += ["create", "names"]
