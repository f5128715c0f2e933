"""Saliency maps of a folder of images by Ray Data, on one machine or on a cluster.

The map of FOLDER/trip/a.jpg becomes OUT/trip/a.jpg.png: grey, white where most people look. Images
whose map is there are skipped, so that the same command goes on with a job that was stopped.
"""

import argparse
import sys
from pathlib import Path

import ray

from keras_salnet import Predictor
from keras_salnet.data.readers import IMAGE_ENDINGS
from keras_salnet.images.files import read_image, write_picture
from keras_salnet.images.visualize import to_grey


class Worker:
    """One process: it loads the model once, for all batches that come to it."""

    def __init__(self, model):
        self.predictor = Predictor.load(model)

    def __call__(self, batch):
        """Write the maps of {"image": paths, "map": paths}; return {"error": of each bad image}."""
        images, targets, errors = [], [], []
        for path, target in zip(batch["image"], batch["map"], strict=True):
            try:
                images.append(read_image(path))
                targets.append(target)
            except (OSError, ValueError) as error:  # names the image
                errors.append(str(error))
        maps = self.predictor.batch(images)
        for target, saliency in zip(targets, maps, strict=True):
            write_picture(target, to_grey(saliency))  # under a temporary name, then renamed
        return {"error": errors}


def main():
    """Predict what is not there yet; exit with 1 where images could not be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="images, with all folders below it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the maps")
    parser.add_argument("--model", default="fast", help="whatever Predictor.load takes")
    parser.add_argument("--workers", type=int, default=1, help="how many models run at once")
    parser.add_argument(
        "--batch-size", type=int, default=16, help="1 for a model whose frame follows the image"
    )
    given = parser.parse_args()
    # Workers have another working directory.
    folder, out = given.folder.resolve(), given.out.resolve()
    model = str(Path(given.model).resolve()) if Path(given.model).exists() else given.model
    if out.is_relative_to(folder):
        parser.error(f"--out {given.out}: lies in {given.folder}, so that maps would be images.")
    found = [path for path in folder.rglob("[!.]*") if path.suffix.lower() in IMAGE_ENDINGS]
    if not found:
        parser.error(f"{given.folder}: holds no image ({', '.join(IMAGE_ENDINGS)}).")
    pairs = [(path, out / f"{path.relative_to(folder)}.png") for path in found]
    missing = [{"image": str(p), "map": str(m)} for p, m in sorted(pairs) if not m.exists()]
    errors = []
    if missing:
        maps = ray.data.from_items(missing).map_batches(
            Worker,
            fn_constructor_args=[model],
            batch_size=given.batch_size,
            compute=ray.data.ActorPoolStrategy(size=given.workers),
        )
        errors = [row["error"] for row in maps.iter_rows()]
    print(*errors, sep="\n", end="\n" * bool(errors), file=sys.stderr)
    print(
        f"{len(missing) - len(errors)} maps written into {given.out}, "
        f"{len(found) - len(missing)} were there, {len(errors)} images could not be read."
    )
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
