"""How each model is trained: one recipe a paper, and one for the embedded displays.

Importing this loads no Keras: `keras-salnet train` makes its options from the fields of `Recipe`.
"""

import dataclasses
import math
import types
from dataclasses import dataclass, field

from keras_salnet.losses import LOSSES

AUGMENTATIONS = ("gaze", "objects")
OPTIMIZERS = ("adam", "sgd")
RESIZES = ("stretch", "pad")
SCHEDULES = ("step", "cosine")
STRATEGIES = ("mirrored", "multi-worker")


def _option(default, group, help, **more):
    """A field of `Recipe`: its default, documentation and range, and how it is an option.

    Args:
        default: its value.
        group: heading of the option in ``keras-salnet train --help``.
        help: what it is, for the option and for `Recipe`'s docstring.
        **more: ``choices``; ``minimum``, the least finite value; ``between``, limits that the value
            does not reach; ``flag``, where the option is not called like the field; and arguments
            of `argparse.ArgumentParser.add_argument`, such as ``metavar``.
    """
    return field(default=default, metadata={"group": group, "help": help, **more})


_POSITIVE = (0, math.inf)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run learns, except its data and its seed.

    Each field but the first is an option of ``keras-salnet train``, where 'none' stands for None.
    """

    model: str = field(default="vggrga", metadata={"help": "name in `keras_salnet.models.names()`"})
    model_args: dict = field(
        default_factory=dict,
        metadata={
            "group": "model",
            "help": "any other argument of the model's builder, such as filters=32, with_ca=false "
            'or streams=["fine"]; may be repeated',
            "flag": "--model-arg",
            "metavar": "NAME=VALUE",
        },
    )
    backbone_weights: str | None = _option(
        "imagenet",
        "model",
        "encoder weights: 'imagenet', a file, or 'none' for random ones",
        metavar="WEIGHTS",
    )
    input_size: tuple[int, int] = _option(
        (256, 256),
        "data",
        "size of the network's input, such as 256 or 240x320 (height x width); multiples of 16",
        metavar="SIZE",
    )
    resize: str = _option(
        "stretch",
        "data",
        "how an image fills the input: stretched, or scaled and padded",
        choices=RESIZES,
    )
    augment: str | None = _option(
        None,
        "data",
        "randomly flip, rotate, crop and recolour the training images, as far as 'gaze' (the "
        "default without a name) or 'objects' allows",
        choices=AUGMENTATIONS,
        nargs="?",
        const="gaze",
    )
    epochs: int = _option(10, "optimization", "number of epochs", metavar="N", minimum=1)
    max_time: float | None = _option(
        None,
        "optimization",
        "stop after this many minutes ('none': no limit)",
        metavar="MINUTES",
        between=_POSITIVE,
    )
    early_stopping: int | None = _option(
        None,
        "optimization",
        "stop after N epochs without improvement in validation loss ('none': never)",
        metavar="N",
        minimum=1,
    )
    batch_size: int = _option(8, "optimization", "images per step", metavar="N", minimum=1)
    optimizer: str = _option(
        "adam", "optimization", "optimizer; sgd has momentum 0.9", choices=OPTIMIZERS
    )
    learning_rate: float = _option(
        1e-4, "optimization", "initial learning rate", metavar="RATE", between=_POSITIVE
    )
    accumulate: int = _option(
        1,
        "optimization",
        "step once every N batches, with their mean gradient",
        metavar="N",
        minimum=1,
    )
    clip_norm: float | None = _option(
        None,
        "optimization",
        "clip the global gradient norm ('none': do not)",
        metavar="X",
        between=_POSITIVE,
    )
    schedule: str = _option(
        "step",
        "schedule",
        "how the learning rate falls: by a factor every few epochs, or along a cosine",
        choices=SCHEDULES,
    )
    decay_every: float = _option(
        3,
        "schedule",
        "for --schedule step: epochs between decays; below 1, a fraction of all epochs",
        metavar="EPOCHS",
        between=_POSITIVE,
    )
    decay_factor: float = _option(
        0.1,
        "schedule",
        "for --schedule step: factor of the learning rate at each decay",
        metavar="X",
        between=_POSITIVE,
    )
    decay_steps: int | None = _option(
        None,
        "schedule",
        "for --schedule step: steps between decays, instead of --decay-every",
        metavar="N",
        minimum=1,
    )
    warmup_epochs: float = _option(
        1.0,
        "schedule",
        "for --schedule cosine: epochs over which the learning rate rises; fractions allowed",
        flag="--warmup",
        metavar="EPOCHS",
        minimum=0,
    )
    weight_decay: float = _option(
        0.0,
        "regularization",
        "decoupled weight decay: each step shrinks the weights by this times the learning rate",
        metavar="X",
        minimum=0,
    )
    ema: float | None = _option(
        None,
        "regularization",
        "validate and keep a moving average of the weights with this momentum per batch, such as "
        "0.999 ('none': the weights themselves)",
        metavar="MOMENTUM",
        between=(0, 1),
    )
    encoder_rate: float = _option(
        1.0, "encoder", "factor of the encoder's learning rate", metavar="FACTOR", minimum=0
    )
    freeze_encoder: int = _option(
        0,
        "encoder",
        "freeze the encoder for the first N epochs; with N at least --epochs, throughout",
        metavar="N",
        minimum=0,
    )
    frozen_stages: int = _option(
        0, "encoder", "never train the encoder's first N stages", metavar="N", minimum=0
    )
    loss: str = _option(
        "saliency", "loss", "loss function (`keras_salnet.losses`)", choices=tuple(LOSSES)
    )
    loss_args: dict = field(
        default_factory=dict,
        metadata={
            "group": "loss",
            "help": "an argument of the loss, such as kl=5; two values, such as alpha=[1,0.7], are "
            "for the first and the second half of the epochs; may be repeated",
            "flag": "--loss-arg",
            "metavar": "NAME=VALUE",
        },
    )

    def __post_init__(self):
        # Lists, where they come from a config.json or the command line.
        object.__setattr__(self, "input_size", tuple(self.input_size))
        pairs = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.loss_args.items()
        }
        object.__setattr__(self, "loss_args", pairs)
        for about in dataclasses.fields(self):
            _check(about, getattr(self, about.name))
        for name, value in self.loss_args.items():
            if isinstance(value, tuple) and len(value) != 2:
                raise ValueError(f"loss_args: {name} must be a number or a pair, not {value!r}.")

    def replace(self, **changes):
        """A copy with some fields changed.

        `model_args` and `loss_args` are merged with the present ones, unless the model or the loss
        changes.
        """
        for name in ("model", "loss"):
            kept = getattr(self, f"{name}_args")
            if changes.get(name, getattr(self, name)) != getattr(self, name):
                kept = {}
            changes[f"{name}_args"] = {**kept, **changes.get(f"{name}_args", {})}
        return dataclasses.replace(self, **changes)

    def loss_args_in(self, half):
        """The loss's arguments in the first half of the epochs, 0, or in the second, 1."""
        return {
            name: value[half] if isinstance(value, tuple) else value
            for name, value in self.loss_args.items()
        }


