"""Relation-aware global attention (RGA).

Zhang et al., "Relation-Aware Global Attention for Person Re-Identification", CVPR 2020.

Every node learns how it relates to all others: the paper stacks its row and its column of the
affinity matrix G = Θ Φᵀ (N x N) and embeds them by a 1x1 convolution W = [W_in; W_out]. That
embedding is linear in G and G is a product, so

    [G, Gᵀ] W = Θ (Φᵀ W_in) + Φ (Θᵀ W_out)

is the same result without any N x N matrix: with M = N / ratio columns in W, it keeps N·M + N·D
numbers an image instead of 3·N².

With `max_nodes`, relations are to a fixed grid of nodes instead, each the mean of the pixels in its
cell, so that the weights depend on the grid and not on the frame. The paper suggests it for frames
of different sizes (Section 4.2), without details; ours are:

- RGA-S still attends to every pixel. Being linear in either node, a mean of relations is a relation
  to the mean embedding: Θ and Φ are pooled where they stand for the other node, W has two rows a
  cell.
- RGA-C compares the channels by their pooled maps.
- The grid is always the same, also on a frame of fewer pixels, so that weights fit any frame. On a
  frame that is of the grid's own size, it is the exact form.
"""

import math

import keras
from keras import layers, ops

from keras_salnet.layers.common import batch_norm, check_positive_integers
from keras_salnet.layers.gating import Gate, SpatialChannelGate
from keras_salnet.layers.pooling import pool_to_grid


class _Embedding(layers.Layer):
    """1x1 convolution without bias, batch normalization and (but for the last) ReLU."""

    def __init__(self, width, relu=True, **kwargs):
        super().__init__(**kwargs)
        self.relu = relu
        self.conv = layers.Dense(width, use_bias=False, dtype=self.dtype_policy, name="conv")
        self.bn = batch_norm("bn", self.dtype_policy)

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.bn.build((*input_shape[:-1], self.conv.units))

    def call(self, nodes):
        nodes = self.bn(self.conv(nodes))
        return ops.relu(nodes) if self.relu else nodes


class _NodeAttention(Gate):
    """Shared part of RGA-S and RGA-C: from nodes (B, N, D) to a logit each (B, N, 1)."""

    def __init__(
        self,
        ratio=8,
        reduction=8,
        use_relation=True,
        use_feature=True,
        max_nodes=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_arguments(ratio, reduction, use_relation, use_feature, max_nodes)
        self.ratio = ratio
        self.reduction = reduction
        self.use_relation = use_relation
        self.use_feature = use_feature
        self.max_nodes = max_nodes
        self._grid = max_nodes and math.isqrt(max_nodes)

    def get_config(self):
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "reduction": self.reduction,
            "use_relation": self.use_relation,
            "use_feature": self.use_feature,
            "max_nodes": self.max_nodes,
        }

    def build(self, input_shape):
        _check_known_shape(type(self).__name__, input_shape, self.max_nodes)
        _, height, width, channels = input_shape
        pixels = self._grid**2 if self._grid else height * width
        nodes, features = self._node_shape(pixels, channels)
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
            # Of the N nodes related to, rows 0…N−1 embed G[p, :], rows N…2N−1 embed G[:, p].
            self.relation_kernel = self.add_weight(
                name="relation_kernel", shape=(2 * nodes, related)
            )
            self.relation_bn = batch_norm("relation_bn", self.dtype_policy)
            self.relation_bn.build((None, nodes, related))
        if self.use_feature:
            self.g = embedding("g", embedded, features)
        self.w = embedding("w", hidden, attended)
        self.w2 = embedding("w2", 1, hidden, relu=False)

    def attention(self, inputs):
        """The attention in [0, 1]: (B, H, W, 1) of RGA-S, (B, 1, 1, C) of RGA-C."""
        size = ops.shape(inputs)[1:3]
        nodes = self._to_nodes(inputs, size)  # (B, N, D)
        logits = self.w2(self.w(self._describe(nodes, size)))  # (B, N, 1)
        return ops.sigmoid(self._from_nodes(logits, size))

    def _describe(self, nodes, size):
        """The relation-aware feature of each node, Eq. 2: (B, N, D) → (B, N, [1] + [N/ratio])."""
        parts = []
        if self.use_feature:
            parts.append(ops.mean(self.g(nodes), axis=-1, keepdims=True))
        if self.use_relation:
            theta, phi = self.theta(nodes), self.phi(nodes)  # (B, N, D/ratio)
            kernel_in, kernel_out = ops.split(self.relation_kernel, 2, axis=0)
            related = _project(theta, self._related_to(phi, size), kernel_in)
            related += _project(phi, self._related_to(theta, size), kernel_out)
            parts.append(ops.relu(self.relation_bn(related)))
        return ops.concatenate(parts, axis=-1)

    def _related_to(self, embedded, size):
        """The nodes that all others are related to, of the embedded ones."""
        return embedded

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


def _flatten(inputs, size):
    """The pixels in a row: (B, H, W, C) → (B, HW, C)."""
    height, width = size
    return ops.reshape(inputs, (-1, height * width, inputs.shape[-1]))


def _project(left, right, kernel):
    """(left rightᵀ) kernel without its N x K product: (B, N, D), (B, K, D), (K, M) → (B, N, M)."""
    return ops.matmul(left, ops.matmul(ops.transpose(right, (0, 2, 1)), kernel))


