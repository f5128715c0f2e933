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
        freeze_encoder: number of epochs, from the first, in which the encoder is not trained.
        accumulate: number of batches whose mean gradient makes one step, ≥ 1.
        clip_norm: longest gradient, over all weights together, or None.
        ema: momentum, between 0 and 1, of a moving average of the weights over the batches, which
            then is what is validated and kept; or None.
        early_stopping: stop after this many epochs without a better validation loss, or None.
            Epochs with a frozen encoder do not count.
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
        """A copy with some fields changed; `model_args` are merged."""
        if "model_args" in changes:
            changes["model_args"] = {**self.model_args, **changes["model_args"]}
        return dataclasses.replace(self, **changes)


# Cao & Jo, 2021, Section 4.1; the factor of the decay is ours, the paper gives none.
VGGRGA = Recipe(model="vggrga", model_args={"num_rga": 3})

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
RECIPES = {"vggrga": VGGRGA, "popout": POPOUT}
