"""Put a trained run into the package: `python tools/ship.py fast runs/fast`."""

import argparse
from pathlib import Path

from keras_salnet import load_model
from keras_salnet.data import load_dataset
from keras_salnet.formats.tflite import export_tflite, representative_images
from keras_salnet.models import mirrored, presets
from keras_salnet.runs import Run


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
    """Write a model's LiteRT file and weights.

    Args:
        net: the trained `keras.Model`, built as `presets.preset` says.
        name: in `presets.SHIPPED`.
        quantize, images: as for `export_tflite`.
    """
    seen = mirrored(net) if presets.preset(name)["mirrored"] else net
    export_tflite(seen, presets.litert_file(name), quantize, images, name=name)
    presets.store(net, name)


if __name__ == "__main__":
    main()