def _check_arguments(ratio, reduction, use_relation, use_feature, max_nodes):
    check_positive_integers(ratio=ratio, reduction=reduction)
    if max_nodes is not None:
        check_positive_integers(max_nodes=max_nodes)
    if not (use_relation or use_feature):
        raise ValueError(
            "use_relation and use_feature are both False, so nothing is left to attend by; "
            "set at least one of them."
        )


def _check_known_shape(name, shape, max_nodes):
    if len(shape) != 4 or shape[-1] is None or (None in shape[1:3] and max_nodes is None):
        raise ValueError(
            f"{name}: RGA needs inputs (B, H, W, C) of known height, width and channels, because "
            f"its weights have one row per node; it got {tuple(shape)}. Give the model a fixed "
            "input_shape, or max_nodes, with which height and width may vary."
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
        max_nodes: relate to the means over a square grid of at most so many cells instead of to all
            pixels. None, or int ≥ 1.

    Call:
        (B, H, W, C), floating → the same shape and dtype, times a map in [0, 1]. H and W may vary
        with `max_nodes`.

    Raises:
        ValueError: unknown C, or H or W without `max_nodes`; fewer than ``ratio`` channels; fewer
            pixels, or cells of the grid, than ``ratio * (reduction - 1)`` (``ratio * reduction``
            without the feature); both ``use_relation`` and ``use_feature`` false.

    Example:
        >>> import numpy as np
        >>> tuple(SpatialRGA()(np.ones((2, 8, 8, 64), "float32")).shape)
        (2, 8, 8, 64)
    """

    @property
    def _node_name(self):
        return "pixels" if self._grid is None else "cells of the grid"

    def _node_shape(self, pixels, channels):
        return pixels, channels

    def _to_nodes(self, inputs, size):
        return _flatten(inputs, size)  # (B, HW, C)

    def _related_to(self, embedded, size):
        if self._grid is None:
            return embedded
        maps = ops.reshape(embedded, (-1, *size, embedded.shape[-1]))
        return pool_to_grid(maps, self._grid)

    def _from_nodes(self, logits, size):
        return ops.reshape(logits, (-1, *size, 1))  # (B, H, W, 1)


@keras.saving.register_keras_serializable(package="keras_salnet")
class ChannelRGA(_NodeAttention):
    """Channel relation-aware global attention, RGA-C (Zhang et al., CVPR 2020, Section 3.3).

    Each of the C channels is a node of H·W features; the learnt gate is one value a channel.

    Args:
        ratio: s1, divides the widths of the embeddings. Int ≥ 1.
        reduction: s2, divides the width of the hidden attention convolution. Int ≥ 1.
        use_relation: attend by the relations to all other nodes.
        use_feature: attend by the node's own feature.
        max_nodes: compare the channels by their means over a square grid of at most so many cells
            instead of by all pixels. None, or int ≥ 1.

    Call:
        (B, H, W, C), floating → the same shape and dtype, times a vector in [0, 1]. H and W may
        vary with `max_nodes`.

    Raises:
        ValueError: unknown C, or H or W without `max_nodes`; fewer pixels, or cells of the grid,
            than ``ratio``; fewer channels than ``ratio * (reduction - 1)`` (``ratio * reduction``
            without the feature); both ``use_relation`` and ``use_feature`` false.

    Example:
        >>> import numpy as np
        >>> tuple(ChannelRGA()(np.ones((2, 8, 8, 64), "float32")).shape)
        (2, 8, 8, 64)
    """

    _node_name = "channels"

    def _node_shape(self, pixels, channels):
        return channels, pixels

    def _to_nodes(self, inputs, size):
        grid = self._grid
        pixels = _flatten(inputs, size) if grid is None else pool_to_grid(inputs, grid)
        return ops.transpose(pixels, (0, 2, 1))  # (B, C, HW)

    def _from_nodes(self, logits, size):
        return ops.reshape(logits, (-1, 1, 1, logits.shape[1]))  # (B, 1, 1, C)


@keras.saving.register_keras_serializable(package="keras_salnet")
class RGA(SpatialChannelGate):
    """Spatial and channel RGA together (Zhang et al., CVPR 2020, Section 3.4).

    Args:
        order: ``"s"`` or ``"c"`` alone, ``"sc"`` (the paper's choice) or ``"cs"`` one after the
            other, ``"parallel"``: (x·a_s + x·a_c) / 2, our choice where the paper leaves the
            fusion open.
        ratio, reduction, use_relation, use_feature, max_nodes: as in `SpatialRGA` and `ChannelRGA`.

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
        self,
        order="sc",
        ratio=8,
        reduction=8,
        use_relation=True,
        use_feature=True,
        max_nodes=None,
        **kwargs,
    ):
        arguments = {
            "ratio": ratio,
            "reduction": reduction,
            "use_relation": use_relation,
            "use_feature": use_feature,
            "max_nodes": max_nodes,
        }
        super().__init__(order, (SpatialRGA, arguments), (ChannelRGA, arguments), **kwargs)
        self.ratio = ratio
        self.reduction = reduction
        self.use_relation = use_relation
        self.use_feature = use_feature
        self.max_nodes = max_nodes

    def get_config(self):
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "reduction": self.reduction,
            "use_relation": self.use_relation,
            "use_feature": self.use_feature,
            "max_nodes": self.max_nodes,
        }
