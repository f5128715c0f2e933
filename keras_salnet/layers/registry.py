"""Attention layers by name. Importing this loads no Keras."""

import importlib

# name → the module, the class in it, its arguments
_ATTENTION = {
    "cbam_c": ("keras_salnet.layers", "CBAM", {"order": "c"}),
    "cbam_cs": ("keras_salnet.layers", "CBAM", {"order": "cs"}),
    "cbam_s": ("keras_salnet.layers", "CBAM", {"order": "s"}),
    "fc_c": ("keras_salnet.layers", "FullyConnectedAttention", {"order": "c"}),
    "fc_parallel": ("keras_salnet.layers", "FullyConnectedAttention", {"order": "parallel"}),
    "fc_s": ("keras_salnet.layers", "FullyConnectedAttention", {"order": "s"}),
    "non_local": ("keras_salnet.layers", "NonLocal", {}),
    "none": ("keras.layers", "Identity", {}),
    "pfa_c": ("keras_salnet.layers", "PFAChannelAttention", {}),
    "pfa_s": ("keras_salnet.layers", "PFASpatialAttention", {}),
    "rga_c": ("keras_salnet.layers", "RGA", {"order": "c"}),
    "rga_cs": ("keras_salnet.layers", "RGA", {"order": "cs"}),
    "rga_parallel": ("keras_salnet.layers", "RGA", {"order": "parallel"}),
    "rga_s": ("keras_salnet.layers", "RGA", {"order": "s"}),
    "rga_sc": ("keras_salnet.layers", "RGA", {"order": "sc"}),
    "se": ("keras_salnet.layers", "SqueezeExcitation", {}),
    "self_attention": ("keras_salnet.layers", "SelfAttention", {}),
}


def attention_names():
    """Names that `create_attention` takes, sorted.

    Example:
        >>> attention_names()[:3]
        ['cbam_c', 'cbam_cs', 'cbam_s']
    """
    return sorted(_ATTENTION)


def create_attention(attention, **kwargs):
    """Create an attention layer by its name.

    Args:
        attention: one of `attention_names()`; ``"none"`` leaves its input as it is.
        **kwargs: further arguments of the layer, such as `name` and `ratio`.

    Returns:
        `keras.layers.Layer`: (B, H, W, C) → the same shape and dtype.

    Raises:
        ValueError: an unknown name; whatever the layer raises.

    Example:
        >>> create_attention("cbam_cs", ratio=8).order
        'cs'
    """
    if attention not in _ATTENTION:
        raise ValueError(
            f"unknown attention {attention!r}; known are: {', '.join(attention_names())}."
        )
    module, layer, arguments = _ATTENTION[attention]
    return getattr(importlib.import_module(module), layer)(**arguments, **kwargs)
