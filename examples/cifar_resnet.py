"""ResNet for CIFAR-10 with attention after its three stages: the example of classification.md.

python examples/cifar_resnet.py --depth 20 --attention rga_sc
"""

import argparse

import keras
import numpy as np
from keras import layers, ops

from keras_salnet.layers import attention_names, create_attention


def build(depth=20, attention="rga_sc"):
    """ResNet of He et al. (CVPR 2016, Section 4.2): images (B, 32, 32, 3) → logits (B, 10).

    Args:
        depth: 6 n + 2 layers with weights, n ≥ 1.
        attention: one of `keras_salnet.layers.attention_names()`, put after each of the stages,
            which are (32, 32, 16), (16, 16, 32) and (8, 8, 64).
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth must be 8, 14, 20, …, not {depth}.")
    # RGA's default of 8 for both is too much for 16 channels.
    options = {"ratio": 4, "reduction": 4} if attention.startswith("rga") else {}

    images = keras.Input((32, 32, 3), name="image")
    x = layers.Rescaling(1 / 64, -2)(images)  # CIFAR's pixels are about 120 ± 64
    x = layers.ReLU()(_convolution(x, 16))
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(blocks):
            x = _block(x, filters, stride=2 if stage > 1 and block == 0 else 1)
        x = create_attention(attention, name=f"stage{stage}_{attention}", **options)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(10, name="logits")(x), name=f"resnet{depth}")


def _convolution(x, filters, stride=1):
    x = layers.Conv2D(filters, 3, stride, "same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def _block(x, filters, stride):
    y = layers.ReLU()(_convolution(x, filters, stride))
    y = _convolution(y, filters)
    if stride > 1:  # the shortcut has no weights: every second pixel, and zeros for new channels
        missing = filters - x.shape[-1]
        x = ops.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, missing)))
    return layers.ReLU()(layers.Add()([x, y]))


class Augmented(keras.utils.PyDataset):
    """Shuffled batches, each image mirrored by chance and moved by up to 4 pixels."""

    def __init__(self, images, labels, batch_size, seed=0):
        super().__init__()
        self.images = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
        self.labels = labels
        self.batch_size = batch_size
        self.random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, batch):
        rows = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return np.stack([self._crop(self.images[row]) for row in rows]), self.labels[rows]

    def _crop(self, image):
        top, left = self.random.integers(0, 9, 2)
        image = image[top : top + 32, left : left + 32].astype("float32")
        return image[:, ::-1] if self.random.random() < 0.5 else image

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.labels))


def main(arguments=None):
    """Train with the schedule of the paper and return the accuracy on the test images."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--depth", type=int, default=20, help="6 n + 2 (default: 20)")
    parser.add_argument("--attention", choices=attention_names(), default="rga_sc", metavar="NAME")
    parser.add_argument("--epochs", type=int, default=164, help="default: 164, 64,000 steps")
    parser.add_argument("--batch-size", type=int, default=128, help="default: 128")
    options = parser.parse_args(arguments)

    (images, labels), test = keras.datasets.cifar10.load_data()
    batches = Augmented(images, labels, options.batch_size)
    steps = options.epochs * len(batches)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [steps // 2, steps * 3 // 4], [0.1, 0.01, 0.001]
    )
    model = build(options.depth, options.attention)
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    print(f"{model.name} with {options.attention}: {model.count_params():,} parameters")
    model.fit(batches, epochs=options.epochs, validation_data=test, verbose=2)
    return model.evaluate(*test, verbose=0)[1]


if __name__ == "__main__":
    print(f"accuracy: {main():.4f}")
