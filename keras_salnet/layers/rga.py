"""Relation-aware global attention (RGA).

Zhang et al., "Relation-Aware Global Attention for Person Re-Identification", CVPR 2020.

Every node is told how it relates to all others: the paper stacks its row and its column of the
affinity matrix G = Θ Φᵀ (N x N) and embeds them by a 1x1 convolution W = [W_in; W_out]. That
embedding is linear in G and G is a product, so

    [G, Gᵀ] W = Θ (Φᵀ W_in) + Φ (Θᵀ W_out)

is the same result without any N x N matrix: with M = N / ratio columns in W, it keeps N·M + N·D
numbers an image instead of 3·N².
"""

import keras
from keras import layers, ops

_ORDERS = ("s", "c", "sc", "cs", "parallel")


class _Embedding(layers.Layer):
    """1x1 convolution without bias, batch normalization and (but for the last) ReLU."""

    def __init__(self, width, relu=True, **kwargs):
        super().__init__(**kwargs)
        self.relu = relu
        self.conv = layers.Dense(width, use_bias=False, dtype=self.dtype_policy, name="conv")
        self.bn = _batch_norm("bn", self.dtype_policy)

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.bn.build((*input_shape[:-1], self.conv.units))

    def call(self, nodes):
        nodes = self.bn(self.conv(nodes))
        return ops.relu(nodes) if self.relu else nodes


def _batch_norm(name, dtype):
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, dtype=dtype, name=name)


