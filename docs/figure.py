"""Draw a model's predictions on held-out images beside the ground truth, as one picture.

    python docs/figure.py RUN [--data DATA] [--count 4] [--columns 4] --out docs/popout.jpg

Columns are images, spread evenly over the held-out split by their CC, from worst to best; rows are
the image, where people looked, and the prediction over the image, and begin anew after so many
columns.
"""

import argparse

import numpy as np

from keras_salnet.data import load_dataset
from keras_salnet.data.geometry import resize
from keras_salnet.metrics import correlation_coefficient
from keras_salnet.predictor import Predictor
from keras_salnet.visualize import overlay, write_picture

HEIGHT = 192  # pixels of a picture in the figure
GAP = 6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--data")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()

    predictor = Predictor.load(arguments.run)
    dataset = load_dataset(arguments.data or predictor.config.get("data"))
    scored = []
    for sample in dataset[dataset.held_out]:
        image, saliency = sample.read_image(), predictor(sample.image)
        density = sample.read_density(saliency.shape)
        scored.append(
            (correlation_coefficient(saliency, density), sample.name, image, density, saliency)
        )
    scored.sort(key=lambda entry: entry[:2])
    places = np.linspace(0, len(scored) - 1, arguments.count).round().astype(int)

    strips = []
    for cc, name, image, density, saliency in (scored[place] for place in places):
        print(f"{name}: CC {cc:.3f}")
        pictures = (image, overlay(image, density), overlay(image, saliency))
        width = round(HEIGHT * image.shape[1] / image.shape[0])
        strip = np.concatenate([_with_gap(resize(p, (HEIGHT, width))) for p in pictures])
        strips.append(np.pad(strip, ((0, GAP), (0, 0), (0, 0)), constant_values=255))
    lines = [
        np.concatenate(strips[start : start + arguments.columns], axis=1)
        for start in range(0, len(strips), arguments.columns)
    ]
    widest = max(line.shape[1] for line in lines)
    lines = [
        np.pad(line, ((0, 0), (0, widest - line.shape[1]), (0, 0)), constant_values=255)
        for line in lines
    ]
    figure = np.concatenate(lines)[: -2 * GAP, :-GAP]
    write_picture(arguments.out, figure.round().astype(np.uint8))


def _with_gap(picture):
    return np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
