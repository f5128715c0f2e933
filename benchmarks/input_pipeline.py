"""From files to batches: keras-salnet's input pipelines against plain OpenCV and PyTorch's loader.

    python benchmarks/input_pipeline.py --data osie
    python benchmarks/input_pipeline.py --steps

All sides read the same JPEGs of 640 × 480 with 8-bit PNG maps of the same size, made from the
images of `--data` or, without it, from noise at all scales. Before anything is timed, this script
checks that they give the same batches. The second command measures how much of a training step
waits for data.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _measure import (
    TENSORFLOW_ON_CPU,
    benchmark_parser,
    limit_tensorflow,
    measure,
    measure_in_rounds,
    print_table,
    time_calls,
)

WIDTH, HEIGHT = 640, 480

# Largest accepted difference from the float32 batches of `pydataset`: in grey levels, of which
# rounding is half of one, and of densities relative to their maximum.
TOLERANCES = {"image": 0.55, "density": 1e-4}

MODELS = {"tiny": {"num_rga": 1, "filters": 8}, "VGGRGA(3)": {"num_rga": 3, "filters": 64}}


# The files


def write_files(arguments):
    """Images and maps in `arguments.folder`, and their shards."""
    import cv2

    from keras_salnet.data import load_dataset, prepare

    folder = Path(arguments.folder, "files")
    for name in ("images", "maps"):
        (folder / name).mkdir(parents=True)
    samples = load_dataset(arguments.data)["all"] if arguments.data else []
    for number in range(arguments.images):
        if samples:
            sample = samples[number % len(samples)]
            image, density = sample.read_image(), sample.read_density_in((HEIGHT, WIDTH))
            image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        else:
            image, density = noise(number)
        level = np.round(255 * density / density.max()).astype(np.uint8)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "images" / f"{number:05d}.jpg"), bgr)
        cv2.imwrite(str(folder / "maps" / f"{number:05d}.png"), level)
    prepare(
        load_dataset(folder),
        Path(arguments.folder, "shards"),
        input_size=input_size(arguments),
        workers=arguments.threads,
    )


def noise(number):
    """A picture of noise at all scales, and a density of forty fixations."""
    import cv2

    from keras_salnet.data.density import fixation_density

    random = np.random.default_rng(number)
    octaves = [random.normal(size=(480 >> k, 640 >> k, 3)) for k in range(8)]
    image = sum(2**k * cv2.resize(octave, (WIDTH, HEIGHT)) for k, octave in enumerate(octaves))
    image = np.clip(128 + 50 * image / image.std(), 0, 255).astype(np.uint8)
    points = random.uniform(0, (WIDTH, HEIGHT), (40, 2))
    return image, fixation_density(points, (HEIGHT, WIDTH), 19)


def input_size(arguments):
    return arguments.size, arguments.size


def read_samples(arguments, kind):
    from keras_salnet.data import load_dataset

    return load_dataset(Path(arguments.folder, kind))["all"]


# The loaders: each an endless iterator over batches {image, density}


def tf_data(arguments, kind, augment=None):
    limit_tensorflow(arguments.threads)
    from keras_salnet.data import pipeline

    return iter(
        pipeline.training_batches(
            read_samples(arguments, kind),
            input_size(arguments),
            resize="stretch",
            batch_size=arguments.batch,
            seed=0,
            augment=augment,
        )
    )


def decode_only(arguments):
    """The least that a pipeline on TensorFlow does: read and decode."""
    limit_tensorflow(arguments.threads)
    import tensorflow as tf

    samples = read_samples(arguments, "files")
    files = [str(sample.image) for sample in samples], [str(sample.density) for sample in samples]

    def decode(image, density):
        image, density = tf.io.read_file(image), tf.io.read_file(density)
        image = tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE")
        return {"image": image, "density": tf.io.decode_png(density, channels=1, dtype=tf.uint16)}

    dataset = tf.data.Dataset.from_tensor_slices(files).repeat().map(decode, tf.data.AUTOTUNE)
    images = iter(dataset.prefetch(tf.data.AUTOTUNE))
    return ([next(images) for _ in range(arguments.batch)] for _ in itertools.count())


def py_dataset(arguments, kind):
    from keras_salnet.data import pydataset

    batches = pydataset.training_batches(
        read_samples(arguments, kind),
        input_size(arguments),
        resize="stretch",
        batch_size=arguments.batch,
        seed=0,
        augment=None,
    )
    return (batches[step] for step in itertools.count())


def load_plainly(image, density, size):
    """An image and its map by OpenCV alone."""
    import cv2

    image = cv2.cvtColor(cv2.imread(image), cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    density = cv2.imread(density, cv2.IMREAD_GRAYSCALE).astype(np.float32)
    density = cv2.resize(density, (size, size), interpolation=cv2.INTER_AREA)[..., None]
    return {"image": image, "density": density / density.sum()}


def load_batch(files, size):
    loaded = [load_plainly(*pair, size) for pair in files]
    return {name: np.stack([one[name] for one in loaded]) for name in ("image", "density")}


def file_batches(arguments):
    """Paths of the images and maps of one batch after the other, in the order of `tf_data`."""
    from keras_salnet.data.augmentation import draw_epoch

    samples = read_samples(arguments, "files")
    for epoch in itertools.count():
        order, _ = draw_epoch(0, epoch, len(samples), augment=None)
        for start in range(0, len(samples), arguments.batch):
            chosen = [samples[i] for i in order[start : start + arguments.batch]]
            yield [(str(sample.image), str(sample.density)) for sample in chosen]


def one_thread(worker=None):
    import cv2

    cv2.setNumThreads(1)


def opencv_processes(arguments):
    with ProcessPoolExecutor(arguments.threads, get_context("spawn"), one_thread) as pool:
        ahead = []
        for files in file_batches(arguments):
            ahead.append(pool.submit(load_batch, files, arguments.size))
            if len(ahead) > 2 * arguments.threads:
                yield ahead.pop(0).result()


class Files:
    """A dataset of PyTorch's, whose index is a list of paths and whose item a batch."""

    def __init__(self, size):
        self.size = size

    def __getitem__(self, files):
        return load_batch(files, self.size)


