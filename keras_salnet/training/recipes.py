"""How each model is trained: one recipe a paper, and one for the embedded displays."""

import dataclasses
import math
from dataclasses import dataclass, field

SCHEDULES = ("step", "cosine")
STRATEGIES = ("mirrored", "multi-worker")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run learns, but for its data and seed.

    Args:
        model: name in `keras_salnet.models.names()`.
        model_args: arguments of its builder, but for `input_shape` and `backbone_weights`.
        backbone_weights: ``"imagenet"``, the path of a weight file, or None.
        input_size: (height, width) of the frame, multiples of 16.
        fit: ``"stretch"`` images to the frame or ``"pad"`` them.
        augment: flip, rotate, crop and recolour the training images.
        epochs: int ≥ 1.
        batch_size: int ≥ 1.
        learning_rate: Adam's, before any decay.
        schedule: ``"step"``: the rate is multiplied by `decay_factor` after every `decay_every`
            epochs. ``"cosine"``: it rises over `warmup_epochs` and then falls as a cosine.
        decay_every, decay_factor: of ``"step"``.
        warmup_epochs: of ``"cosine"``; a part of an epoch will do.
        encoder_rate: factor of the learning rate for the encoder, ≥ 0.
        freeze_encoder: number of epochs, from the first, in which the encoder is not trained; with
            at least `epochs`, it never is.
        accumulate: number of batches whose mean gradient makes one step, ≥ 1.
        clip_norm: longest gradient, over all weights together, or None.
        ema: momentum, between 0 and 1, of a moving average of the weights over the batches, which
            then is what is validated and kept; or None.
        early_stopping: stop after this many epochs without a better validation loss, or None.
            Epochs with a frozen encoder do not count, unless all are.
        kl, cc, sim: weights of the loss.
    """

    model: str = "vggrga"
    model_args: dict = field(default_factory=dict)
    backbone_weights: str | None = "imagenet"
    input_size: tuple[int, int] = (256, 256)
    fit: str = "stretch"
    augment: bool = False
    epochs: int = 10
    batch_size: int = 8
    learning_rate: float = 1e-4
    schedule: str = "step"
    decay_every: int = 3
    decay_factor: float = 0.1
    warmup_epochs: float = 1.0
    encoder_rate: float = 1.0
    freeze_encoder: int = 0
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float | None = None
    early_stopping: int | None = None
    kl: float = 10.0
    cc: float = -1.0
    sim: float = -1.0

    def __post_init__(self):
        for name, least in (
            ("epochs", 1),
            ("batch_size", 1),
            ("decay_every", 1),
            ("warmup_epochs", 0),
            ("freeze_encoder", 0),
            ("accumulate", 1),
            ("early_stopping", 1),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} must be at least {least}, not {value}.")
        for name in ("learning_rate", "decay_factor", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must be between 0 and 1, not {self.ema}.")
        if not 0 <= self.encoder_rate < math.inf:
            raise ValueError(
                f"encoder_rate must be finite and at least 0, not {self.encoder_rate}."
            )
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}."
            )

    def replace(self, **changes):
        """A copy with some fields changed; `model_args` are merged, unless the model is another."""
        kept = self.model_args if changes.get("model", self.model) == self.model else {}
        changes["model_args"] = {**kept, **changes.get("model_args", {})}
        return dataclasses.replace(self, **changes)


# Cao & Jo, 2021, Section 4.1; the factor of the decay is ours, the paper gives none.
VGGRGA = Recipe(model="vggrga", model_args={"num_rga": 3})

# Thomas, 2016: the frame, and one image at a time. The report's SGD with a rate of 1e-6 and its end
# after 2.5 hours have no place here, nor has its loss, `losses.CrossEntropy`.
OPENSALICON = Recipe(model="opensalicon", input_size=(1200, 1600), batch_size=1)

# Zhao & Wu, 2019: the frame, its padding, the augmentation and the batch. The paper's two phases of
# SGD with `losses.EdgeHoldLoss` have no place here.
PFA = Recipe(model="pfa", fit="pad", augment=True, batch_size=22)

# Sun, Li & Guan, 2018: our source says nothing of their training, and so this is VGGRGA's.
SARN = Recipe(model="sarn")

# Cao, Tang & Jo, 2020: the loss is theirs, and the encoder stays as it is, however long a run. Our
# source does not tell the rest, which is VGGRGA's.
VGGSSM = Recipe(model="vggssm", freeze_encoder=1000)

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

# By model; "popout" is for the embedded displays.
RECIPES = {
    "opensalicon": OPENSALICON,
    "pfa": PFA,
    "popout": POPOUT,
    "sarn": SARN,
    "vggrga": VGGRGA,
    "vggssm": VGGSSM,
}


def recipe_for(model, data):
    """The recipe of a model on a dataset, as the command line takes it.

    Args:
        model: name in `keras_salnet.models.names()`.
        data: ``"popout"``, the embedded displays, on which every model is small; anything else.

    Returns:
        `Recipe`.

    Example:
        >>> recipe_for("pfa", "popout").model_args
        {'filters': 8}
    """
    if data != "popout":
        return RECIPES[model]
    popout = RECIPES["popout"]
    if model == popout.model:
        return popout
    return popout.replace(model=model, model_args={"filters": popout.model_args["filters"]})
