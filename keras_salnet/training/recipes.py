"""How each model is trained: one recipe a paper, and one for the embedded displays."""

import dataclasses
import math
from dataclasses import dataclass, field

AUGMENTATIONS = ("gaze", "objects")
OPTIMIZERS = ("adam", "sgd")
LOSSES = ("saliency", "cross_entropy", "edge_hold")
SCHEDULES = ("step", "cosine")
STRATEGIES = ("mirrored", "multi-worker")

# Field → the least value that it may have.
_LEAST = {
    **{"epochs": 1, "batch_size": 1, "decay_steps": 1, "warmup_epochs": 0, "accumulate": 1},
    **{"freeze_encoder": 0, "frozen_stages": 0, "early_stopping": 1, "weight_decay": 0},
}
_POSITIVE = ("learning_rate", "decay_every", "decay_factor", "clip_norm", "max_time")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run learns, but for its data and seed.

    Args:
        model: name in `keras_salnet.models.names()`.
        model_args: arguments of its builder, but for `input_shape` and `backbone_weights`.
        backbone_weights: ``"imagenet"``, the path of a weight file, or None.
        input_size: (height, width) of the frame, multiples of 16.
        resize: ``"stretch"`` images to the frame or ``"pad"`` them.
        augment: flip, rotate, crop and recolour the training images, as much as suits ``"gaze"`` or
            ``"objects"`` (`keras_salnet.data.augmentation.RANGES`); or None.
        epochs: int ≥ 1.
        max_time: minutes after which training ends, if its epochs have not, or None.
        batch_size: int ≥ 1.
        optimizer: ``"adam"`` or ``"sgd"``, with a momentum of 0.9.
        learning_rate: before any decay.
        weight_decay: what part of each weight a step takes away, times the learning rate; ≥ 0.
        schedule: ``"step"``: the rate is multiplied by `decay_factor` after every `decay_every`
            epochs. ``"cosine"``: it rises over `warmup_epochs` and then falls as a cosine.
        decay_every, decay_factor: of ``"step"``; `decay_every` below 1 is a part of all epochs.
        decay_steps: decay after so many steps, instead of `decay_every`.
        warmup_epochs: of ``"cosine"``; a part of an epoch will do.
        encoder_rate: factor of the learning rate for the encoder, ≥ 0.
        freeze_encoder: number of epochs, from the first, in which the encoder is not trained; with
            at least `epochs`, it never is.
        frozen_stages: number of the encoder's stages, from the image on, that are never trained.
        accumulate: number of batches whose mean gradient makes one step, ≥ 1.
        clip_norm: longest gradient, over all weights together, or None.
        ema: momentum, between 0 and 1, of a moving average of the weights over the batches, which
            then is what is validated and kept; or None.
        early_stopping: stop after this many epochs without a better validation loss, or None. Only
            epochs count that train what the last one does, by its loss.
        loss: ``"saliency"`` (`losses.SaliencyLoss`), ``"cross_entropy"`` (`losses.CrossEntropy`) or
            ``"edge_hold"`` (`losses.EdgeHoldLoss`).
        kl, cc, sim: weights of ``"saliency"``.
        alpha: weight of the pixels of ``"edge_hold"`` in the first half of the epochs, and in the
            second. The best weights are those of the second half where the two differ.
    """

    model: str = "vggrga"
    model_args: dict = field(default_factory=dict)
    backbone_weights: str | None = "imagenet"
    input_size: tuple[int, int] = (256, 256)
    resize: str = "stretch"
    augment: str | None = None
    epochs: int = 10
    max_time: float | None = None
    batch_size: int = 8
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "step"
    decay_every: float = 3
    decay_factor: float = 0.1
    decay_steps: int | None = None
    warmup_epochs: float = 1.0
    encoder_rate: float = 1.0
    freeze_encoder: int = 0
    frozen_stages: int = 0
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float | None = None
    early_stopping: int | None = None
    loss: str = "saliency"
    kl: float = 10.0
    cc: float = -1.0
    sim: float = -1.0
    alpha: tuple[float, float] = (1.0, 0.7)

    def __post_init__(self):
        for name in ("input_size", "alpha"):  # lists, where they come from a config.json
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} must be at least {least}, not {value}.")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must be between 0 and 1, not {self.ema}.")
        if not 0 <= self.encoder_rate < math.inf:
            raise ValueError(
                f"encoder_rate must be finite and at least 0, not {self.encoder_rate}."
            )
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("loss", LOSSES),
            ("schedule", SCHEDULES),
            ("augment", (None, *AUGMENTATIONS)),
        ):
            value = getattr(self, name)
            if value not in known:
                known = ", ".join(map(str, known))
                raise ValueError(f"{name} must be one of {known}, not {value!r}.")

    def replace(self, **changes):
        """A copy with some fields changed; `model_args` are merged, unless the model is another."""
        kept = self.model_args if changes.get("model", self.model) == self.model else {}
        changes["model_args"] = {**kept, **changes.get("model_args", {})}
        return dataclasses.replace(self, **changes)


# Cao & Jo, 2021, Section 4.1; the factor of the decay is ours, the paper gives none.
VGGRGA = Recipe(model="vggrga", model_args={"num_rga": 3})

# Thomas, 2016, and the solver file beside it, whose loss is the sum over 38 x 50 cells. Ours is the
# mean: 1900 times the rate and a 1900th of the decay do the same. "Early layers" stay as they are,
# which we take for two blocks.
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

# Zhao & Wu, 2019: α falls, and with it the rate; half-way is our choice. They train until the loss
# converges; the public weights are those of the 50th epoch.
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
)

# Sun, Li & Guan, 2018: masks are learnt by their cross-entropy. Our source says nothing else of the
# training, and so this is VGGRGA's.
SARN = Recipe(model="sarn", loss="cross_entropy")

# Cao, Tang & Jo, 2020: the loss is theirs, and the encoder stays as it is, however long a run. Our
# source does not tell the rest, which is VGGRGA's.
VGGSSM = Recipe(model="vggssm", freeze_encoder=1000)

# Ours: as `fast`, in the package, was trained. The encoder starts from ImageNet, all else from
# nothing, and so may learn faster.
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

# Ours: as `accurate`, in the package, went on from `fast` in a larger frame.
ACCURATE = MOBILERGA.replace(
    input_size=(320, 416), epochs=2, learning_rate=3e-4, warmup_epochs=0.25
)

# Small enough to learn the embedded displays from scratch on two CPU cores within minutes. For the
# first epochs the loss hardly moves; small batches, and with them more steps, get it over that, and
# without the warm-up it can end there.
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

# By model; "accurate" is that of the shipped model, "popout" for the embedded displays.
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
    """The recipe of a model on a dataset, as the command line takes it.

    Args:
        model: name in `keras_salnet.models.names()`.
        data: what `keras_salnet.data.load_dataset` takes. On ``"popout"``, the embedded displays,
            every model is small.
        name: of another recipe in `RECIPES` that the model is to be trained by.

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
    model_args = {"filters": popout.model_args["filters"]}
    if model == "mobilerga":  # of whose deepest stage 4 x 4 pixels are left, too few to relate
        model_args["max_nodes"] = 64
    return popout.replace(model=model, model_args=model_args)


def fine_tuning(recipe):
    """The recipe by which a trained model goes on, on images that may be few. Ours.

    Adam at 1e-4 for six epochs, in the first of which the encoder is left alone; then it learns ten
    times more slowly than the rest. Augmented. The loss and all else are the recipe's.

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