class _NodeAttention(layers.Layer):
    """What RGA-S and RGA-C share: from nodes (B, N, D) to one attention logit each (B, N, 1)."""

    def __init__(self, ratio=8, reduction=8, use_relation=True, use_feature=True, **kwargs):
        super().__init__(**kwargs)
        _check_arguments(ratio, reduction, use_relation, use_feature)
        self.ratio = ratio
        self.reduction = reduction
        self.use_relation = use_relation
        self.use_feature = use_feature

    def get_config(self):
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "reduction": self.reduction,
            "use_relation": self.use_relation,
            "use_feature": self.use_feature,
        }

    def build(self, input_shape):
        _check_known_shape(type(self).__name__, input_shape)
        nodes, features = self._node_shape(input_shape)
        self._check_widths(nodes, features)
        embedded = features // self.ratio
        related = nodes // self.ratio if self.use_relation else 0
        attended = related + self.use_feature
        hidden = max(1, attended // self.reduction)

        def embedding(name, width, inputs, relu=True):
            layer = _Embedding(width, relu, dtype=self.dtype_policy, name=name)
            layer.build((None, nodes, inputs))
            return layer

        if self.use_relation:
            self.theta = embedding("theta", embedded, features)
            self.phi = embedding("phi", embedded, features)
            # Rows 0…N−1 embed G[p, :], rows N…2N−1 embed G[:, p].
            self.relation_kernel = self.add_weight(
                name="relation_kernel", shape=(2 * nodes, related)
            )
            self.relation_bn = _batch_norm("relation_bn", self.dtype_policy)
            self.relation_bn.build((None, nodes, related))
        if self.use_feature:
            self.g = embedding("g", embedded, features)
        self.w = embedding("w", hidden, attended)
        self.w2 = embedding("w2", 1, hidden, relu=False)

    def call(self, inputs):
        return inputs * self.attention(inputs)

    def attention(self, inputs):
        """The attention in [0, 1]: (B, H, W, 1) of RGA-S, (B, 1, 1, C) of RGA-C."""
        nodes = self._to_nodes(inputs)  # (B, N, D)
        logits = self.w2(self.w(self._describe(nodes)))  # (B, N, 1)
        return ops.sigmoid(self._from_nodes(logits, inputs))

    def compute_output_shape(self, input_shape):
        return input_shape

    def _describe(self, nodes):
        """The relation-aware feature of each node, Eq. 2: (B, N, D) → (B, N, [1] + [N/ratio])."""
        parts = []
        if self.use_feature:
            parts.append(ops.mean(self.g(nodes), axis=-1, keepdims=True))
        if self.use_relation:
            theta, phi = self.theta(nodes), self.phi(nodes)  # (B, N, D/ratio)
            kernel_in, kernel_out = ops.split(self.relation_kernel, 2, axis=0)
            related = _project(theta, phi, kernel_in) + _project(phi, theta, kernel_out)
            parts.append(ops.relu(self.relation_bn(related)))
        return ops.concatenate(parts, axis=-1)

    def _check_widths(self, nodes, features):
        if features < self.ratio:
            raise ValueError(
                f"{type(self).__name__}: {features} features a node, divided by "
                f"ratio={self.ratio}, leave nothing to embed; at least {self.ratio} are needed, or "
                "a smaller ratio."
            )
        needed = self.ratio * max(1, self.reduction - self.use_feature)
        if self.use_relation and nodes < needed:
            raise ValueError(
                f"{type(self).__name__}: {nodes} {self._node_name} are too few nodes to relate "
                f"with ratio={self.ratio} and reduction={self.reduction}; at least {needed} are "
                "needed, or a smaller ratio or reduction."
            )


def _project(left, right, kernel):
    """(left rightᵀ) kernel without the N x N product: (B, N, D), (B, N, D), (N, M) → (B, N, M)."""
    return ops.matmul(left, ops.matmul(ops.transpose(right, (0, 2, 1)), kernel))


def _check_arguments(ratio, reduction, use_relation, use_feature):
    for name, value in (("ratio", ratio), ("reduction", reduction)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, not {value!r}.")
    if not (use_relation or use_feature):
        raise ValueError(
            "use_relation and use_feature are both False, so nothing is left to attend by; "
            "set at least one of them."
        )


def _check_known_shape(name, shape):
    if len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            f"{name}: RGA needs inputs (B, H, W, C) of known height, width and channels, because "
            f"its weights have one row a node; it got {tuple(shape)}. Give the model a fixed "
            "input_shape."
        )


@keras.saving.register_keras_serializable(package="keras_salnet")
class SpatialRGA(_NodeAttention):
    """Spatial relation-aware global attention, RGA-S (Zhang et al., CVPR 2020, Section 3.2).

    Each of the N = H·W pixels is a node of C features; the learnt gate is one map over the frame.

    Args:
        ratio: s1, divides the widths of the embeddings. Int ≥ 1.
        reduction: s2, divides the width of the hidden attention convolution. Int ≥ 1.
        use_relation: attend by the relations to all other nodes.
        use_feature: attend by the node's own feature.

    Call:
        (B, H, W, C), floating → the same shape and dtype, times a map in [0, 1].

    Raises:
        ValueError: unknown H, W or C; fewer than ``ratio`` channels; fewer pixels than
            ``ratio * (reduction - 1)`` (``ratio * reduction`` without the feature); both
            ``use_relation`` and ``use_feature`` false.

    Example:
        >>> import numpy as np
        >>> tuple(SpatialRGA()(np.ones((2, 8, 8, 64), "float32")).shape)
        (2, 8, 8, 64)
    """

    _node_name = "pixels"

    def _node_shape(self, input_shape):
        _, height, width, channels = input_shape
        return height * width, channels

    def _to_nodes(self, inputs):
        _, height, width, channels = inputs.shape
        return ops.reshape(inputs, (-1, height * width, channels))  # (B, HW, C)

    def _from_nodes(self, logits, inputs):
        return ops.reshape(logits, (-1, *inputs.shape[1:3], 1))  # (B, H, W, 1)


@keras.saving.register_keras_serializable(package="keras_salnet")
class ChannelRGA(_NodeAttention):
    """Channel relation-aware global attention, RGA-C (Zhang et al., CVPR 2020, Section 3.3).

    Each of the C channels is a node of H·W features; the learnt gate is one value a channel.

    Args:
        ratio: s1, divides the widths of the embeddings. Int ≥ 1.
        reduction: s2, divides the width of the hidden attention convolution. Int ≥ 1.
        use_relation: attend by the relations to all other nodes.
        use_feature: attend by the node's own feature.

    Call:
        (B, H, W, C), floating → the same shape and dtype, times a vector in [0, 1].

    Raises:
        ValueError: unknown H, W or C; fewer than ``ratio`` pixels; fewer channels than
            ``ratio * (reduction - 1)`` (``ratio * reduction`` without the feature); both
            ``use_relation`` and ``use_feature`` false.

    Example:
        >>> import numpy as np
        >>> tuple(ChannelRGA()(np.ones((2, 8, 8, 64), "float32")).shape)
        (2, 8, 8, 64)
    """

    _node_name = "channels"

    def _node_shape(self, input_shape):
        _, height, width, channels = input_shape
        return channels, height * width

    def _to_nodes(self, inputs):
        _, height, width, channels = inputs.shape
        pixels = ops.reshape(inputs, (-1, height * width, channels))
        return ops.transpose(pixels, (0, 2, 1))  # (B, C, HW)

    def _from_nodes(self, logits, inputs):
        return ops.reshape(logits, (-1, 1, 1, inputs.shape[-1]))  # (B, 1, 1, C)


@keras.saving.register_keras_serializable(package="keras_salnet")
class RGA(layers.Layer):
    """Spatial and channel RGA together (Zhang et al., CVPR 2020, Section 3.4).

    Args:
        order: ``"s"`` or ``"c"`` alone, ``"sc"`` (the paper's choice) or ``"cs"`` one after the
            other, ``"parallel"``: (x·a_s + x·a_c) / 2, our choice where the paper leaves the
            fusion open.
        ratio, reduction, use_relation, use_feature: as in `SpatialRGA` and `ChannelRGA`.

    Call:
        (B, H, W, C), floating → the same shape and dtype.

    Raises:
        ValueError: an unknown order, and whatever the two branches refuse.

    Example:
        >>> layer = RGA("sc")
        >>> layer.build((None, 16, 16, 512))
        >>> sum(weight.numpy().size for weight in layer.trainable_weights)
        206260
    """

    def __init__(
        self, order="sc", ratio=8, reduction=8, use_relation=True, use_feature=True, **kwargs
    ):
        super().__init__(**kwargs)
        if order not in _ORDERS:
            raise ValueError(f"order must be one of {', '.join(_ORDERS)}, not {order!r}.")
        self.order = order
        self.ratio = ratio
        self.reduction = reduction
        self.use_relation = use_relation
        self.use_feature = use_feature
        arguments = {
            "ratio": ratio,
            "reduction": reduction,
            "use_relation": use_relation,
            "use_feature": use_feature,
            "dtype": self.dtype_policy,
        }
        self.spatial = None if order == "c" else SpatialRGA(**arguments, name="spatial")
        self.channel = None if order == "s" else ChannelRGA(**arguments, name="channel")

    def get_config(self):
        return {
            **super().get_config(),
            "order": self.order,
            "ratio": self.ratio,
            "reduction": self.reduction,
            "use_relation": self.use_relation,
            "use_feature": self.use_feature,
        }

    def build(self, input_shape):
        for branch in (self.spatial, self.channel):
            if branch is not None:
                branch.build(input_shape)

    def call(self, inputs):
        if self.order == "parallel":
            return (self.spatial(inputs) + self.channel(inputs)) / 2
        for letter in self.order:
            inputs = self.spatial(inputs) if letter == "s" else self.channel(inputs)
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape
