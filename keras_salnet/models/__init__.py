"""Saliency models, one paper a file, their registry, and how saved ones load."""

import lazy_loader

from keras_salnet.models.registry import create, names

_LAZY = {
    "attach": ["attach_attention"],
    "loading": ["load_model"],
    "mirrored": ["mirrored"],
    "mobilerga": ["MobileRGA"],
    "opensalicon": ["OpenSALICON"],
    "pfa": ["PFA"],
    "sarn": ["SARN"],
    "vggrga": ["VGGRGA"],
    "vggssm": ["VGGSSM"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_LAZY)
__all__ += ["create", "names"]
