"""Every model learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from harness.cases import (
    each_converted_model,
    norms_of,
)

from keras_salnet import losses, metrics


@each_converted_model
def test_overfits_two_images(case):
    """Each its own blob, which its colours show; plain TensorFlow, for XLA compiles longer."""
    rows, columns = np.indices(case.shape[:2]) / np.reshape(case.shape[:2], (2, 1, 1))
    blobs = [np.exp(-8 * ((rows - at) ** 2 + (columns - at) ** 2)) for at in (0.3, 0.7)]
    density = np.stack(blobs)[..., None].astype("float32")
    images = 0.5 * case.inputs(2) + 127.5 * np.concatenate([density, 1 - density, density], -1)

    keras.utils.set_random_seed(0)
    net = case.build()
    for norm in norms_of(net):
        norm.momentum = 0.9  # MobileNetV2's averages would take thousands of steps to follow
    optimizer, loss = keras.optimizers.Adam(3e-4), losses.SaliencyLoss()
    optimizer.build(net.trainable_weights)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            objective = loss(density, net(images, training=True))
        weights = [weight.value for weight in net.trainable_weights]
        optimizer.apply(tape.gradient(objective, weights))

    for _ in range(20):
        for _ in range(10):
            step()
        maps = net(images, training=False).numpy()
        reached = [
            metrics.correlation_coefficient(ours[..., 0], wanted[..., 0])
            for ours, wanted in zip(maps, density, strict=True)
        ]
        if min(reached) > 0.95:
            return
    pytest.fail(f"after 200 steps, CC is {reached}")