def _check(about, value):
    """Raise ValueError unless a field's value is in its range."""
    name, limits = about.name, about.metadata
    is_optional = isinstance(about.type, types.UnionType)
    if "choices" in limits:
        known = (*limits["choices"], *([None] if is_optional else []))
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, not {value!r}.")
    if value is None:
        return
    if "minimum" in limits and not limits["minimum"] <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least {limits['minimum']}, not {value}.")
    if "between" in limits:
        low, high = limits["between"]
        if not low < value < high:
            raise ValueError(f"{name} must be above {low} and below {high}, not {value}.")


_ARGS = (f"        {about.name}: {about.metadata['help']}." for about in dataclasses.fields(Recipe))
Recipe.__doc__ = "\n".join([f"{Recipe.__doc__}\n\n    Args:", *_ARGS])


# Cao & Jo, 2021, Section 4.1; the factor of the decay is ours, the paper gives none.
VGGRGA = Recipe(model="vggrga", model_args={"num_rga": 3})

# Thomas, 2016, and the solver file published with it. Its loss is the sum over 38 x 50 cells and
# ours the mean, so 1900 times the rate and a 1900th of the decay are equivalent. "Early layers" are
# not trained, which we take to be two blocks.
_CELLS = 38 * 50
OPENSALICON = Recipe(
    model="opensalicon",
    input_size=(1200, 1600),
    epochs=1000,
    max_time=150,
    batch_size=1,
    optimizer="sgd",
    learning_rate=1e-6 * _CELLS,
    weight_decay=5e-4 / _CELLS,
    decay_steps=4000,
    frozen_stages=2,
    loss="cross_entropy",
)

