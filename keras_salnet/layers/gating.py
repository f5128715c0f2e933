"""Layers that gate: the output is the input times an attention in [0, 1]."""

from keras import layers

ORDERS = ("s", "c", "sc", "cs", "parallel")


class Gate(layers.Layer):
    """A layer of one attention, which its subclass computes: (B, H, W, C) → the same shape."""

    def call(self, inputs):
        return inputs * self.attention(inputs)

    def attention(self, inputs):
        """The attention in [0, 1], of a shape that broadcasts to (B, H, W, C)."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        return input_shape


class SpatialChannelGate(Gate):
    """A spatial and a channel gate, one alone, one after the other or side by side.

    Args:
        order: ``"s"`` or ``"c"`` alone, ``"sc"`` or ``"cs"`` one after the other, ``"parallel"``:
            (x·a_s + x·a_c) / 2.
        spatial, channel: (class, arguments) of either gate.

    Raises:
        ValueError: an unknown order.
    """

    def __init__(self, order, spatial, channel, **kwargs):
        super().__init__(**kwargs)
        if order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}.")
        self.order = order
        self.spatial = None if order == "c" else self._gate("spatial", *spatial)
        self.channel = None if order == "s" else self._gate("channel", *channel)

    def get_config(self):
        return {**super().get_config(), "order": self.order}

    def build(self, input_shape):
        for gate in (self.spatial, self.channel):
            if gate is not None:
                gate.build(input_shape)

    def parts(self):
        """The gates, in their order."""
        order = "sc" if self.order == "parallel" else self.order
        return [self.spatial if letter == "s" else self.channel for letter in order]

    def call(self, inputs):
        if self.order == "parallel":
            return (self.spatial(inputs) + self.channel(inputs)) / 2
        for gate in self.parts():
            inputs = gate(inputs)
        return inputs

    def attention(self, inputs):
        """The attention in [0, 1] of both gates together, which broadcasts to (B, H, W, C)."""
        if self.order == "parallel":
            return (self.spatial.attention(inputs) + self.channel.attention(inputs)) / 2
        together = 1
        for gate in self.parts():
            attention = gate.attention(inputs)
            inputs, together = inputs * attention, together * attention
        return together

    def _gate(self, name, gate, arguments):
        return gate(**arguments, dtype=self.dtype_policy, name=name)
