"""Draw a model's predictions on held-out images beside the ground truth, as one picture.

    python docs/figure.py RUN [--data FOLDER] [--count 4] --out docs/popout.jpg

Columns are images, spread evenly over the held-out split by their CC, from worst to best; rows are
the image, where people looked, and the prediction over the image.
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

    columns = []
    for cc, name, image, density, saliency in (scored[place] for place in places):
        print(f"{name}: CC {cc:.3f}")
        rows = (image, overlay(image, density), overlay(image, saliency))
        width = round(HEIGHT * image.shape[1] / image.shape[0])
        rows = [
            np.pad(resize(row, (HEIGHT, width)), ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
            for row in rows
        ]
        columns.append(np.concatenate(rows)[:-GAP])
    write_picture(arguments.out, np.concatenate(columns, axis=1)[:, :-GAP].round().astype(np.uint8))


if __name__ == "__main__":
    main()
