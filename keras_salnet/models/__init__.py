"""Saliency models, one paper a file, their registry, and how saved ones load."""

import lazy_loader

from keras_salnet.models.registry import create, names

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attach": ["attach_attention"],
        "loading": ["load_model"],
        "mirrored": ["mirrored"],
        "mobilerga": ["MobileRGA"],
        "opensalicon": ["OpenSALICON"],
        "pfa": ["PFA"],
        "sarn": ["SARN"],
        "vggrga": ["VGGRGA"],
        "vggssm": ["VGGSSM"],
    },
)
__all__ = [
    "PFA",
    "SARN",
    "VGGRGA",
    "VGGSSM",
    "MobileRGA",
    "OpenSALICON",
    "attach_attention",
    "create",
    "load_model",
    "mirrored",
    "names",
]