# Zhao & Wu, 2019: α and the learning rate fall during training; half-way is our choice. They train
# until the loss converges; the public weights are from epoch 50.
PFA = Recipe(
    model="pfa",
    resize="pad",
    augment="objects",
    epochs=50,
    batch_size=22,
    optimizer="sgd",
    learning_rate=1e-2,
    decay_every=0.5,
    loss="edge_hold",
    loss_args={"alpha": (1.0, 0.7)},
)

# Sun, Li & Guan, 2018: the loss is cross-entropy with masks. Our source does not describe the rest
# of the training, so it is VGGRGA's.
SARN = Recipe(model="sarn", loss="cross_entropy")

# Cao, Tang & Jo, 2020: the loss is theirs, and the encoder is never trained, however long the run.
# Our source does not describe the rest, so it is VGGRGA's.
VGGSSM = Recipe(model="vggssm", freeze_encoder=1000)

# Ours: the recipe of the shipped model `fast`. The encoder starts from ImageNet and everything else
# from random weights, which may therefore learn faster.
MOBILERGA = Recipe(
    model="mobilerga",
    input_size=(256, 320),
    augment="gaze",
    epochs=20,
    learning_rate=1e-3,
    encoder_rate=0.2,
    schedule="cosine",
    ema=0.99,
)

# Ours: the recipe of the shipped model `accurate`, which continues from `fast` at a larger input
# size.
ACCURATE = MOBILERGA.replace(
    input_size=(320, 416), epochs=2, learning_rate=3e-4, warmup_epochs=0.25
)

# Small enough to learn the embedded displays from scratch on two CPU cores within minutes. The loss
# hardly moves in the first epochs; small batches, and so more steps, get it past that plateau,
# where it can stay without the warm-up.
POPOUT = Recipe(
    model="vggrga",
    model_args={"num_rga": 1, "filters": 8},
    backbone_weights=None,
    input_size=(128, 128),
    batch_size=4,
    learning_rate=1e-3,
    schedule="cosine",
    warmup_epochs=0.4,
)

# Further arguments that models need at POPOUT's size: the deepest stage of MobileRGA has 4 x 4
# pixels, too few to relate.
_ON_POPOUT = {"mobilerga": {"max_nodes": 64}}

# By model, plus "accurate" for the shipped model and "popout" for the embedded displays.
RECIPES = {
    "accurate": ACCURATE,
    "mobilerga": MOBILERGA,
    "opensalicon": OPENSALICON,
    "pfa": PFA,
    "popout": POPOUT,
    "sarn": SARN,
    "vggrga": VGGRGA,
    "vggssm": VGGSSM,
}


def recipe_for(model, data, name=None):
    """The recipe that the command line uses for a model and a dataset.

    Args:
        model: name in `keras_salnet.models.names()`.
        data: what `keras_salnet.data.load_dataset` takes. For ``"popout"``, the embedded displays,
            every model is small.
        name: name in `RECIPES`, to train the model with another recipe than its own.

    Returns:
        `Recipe`.

    Example:
        >>> recipe_for("pfa", "popout").model_args
        {'filters': 8}
    """
    if name is not None:
        return RECIPES[name].replace(model=model)
    if any(name != "popout" for name in (data if isinstance(data, list) else [data])):
        return RECIPES[model]
    popout = RECIPES["popout"]
    if model == popout.model:
        return popout
    model_args = {"filters": popout.model_args["filters"], **_ON_POPOUT.get(model, {})}
    return popout.replace(model=model, model_args=model_args)


def fine_tuning(recipe):
    """The recipe to fine-tune a trained model, even on few images. Ours.

    Adam at 1e-4 for six epochs with augmentation. The encoder is frozen in the first epoch and then
    learns at a tenth of the rate. The loss and everything else are the model's own recipe's.

    Args:
        recipe: `Recipe` of the model.

    Returns:
        `Recipe`.

    Example:
        >>> fine_tuning(RECIPES["pfa"]).loss, fine_tuning(RECIPES["pfa"]).optimizer
        ('edge_hold', 'adam')
    """
    return recipe.replace(
        epochs=6,
        max_time=None,
        batch_size=8,
        optimizer="adam",
        learning_rate=1e-4,
        weight_decay=0.0,
        schedule="cosine",
        warmup_epochs=0.5,
        encoder_rate=0.1,
        freeze_encoder=max(1, recipe.freeze_encoder),
        augment=recipe.augment or "gaze",
        ema=None,
    )