def torch_loader(arguments):
    from torch.utils.data import DataLoader

    return iter(
        DataLoader(
            Files(arguments.size),
            sampler=file_batches(arguments),
            batch_size=None,
            num_workers=arguments.threads,
            multiprocessing_context="spawn",  # TensorFlow's threads do not survive a fork
            worker_init_fn=one_thread,
        )
    )


LOADERS = {
    "decode alone": decode_only,
    "tf.data, files": functools.partial(tf_data, kind="files"),
    "PyDataset, files": functools.partial(py_dataset, kind="files"),
    "OpenCV processes, files": opencv_processes,
    "PyTorch DataLoader, files": torch_loader,
    "tf.data, shards": functools.partial(tf_data, kind="shards"),
    "PyDataset, shards": functools.partial(py_dataset, kind="shards"),
}


def loader_side(arguments, loader):
    batches = loader(arguments)
    steps = -(-arguments.images // arguments.batch)
    seconds = time_calls(lambda: next(batches), arguments.repeats, steps)
    return {"rate": [arguments.images / (steps * value) for value in seconds]}


def augmentation_side(arguments):
    """Images a second through `Augment`, compiled by XLA."""
    limit_tensorflow(arguments.threads)
    import tensorflow as tf

    from keras_salnet.data.augmentation import Augment

    batch = {
        name: tf.convert_to_tensor(value)
        for name, value in next(tf_data(arguments, "shards", augment="gaze")).items()
    }
    layer = Augment()
    augment = tf.function(lambda batch: layer(batch, training=True), jit_compile=True)
    call = functools.partial(augment, batch)
    seconds = time_calls(lambda: call()["image"].numpy(), arguments.repeats, 20)
    return {"rate": [arguments.batch / value for value in seconds]}


# How much of a step waits


def step_side(arguments, model, source):
    """Seconds of a training step, and which of them it waits for the next batch."""
    batches = tf_data(arguments, source, augment="gaze")
    import keras

    from keras_salnet import losses, models
    from keras_salnet.training.graph import training_graph

    keras.utils.set_random_seed(0)
    net = models.VGGRGA(
        input_shape=(*input_size(arguments), 3), backbone_weights=None, **MODELS[model]
    )
    graph = training_graph(net)
    graph.compile(keras.optimizers.Adam(1e-4), losses.SaliencyLoss())
    waits = []

    def step():
        start = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - start)
        graph.train_on_batch(batch)

    count = 8 if model == "tiny" else 1
    seconds = time_calls(step, arguments.repeats, count)
    return {"step": seconds, "wait": [np.mean(waits[count:])]}


