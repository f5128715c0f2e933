"""The optimizer of a recipe, and optimizers with a second learning rate."""

import keras


def build_optimizer(recipe, rate, encoder):
    """The optimizer of a recipe.

    Args:
        recipe: `Recipe`.
        rate: learning rate, a number or a schedule.
        encoder: layers whose learning rate is multiplied by the recipe's `encoder_rate`.

    Returns:
        `keras.optimizers.Optimizer`.
    """
    options = {
        "weight_decay": recipe.weight_decay or None,
        "global_clipnorm": recipe.clip_norm,
        "gradient_accumulation_steps": recipe.accumulate if recipe.accumulate > 1 else None,
        "use_ema": recipe.ema is not None,
        "ema_momentum": recipe.ema,
    }
    plain, scaled = keras.optimizers.Adam, ScaledAdam
    if recipe.optimizer == "sgd":
        plain, scaled = keras.optimizers.SGD, ScaledSGD
        options["momentum"] = 0.9
    if recipe.encoder_rate == 1:
        return plain(rate, **options)
    weights = [weight for layer in encoder for weight in layer.weights]
    return scaled(rate, weights, recipe.encoder_rate, **options)


class _Scaled:
    def __init__(self, learning_rate, variables, factor, **options):
        super().__init__(learning_rate, **options)
        self._scaled = {id(variable) for variable in variables}
        self.factor = factor

    def build(self, variables):
        super().build(variables)
        self._factors = [self.factor if id(v) in self._scaled else 1.0 for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        factor = self._factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def _apply_weight_decay(self, variables):
        """Scale it, too: Keras applies it to all variables, outside `update_step`."""
        if self.weight_decay is None:
            return
        scaled = [variable for variable in variables if id(variable) in self._scaled]
        super()._apply_weight_decay([v for v in variables if id(v) not in self._scaled])
        whole = self.weight_decay
        self.weight_decay = whole * self.factor
        super()._apply_weight_decay(scaled)
        self.weight_decay = whole


class ScaledAdam(_Scaled, keras.optimizers.Adam):
    """Adam whose learning rate is multiplied by a factor for some of the variables.

    `keras.optimizers.MultiOptimizer` clips the gradients of each of its optimizers separately, and
    `keras.callbacks.SwapEMAWeights` does not support it. Scaling the gradients instead would have
    no effect, since Adam divides by their size.

    Args:
        learning_rate: number or schedule.
        variables: those whose learning rate is scaled.
        factor: number ≥ 0.
        **options: as for `keras.optimizers.Adam`.

    Example:
        >>> a, b = (keras.Variable([1.0]) for _ in range(2))
        >>> ScaledAdam(0.1, [b], factor=0.5).apply([keras.ops.ones(1)] * 2, [a, b])
        >>> [round(1 - float(v.numpy()[0]), 3) for v in (a, b)]
        [0.1, 0.05]
    """


class ScaledSGD(_Scaled, keras.optimizers.SGD):
    """SGD with a factor, like `ScaledAdam`; options as for `keras.optimizers.SGD`."""
