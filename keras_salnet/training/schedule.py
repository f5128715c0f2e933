"""The learning rate over a run."""

import math

from keras.optimizers import schedules


def learning_rate_schedule(recipe, steps):
    """The learning rate of a recipe.

    Args:
        recipe: `Recipe`.
        steps: number of steps in an epoch.

    Returns:
        A number, or one of Keras's schedules over all steps of the run.
    """
    rate, total = recipe.learning_rate, recipe.epochs * steps
    if recipe.schedule == "cosine":
        warmup = min(round(recipe.warmup_epochs * steps), total - 1)
        return schedules.CosineDecay(
            0.0 if warmup else rate,
            total - warmup,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    if recipe.decay_steps:
        every = recipe.decay_steps
    elif recipe.decay_every < 1:
        every = math.ceil(recipe.decay_every * recipe.epochs) * steps
    else:
        every = round(recipe.decay_every * steps)
    if every >= total:
        return rate
    return schedules.ExponentialDecay(rate, every, recipe.decay_factor, staircase=True)


def starting_at(schedule, step):
    """The same learning rate for an optimizer whose first step is a later one of the run.

    Args:
        schedule: what `learning_rate_schedule` returns.
        step: int ≥ 0.
    """
    is_constant = not isinstance(schedule, schedules.LearningRateSchedule)
    return schedule if is_constant else _StartingAt(schedule, step)


class _StartingAt(schedules.LearningRateSchedule):
    def __init__(self, schedule, step):
        self.schedule = schedule
        self.step = step

    def __call__(self, step):
        return self.schedule(step + self.step)
