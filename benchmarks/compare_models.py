"""Train models alike, on the same data for as many steps, and compare them in one table.

    python benchmarks/compare_models.py --data osie --backbone-weights vgg16_notop.weights.h5
    python benchmarks/compare_models.py --set ablation

Each model has the recipe of VGGRGA on that data, whatever its own paper says: optimizer, loss,
order of the images. So the table compares architectures, and not what their authors would make of
them. Every run stays in --out; begun again after an interruption, the comparison goes on where it
was. Step and latency are medians over fresh processes in alternating rounds.
"""

import functools
import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
from _measure import (
    TENSORFLOW_ON_CPU,
    benchmark_parser,
    limit_tensorflow,
    measure_in_rounds,
    print_table,
    time_calls,
)

from keras_salnet.layers.registry import attention_names
from keras_salnet.training.recipes import recipe_for

# Name → model and its arguments.
_ABLATION = {
    "VGGM": ("vggrga", {"num_rga": 0, "multi_level_integration": False}),
    "VGGM + RGA(1)": ("vggrga", {"num_rga": 1, "multi_level_integration": False}),
    "VGGM + MI": ("vggrga", {"num_rga": 0}),
    **{f"VGGRGA({n})": ("vggrga", {"num_rga": n}) for n in (1, 2, 3)},
}
SETS = {
    "papers": {
        "VGGRGA(3)": _ABLATION["VGGRGA(3)"],
        "VGGSSM": ("vggssm", {}),
        "OpenSALICON": ("opensalicon", {}),
        "PFA": ("pfa", {}),
        "SARN": ("sarn", {}),
    },
    "ablation": _ABLATION,
    "attention": {
        name: ("vggrga", {"num_rga": 1, "attention": name}) for name in attention_names()
    },
}
METRICS = ("KL", "CC", "SIM", "NSS", "AUC-Judd", "sAUC")


def recipe_of(arguments, name):
    """The recipe that all models share, for the one of this name."""
    model, model_args = SETS[arguments.set][name]
    shared = recipe_for("vggrga", arguments.data)
    filters = arguments.filters or (16 if arguments.data == "popout" else 64)
    weights = arguments.backbone_weights
    return shared.replace(
        model=model,
        model_args={**model_args, "filters": filters},
        backbone_weights=None if weights == "none" else weights,
        input_size=(arguments.size, arguments.size),
        epochs=arguments.epochs,
        batch_size=arguments.batch,
        **({"schedule": arguments.schedule} if arguments.schedule else {}),
    )


def trained(arguments, name, dataset):
    """The run folder of a model, trained now, in part or not at all."""
    from keras_salnet.training import run

    recipe = recipe_of(arguments, name)
    out = arguments.out / "".join(c if c.isalnum() else "-" for c in name).strip("-")
    print(f"{name}: {out}", flush=True)
    if (out / "model.keras").exists():
        return out
    if (out / "config.json").exists():
        return run.resume(out)
    return run.train(
        recipe,
        dataset,
        out,
        seed=arguments.seed,
        mixed_precision=arguments.mixed_precision,
    )


def speed_side(arguments, name):
    """Seconds of a training step and of the inference of one image, on random images."""
    limit_tensorflow(arguments.threads)
    import keras

    from keras_salnet import losses, models
    from keras_salnet.training.graph import training_graph

    recipe = recipe_of(arguments, name)
    input_size = (arguments.batch, *recipe.input_size)
    random = np.random.default_rng(0)
    batch = {
        "image": random.uniform(0, 255, (*input_size, 3)).astype("float32"),
        "density": random.random((*input_size, 1)).astype("float32") ** 8,
        "mask": np.ones((*input_size, 1), "float32"),
        "warp": np.zeros((arguments.batch, 9), "float32"),  # for augmentation, which is left out
    }
    net = models.create(
        recipe.model, input_shape=(*input_size[1:], 3), backbone_weights=None, **recipe.model_args
    )
    graph = training_graph(net, augment=False)
    graph.compile(optimizer=keras.optimizers.Adam(1e-4), loss=losses.SaliencyLoss())
    infer = functools.partial(net.predict_on_batch, batch["image"][:1])
    return {
        "latency": time_calls(infer, arguments.repeats, steps=5),
        "step": time_calls(lambda: graph.train_on_batch(batch), arguments.repeats),
        "parameters": [net.count_params()],
    }


