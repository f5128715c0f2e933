"""Keras's optimizers with another learning rate for some of the variables."""

import keras


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
        """Keras takes it, times the learning rate, from all of them outside `update_step`."""
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

    Scaling their gradients instead would do nothing: Adam divides it out.

    Args:
        learning_rate: number or schedule.
        variables: those whose learning rate is scaled.
        factor: number ≥ 0.
        **options: as of `keras.optimizers.Adam`.

    Example:
        >>> a, b = (keras.Variable([1.0]) for _ in range(2))
        >>> ScaledAdam(0.1, [b], factor=0.5).apply([keras.ops.ones(1)] * 2, [a, b])
        >>> [round(1 - float(v.numpy()[0]), 3) for v in (a, b)]
        [0.1, 0.05]
    """


class ScaledSGD(_Scaled, keras.optimizers.SGD):
    """SGD likewise; arguments as of `ScaledAdam`, options as of `keras.optimizers.SGD`."""