# What is checked


def check_side(arguments):
    """How much the first batch of each side differs from that of `pydataset`."""
    write_files(arguments)
    expected = next(py_dataset(arguments, "files"))
    differences = {}
    for side in arguments.sides:
        if side == "decode alone":
            continue
        batch = next(LOADERS[side](arguments))
        image, density = (np.asarray(batch[name], np.float64) for name in ("image", "density"))
        relative = np.abs(density - expected["density"]).max() / expected["density"].max()
        differences[side] = {
            "image": float(np.abs(image - expected["image"]).max()),
            "density": float(relative),
        }
    return differences


# The command

STEPS = {
    f"{model}, {source}": functools.partial(step_side, model=model, source=source)
    for model in MODELS
    for source in ("files", "shards")
}
SIDES = {
    **{side: functools.partial(loader_side, loader=loader) for side, loader in LOADERS.items()},
    **STEPS,
    "augmentation": augmentation_side,
    "check": check_side,
}


def main():
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments)))
        return
    torch_is_wanted = "PyTorch DataLoader, files" in arguments.sides
    if torch_is_wanted and not importlib.util.find_spec("torch"):
        parser.error(
            "PyTorch's side needs it: pip install -e '.[benchmark]', or name other --sides."
        )
    with tempfile.TemporaryDirectory() as folder:
        options = ("--folder", folder)
        _report_differences(measure("check", TENSORFLOW_ON_CPU, *options))
        sides = STEPS if arguments.steps else [*arguments.sides, "augmentation"]
        measured = measure_in_rounds(sides, arguments.rounds, TENSORFLOW_ON_CPU, *options)
    print(
        f"{arguments.images} images of {WIDTH} x {HEIGHT} to {arguments.size} x {arguments.size}, "
        f"batches of {arguments.batch}, {arguments.threads} threads or processes: medians of "
        f"{arguments.rounds} rounds of {arguments.repeats}."
    )
    (_print_steps if arguments.steps else _print_rates)(measured)


def _report_differences(differences):
    for side, found in differences.items():
        print(
            f"{side}: pixels differ by at most {found['image']:.2f} levels, densities by "
            f"{found['density']:.0e} of their maximum."
        )
        if any(not found[name] <= tolerance for name, tolerance in TOLERANCES.items()):
            sys.exit(f"{side} does not compute the same; tolerances: {TOLERANCES}.")


def _print_rates(measured):
    rates = {side: values["rate"] for side, values in measured.items()}

    def against(rate, baseline):
        return f"{rate / rates[baseline]:.2f}×" if baseline in rates else None

    print_table(
        ("side", "images/s", "of decode alone", "of tf.data, files"),
        [
            (
                side,
                f"{rate:.0f}",
                against(rate, "decode alone") if side != "augmentation" else None,
                against(rate, "tf.data, files") if side != "augmentation" else None,
            )
            for side, rate in rates.items()
        ],
    )


def _print_steps(measured):
    rows = []
    for side, values in measured.items():
        share = values["wait"] / values["step"]
        rows.append((side, f"{values['step']:.3f}", f"{1000 * values['wait']:.1f}", f"{share:.1%}"))
    print_table(("training step on", "s", "of which it waits, ms", "share"), rows)


def _parser():
    parser = benchmark_parser(__doc__, repeats=2)
    add = parser.add_argument
    add("--data", help="dataset whose images are taken (default: noise)", default=None)
    add("--images", type=int, default=200, help="number of files")
    add("--size", type=int, default=256, help="side of the frame in pixels")
    add("--batch", type=int, default=8, help="images a batch")
    add("--steps", action="store_true", help="measure training steps, not loaders")
    add(
        "--sides",
        nargs="+",
        choices=tuple(LOADERS),
        default=list(LOADERS),
        metavar="SIDE",
        help=f"which to measure, of {'; '.join(LOADERS)}",
    )
    add("--threads", type=int, default=os.cpu_count(), help="or processes, of each side")
    add("--folder", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
