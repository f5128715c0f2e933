"""Draw models' predictions on held-out images next to the ground truth, as one picture.

    python tools/figure.py MODEL ... [--data DATA ...] [--rank spread] [--count 4] --out FILE

Columns are images; rows are the image, the ground truth and each model's map, drawn over the image.
They wrap after --columns. Images are ranked by the models' mean CC and taken from the worst, the
median or the best, or spread evenly from worst to best.
"""

import argparse

import numpy as np

from keras_salnet.data import load_dataset
from keras_salnet.images.files import write_picture
from keras_salnet.images.geometry import resample
from keras_salnet.images.visualize import overlay
from keras_salnet.metrics import correlation_coefficient
from keras_salnet.prediction.predictor import Predictor

HEIGHT = 192  # pixels of a picture in the figure
GAP = 6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--data", action="append")
    parser.add_argument("--rank", choices=["worst", "median", "best", "spread"], default="spread")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()

    predictors = [Predictor.load(model) for model in arguments.models]
    dataset = load_dataset(arguments.data or predictors[0].config.get("data"))
    ranked = []
    for sample in dataset[dataset.held_out]:
        maps = [predictor(sample.image) for predictor in predictors]
        density = sample.read_density(maps[0].shape)
        scores = [correlation_coefficient(saliency, density) for saliency in maps]
        ranked.append((float(np.mean(scores)), sample.name, scores, sample, density))
    ranked.sort(key=lambda entry: entry[:2])

    strips = []
    for place in places(arguments.rank, arguments.count, len(ranked)):
        _, name, scores, sample, density = ranked[place]
        print(f"{place + 1}. {name}: CC {', '.join(f'{score:.3f}' for score in scores)}")
        image = sample.read_image()
        maps = [density, *(predictor(image) for predictor in predictors)]
        pictures = (image, *(overlay(image, shown) for shown in maps))
        width = round(HEIGHT * image.shape[1] / image.shape[0])
        strip = np.concatenate([_with_gap(resample(p, (HEIGHT, width))) for p in pictures])
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


def places(rank, count, images):
    """Which of the ranked images are drawn, the worst first.

    Example:
        >>> places("median", 3, 9), places("spread", 3, 9), places("best", 2, 9)
        ([3, 4, 5], [0, 4, 8], [7, 8])
    """
    count = min(count, images)
    if rank == "spread":
        return [round(place) for place in np.linspace(0, images - 1, count)]
    first = {"worst": 0, "median": (images - count) // 2, "best": images - count}[rank]
    return list(range(first, first + count))


def _with_gap(picture):
    return np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
