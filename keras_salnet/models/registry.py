"""Models by name. Importing this loads no Keras, so that the command line can list them at once."""

import importlib
import inspect

# name → the module and the builder in it
_BUILDERS = {
    "opensalicon": ("keras_salnet.models.opensalicon", "OpenSALICON"),
    "pfa": ("keras_salnet.models.pfa", "PFA"),
    "sarn": ("keras_salnet.models.sarn", "SARN"),
    "vggrga": ("keras_salnet.models.vggrga", "VGGRGA"),
    "vggssm": ("keras_salnet.models.vggssm", "VGGSSM"),
}


def names():
    """Names that `create` takes, sorted.

    Example:
        >>> names()
        ['opensalicon', 'pfa', 'sarn', 'vggrga', 'vggssm']
    """
    return sorted(_BUILDERS)


def create(name, **kwargs):
    """Build a model by its name.

    Args:
        name: one of `names()`.
        **kwargs: the builder's arguments, such as `num_rga` and `input_shape` of `VGGRGA`.

    Returns:
        `keras.Model`: images (B, H, W, 3), RGB, 0…255 → maps (B, H, W, 1), float32 in [0, 1].

    Raises:
        ValueError: an unknown name or argument; whatever the builder raises.
    """
    if name not in _BUILDERS:
        raise ValueError(f"there is no model {name!r}; there are: {', '.join(names())}.")
    module, builder = _BUILDERS[name]
    builder = getattr(importlib.import_module(module), builder)
    arguments = inspect.signature(builder).parameters
    for argument in kwargs.keys() - arguments.keys():
        raise ValueError(f"{name} has no {argument}; it has: {', '.join(arguments)}.")
    return builder(**kwargs)
