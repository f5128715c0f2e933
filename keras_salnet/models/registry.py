"""Models by name. Importing this loads no Keras, so that the command line can list them at once."""

import importlib
import inspect
from typing import NamedTuple


class Entry(NamedTuple):
    """Facts about a model that is not built yet.

    Args:
        builder: the function that builds it, in the module of the model's name.
        parameters: how many numbers it learns or keeps, built with its paper's defaults.
        source: authors, place and year.
    """

    builder: str
    parameters: int
    source: str


MODELS = {
    "mobilerga": Entry("MobileRGA", 3_194_125, "this package"),
    "opensalicon": Entry("OpenSALICON", 29_430_401, "Thomas, technical report, 2016"),
    "pfa": Entry("PFA", 16_186_089, "Zhao & Wu, CVPR 2019"),
    "sarn": Entry("SARN", 34_247_234, "Sun, Li & Guan, arXiv 1808.01634, 2018"),
    "vggrga": Entry("VGGRGA", 65_373_369, "Cao & Jo, IW-FCV 2021"),
    "vggssm": Entry("VGGSSM", 42_426_690, "Cao, Tang & Jo, ICIC 2020"),
}


def names():
    """Names that `create` takes, sorted.

    Example:
        >>> names()
        ['mobilerga', 'opensalicon', 'pfa', 'sarn', 'vggrga', 'vggssm']
    """
    return sorted(MODELS)


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
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known are: {', '.join(names())}.")
    module = importlib.import_module(f"keras_salnet.models.{name}")
    builder = getattr(module, MODELS[name].builder)
    arguments = inspect.signature(builder).parameters
    for argument in kwargs.keys() - arguments.keys():
        raise ValueError(f"{name} has no {argument}; it has: {', '.join(arguments)}.")
    return builder(**kwargs)
