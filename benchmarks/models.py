"""Parameters, multiply-adds and latency of every model, as its paper has it.

    python benchmarks/models.py

Multiply-adds are those of convolutions and matrix products, by TensorFlow's profiler. Latency is
that of one image in memory, by Keras's `predict_on_batch` on TensorFlow and by LiteRT in float32,
both on a CPU.
"""

import argparse
import functools
import json
import os
import tempfile
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

from keras_salnet.models.registry import MODELS
from keras_salnet.training.recipes import RECIPES

RUNTIMES = ("keras", "litert")
SECONDS = 10  # after which a process takes no further repeat
PRODUCTS = ("Conv2D", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2")


def build(name):
    """The model with random weights."""
    from keras_salnet import models

    recipe = RECIPES[name]
    return models.create(
        name, **recipe.model_args, input_shape=(*recipe.input_size, 3), backbone_weights=None
    )


def count_multiply_adds(net):
    """Those of one image."""
    import tensorflow as tf

    spec = tf.TensorSpec((1, *net.input_shape[1:]))
    graph = tf.function(net, input_signature=[spec]).get_concrete_function().graph
    counting = tf.compat.v1.profiler.ProfileOptionBuilder(
        tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    )
    options = counting.with_accounted_types(PRODUCTS).with_empty_output().build()
    # A multiply-add is two operations.
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops // 2


def prepare(name, tflite):
    """Count, and write the LiteRT model."""
    from keras_salnet.formats import export_tflite

    net = build(name)
    export_tflite(net, tflite)
    return {"parameters": net.count_params(), "multiply-adds": count_multiply_adds(net)}


def measure_latency(name, runtime, tflite, arguments):
    image = np.random.default_rng(0).uniform(0, 255, (1, *RECIPES[name].input_size, 3))
    image = image.astype("float32")
    if runtime == "keras":
        limit_tensorflow(arguments.threads)
        infer = functools.partial(build(name).predict_on_batch, image)
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(tflite, num_threads=arguments.threads)
        infer = functools.partial(interpreter.get_signature_runner("serving_default"), image=image)
    return {"seconds": time_calls(infer, arguments.repeats, limit=SECONDS)}


def main():
    arguments = _parser().parse_args()
    if arguments.side:
        name, task = arguments.side.split()
        tflite = str(Path(arguments.folder, f"{name}.tflite"))
        if task == "prepare":
            print(json.dumps(prepare(name, tflite)))
        else:
            print(json.dumps(measure_latency(name, task, tflite, arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options = ("--folder", folder)
        counts = {
            name: measure(f"{name} prepare", TENSORFLOW_ON_CPU, *options)
            for name in arguments.models
        }
        sides = [f"{name} {runtime}" for name in arguments.models for runtime in RUNTIMES]
        measured = measure_in_rounds(sides, arguments.rounds, TENSORFLOW_ON_CPU, *options)

    print(
        f"One image, float32, {arguments.threads} threads: medians of {arguments.rounds} rounds of "
        f"{arguments.repeats}."
    )
    rows = []
    for name, count in counts.items():
        height, width = RECIPES[name].input_size
        rows.append(
            (
                MODELS[name].builder,
                f"{height} × {width}",
                f"{count['parameters']:,}",
                f"{count['multiply-adds'] / 1e9:.1f}",
                *(f"{1e3 * measured[f'{name} {runtime}']['seconds']:.0f}" for runtime in RUNTIMES),
            )
        )
    print_table(
        ("model", "input", "parameters", "multiply-adds, 10⁹", "Keras, ms", "LiteRT, ms"), rows
    )


def _parser():
    parser = benchmark_parser(__doc__, repeats=5)
    add = parser.add_argument
    add(
        "--models",
        nargs="+",
        choices=tuple(MODELS),
        default=tuple(MODELS),
        metavar="MODEL",
        help="which of them",
    )
    add("--threads", type=int, default=os.cpu_count(), help="of each side")
    add("--folder", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
