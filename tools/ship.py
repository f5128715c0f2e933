"""Put a trained run into the package: `python tools/ship.py fast runs/fast`."""

import argparse
from pathlib import Path

import numpy as np

from keras_salnet import load_model
from keras_salnet.data import load_dataset
from keras_salnet.files import atomic
from keras_salnet.formats.tflite import export_tflite, representative_images
from keras_salnet.models import mirrored, presets
from keras_salnet.runs import Run

# Half a step of 8 bits, and a little for its own rounding, as a part of a kernel's largest value.
_ROUNDING = 0.51 / 127


def main():
    """Write the files of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=presets.SHIPPED)
    parser.add_argument("run", type=Path, help="folder of its run")
    parser.add_argument("--quantize", choices=["fp16", "dynamic", "int8"], default="dynamic")
    arguments = parser.parse_args()
    net = load_model(arguments.run)
    images = None
    if arguments.quantize == "int8":
        images = representative_images(
            load_dataset(Run(arguments.run).config["data"]), net.input_shape[1:3]
        )
    ship(net, arguments.name, arguments.quantize, images)


def ship(net, name, quantize, images=None):
    """Write a model's LiteRT file and, beside it, the weights that this does not hold as they are.

    Args:
        net: the trained `keras.Model`.
        name: in `presets.SHIPPED`.
        quantize, images: of `export_tflite`.
    """
    file = presets.litert_file(name)
    seeing = mirrored(net) if name in presets.MIRRORED else net
    export_tflite(seeing, file, quantize, images, name=name)
    kernels = presets.kernels(file)
    stored = {}
    for weight in net.weights:
        value = np.asarray(weight)
        held = next((key for key, kernel in kernels.items() if _is_rounded(kernel, value)), None)
        # Vectors are few, and variances may be too large for 16 bits.
        alone = value.astype(np.float16 if value.ndim > 1 else np.float32)
        stored[weight.path] = alone if held is None else np.array(held)
    with atomic(file.with_suffix(".npz")) as draft:
        np.savez_compressed(draft, **stored)


def _is_rounded(kernel, value):
    """Whether a kernel is these weights, as far as 8 bits an output channel can tell."""
    if kernel.shape != value.shape:
        return False
    return (np.abs(kernel - value) <= _ROUNDING * np.abs(value).max(axis=(0, 1, 2))).all()


if __name__ == "__main__":
    main()
