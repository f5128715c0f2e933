"""The tables of a model's card: `python tools/scores.py scores.json`.

The file is what `keras-salnet evaluate MODEL --data … --json scores.json` writes.
"""

import argparse
import json
from pathlib import Path

from keras_salnet.evaluation.references import CENTRE_BIAS, HALVES, ONE_HUMAN
from keras_salnet.evaluation.table import number
from keras_salnet.metrics.table import METRICS


def main():
    """Print them as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path)
    for evaluation in json.loads(parser.parse_args().scores.read_text("utf-8"))["evaluations"]:
        (model,) = evaluation["models"]
        rows = (model, HALVES, ONE_HUMAN, CENTRE_BIAS)
        images = len(evaluation["images"])
        header = [f"{evaluation['dataset']}, {images} images", *rows, "normalised, %"]
        lines = [header, ["---"] * len(header)]
        for metric in METRICS:
            if metric not in evaluation["summary"][model]:
                continue
            means = (evaluation["summary"][row].get(metric) for row in rows)
            way = evaluation["fractions"][model].get(metric)
            lines.append(
                [
                    f"{metric} {METRICS[metric].arrow}",
                    *(_estimate(mean, mean["mean"]) if mean else "–" for mean in means),
                    _estimate(way, way["fraction"], 100, 0) if way else "–",
                ]
            )
        print("\n".join(f"| {' | '.join(line)} |" for line in lines), end="\n\n")


def _estimate(estimate, value, unit=1, digits=3):
    half = (estimate["high"] - estimate["low"]) / 2
    if value == half == 0:  # by definition, such as IG of the centre bias itself
        return "0"
    return f"{number(unit * value, digits)} ± {number(unit * half, digits)}"


if __name__ == "__main__":
    main()