def main():
    parser = _parser()
    arguments = parser.parse_args()
    models = arguments.models or list(SETS[arguments.set])
    if unknown := set(models) - SETS[arguments.set].keys():
        parser.error(
            f"{', '.join(unknown)}: not in the set, which has {', '.join(SETS[arguments.set])}"
        )
    if arguments.side:
        print(json.dumps(speed_side(arguments, arguments.side)))
        return
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3")

    import tensorflow as tf

    from keras_salnet import Predictor
    from keras_salnet.data import load_dataset
    from keras_salnet.evaluation import evaluate

    tf.get_logger().setLevel("ERROR")  # it takes many models for one that is traced anew
    dataset = load_dataset(arguments.data)
    runs = {name: trained(arguments, name, dataset) for name in models}
    predictors = {name: Predictor.load(run) for name, run in runs.items()}
    evaluation = evaluate(predictors, dataset, workers=os.cpu_count())
    speed = measure_in_rounds(models, arguments.rounds, TENSORFLOW_ON_CPU)

    images = len(dataset["train"])
    steps = arguments.epochs * -(-images // arguments.batch)
    print(
        f"{dataset.name}: {images} images to train on, {arguments.size} x {arguments.size}, "
        f"{arguments.epochs} epochs of batches of {arguments.batch}, {steps} steps; scored on "
        f"{len(evaluation.samples)} of {evaluation.split}: mean ± half the 95 % interval. "
        f"Speed: {arguments.threads} threads, medians of {arguments.rounds} rounds."
    )
    metrics = [metric for metric in METRICS if metric in evaluation.metrics]
    rows = []
    for row, columns in evaluation.summary.items():
        cells = [_cell(columns.get(metric)) for metric in metrics]
        measured = (None, None, None)
        if row in speed:
            measured = (
                f"{speed[row]['parameters'] / 1e6:.1f} M",
                f"{speed[row]['step']:.2f}",
                f"{1000 * speed[row]['latency']:.0f}",
            )
        rows.append((row, *cells, *measured))
    print_table(("model", *metrics, "parameters", "step, s", "latency, ms"), rows)
    if arguments.set == "ablation":
        print("Against the model in the row above, over the same images; p by permutation:")
        rows = [
            (f"{name} − {before}", *(_difference(evaluation, before, name, m) for m in metrics))
            for before, name in itertools.pairwise(models)
        ]
        print_table(("difference", *metrics), rows)


def _cell(estimate):
    if estimate is None:
        return None
    return f"{estimate['mean']:.3f} ± {(estimate['high'] - estimate['low']) / 2:.3f}"


def _difference(evaluation, before, name, metric):
    found = evaluation.comparisons[before, name][metric]
    p = "p < 0.01" if found["p"] < 0.01 else f"p = {found['p']:.2f}"
    return f"{-found['difference']:+.3f} ({p})"


def _parser():
    parser = benchmark_parser(__doc__, repeats=2)
    add = parser.add_argument
    add("--set", choices=tuple(SETS), default="papers", help="which models")
    add("--models", nargs="+", metavar="NAME", help="only these of the set")
    add("--data", default="popout", help="dataset, as of keras-salnet train")
    add("--epochs", type=int, default=4, help="of each training")
    add("--batch", type=int, default=8, help="images a step")
    add("--size", type=int, default=128, help="side of the frame in pixels")
    add("--filters", type=int, help="width of the first stage; 16 on the displays, else 64")
    add("--backbone-weights", default="none", help="'imagenet', a file, or 'none'")
    add("--schedule", choices=("step", "cosine"), help="of the learning rate")
    add("--mixed-precision", choices=("bfloat16", "float16"), help="of the trainings")
    add("--seed", type=int, default=0, help="of all trainings")
    add("--out", type=Path, default=Path("runs/compared"), help="folder of the runs")
    add("--threads", type=int, default=os.cpu_count(), help="of the speed's measurements")
    return parser


if __name__ == "__main__":
    sys.exit(main())
