"""RGA-SC in the direct form of its paper, on the weights of `keras_salnet.layers.RGA`."""

import keras
from keras import ops

from keras_salnet.layers import ChannelRGA, SpatialRGA


class _DirectForm:
    """Builds the affinity of all nodes, stacks its rows and columns and embeds them."""

    def _describe(self, nodes, size):
        feature = ops.mean(self.g(nodes), axis=-1, keepdims=True)
        theta, phi = self.theta(nodes), self.phi(nodes)  # (B, N, D)
        affinity = ops.matmul(theta, ops.transpose(phi, (0, 2, 1)))  # (B, N, N)
        both = ops.concatenate([affinity, ops.transpose(affinity, (0, 2, 1))], axis=-1)
        related = ops.matmul(both, self.relation_kernel)  # (B, N, 2N) → (B, N, M)
        return ops.concatenate([feature, ops.relu(self.relation_bn(related))], axis=-1)


class DirectSpatialRGA(_DirectForm, SpatialRGA):
    pass


class DirectChannelRGA(_DirectForm, ChannelRGA):
    pass


def DirectRGA():
    return keras.Sequential([DirectSpatialRGA(name="spatial"), DirectChannelRGA(name="channel")])
