"""Bring torchvision's MobileNetV2 into the layout of keras.applications, without its top.

    python tools/torchvision_mobilenetv2.py mobilenet_v2-b0353104.pth mobilenetv2.weights.h5

It needs PyTorch. The input's normalization is folded into the first layer, and the other epsilon of
PyTorch's batch normalization into its scales; convolutions of stride 2 see their input shifted by a
pixel, as Keras pads on the right and PyTorch on both sides.
"""

import argparse

import keras
import numpy as np
import torch

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
EPSILON = 1e-5  # of PyTorch's batch normalization


def convert(state):
    """The Keras model with the weights of a PyTorch state.

    Args:
        state: dict: name → numpy array.
    """
    net = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(224, 224, 3))

    def convolve(name, key):
        kernel = state[f"{key}.weight"]  # (out, in, h, w), of depthwise (channels, 1, h, w)
        depthwise = name.endswith("depthwise")
        net.get_layer(name).set_weights(
            [kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]
        )

    def normalize(name, key):
        names = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, variance = (state[f"{key}.{what}"] for what in names)
        layer = net.get_layer(name)
        gamma = gamma * np.sqrt((variance + layer.epsilon) / (variance + EPSILON))
        layer.set_weights([gamma, beta, mean, variance])

    convolve("Conv1", "features.0.0")
    normalize("bn_Conv1", "features.0.1")
    for block in range(17):
        ours = f"block_{block}_" if block else "expanded_conv_"
        theirs = f"features.{block + 1}.conv"
        parts = ["expand", "depthwise"] if block else ["depthwise"]
        for number, part in enumerate(parts):
            convolve(ours + part, f"{theirs}.{number}.0")
            normalize(f"{ours}{part}_BN", f"{theirs}.{number}.1")
        convolve(f"{ours}project", f"{theirs}.{len(parts)}")
        normalize(f"{ours}project_BN", f"{theirs}.{len(parts) + 1}")
    convolve("Conv_1", "features.18.0")
    normalize("Conv_1_bn", "features.18.1")

    # Keras's pixels k lie in −1…1; PyTorch's are (k / 2 + 0.5 − mean) / std.
    first, norm = net.get_layer("Conv1"), net.get_layer("bn_Conv1")
    (kernel,) = first.get_weights()
    gamma, beta, mean, variance = norm.get_weights()
    offset = (kernel * ((0.5 - MEAN) / STD)[:, None]).sum(axis=(0, 1, 2))
    first.set_weights([kernel / (2 * STD)[:, None]])
    norm.set_weights([gamma, beta, mean - offset, variance])
    return net


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("state", help="torchvision's file, a state dict")
    parser.add_argument("out", help="file to write, ending in .weights.h5")
    arguments = parser.parse_args()
    state = torch.load(arguments.state, map_location="cpu", weights_only=True)
    convert({name: value.numpy() for name, value in state.items()}).save_weights(arguments.out)


if __name__ == "__main__":
    main()
