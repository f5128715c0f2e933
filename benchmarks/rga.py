"""RGA-SC forward and backward: the linear form of `layers.RGA` against the direct form.

    python benchmarks/rga.py

The direct form (direct_rga.py) builds the N x N affinity of the nodes, as the paper does. Both are
Keras layers on TensorFlow, on a CPU; that both return the same from the same weights is checked in
the same run. Memory is the most that the process holds, less what it held before there was a
layer: weights, activations and gradients.
"""

import json
import os
import sys

import numpy as np
from _measure import (
    MIB,
    TENSORFLOW_ON_CPU,
    benchmark_parser,
    limit_tensorflow,
    measure,
    measure_in_rounds,
    peak_memory,
    print_table,
    time_calls,
    times,
)

CASES = ("16:512", "32:512", "64:256", "128:128")
FORMS = ("linear", "direct")
TOLERANCE = 1e-3  # of outputs and gradients, as norms
SECONDS = 10  # after which a process takes no further repeat


def build(form, shape):
    """The layer, and a function () → [outputs, gradient of the inputs, …of the weights]."""
    import tensorflow as tf
    from direct_rga import DirectRGA

    from keras_salnet.layers import RGA

    layer = RGA("sc") if form == "linear" else DirectRGA()
    layer.build(shape)
    inputs, upstream = tf.random.stateless_normal((2, *shape), seed=(0, 0))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        weights = [weight.value for weight in layer.trainable_weights]
        return [outputs, *tape.gradient(outputs, [inputs, *weights], upstream)]

    return layer, step


def measure_form(form, shape, repeats):
    _, step = build(form, (1, 8, 8, 64))
    step()  # loads what TensorFlow loads late
    idle = peak_memory()
    _, step = build(form, shape)
    seconds = time_calls(step, repeats, limit=SECONDS)
    return {"seconds": seconds, "memory": [peak_memory() - idle]}


def measure_difference(shape):
    """Norm of the difference of outputs and of input gradients, relative to the norm of each.

    Not the largest difference: where rounding decides on which side of 0 a ReLU's input lies, a
    single gradient may differ by all of itself.
    """
    (linear, linear_step), (direct, direct_step) = (build(form, shape) for form in FORMS)
    linear.set_weights(direct.get_weights())
    return max(
        float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        for ours, theirs in zip(linear_step()[:2], direct_step()[:2], strict=True)
    )


def direct_bytes(shape):
    """Memory of the direct form: affinities, and weights with initial values and gradients."""
    batch, height, width, channels = shape
    pixels = height * width
    affinities = 8 * batch * max(pixels, channels) ** 2
    weights = sum(
        (3 * features * features + 2 * nodes * nodes) // 8
        for nodes, features in ((pixels, channels), (channels, pixels))
    )
    return 4 * (affinities + 3 * weights)


def main():
    arguments = _parser().parse_args()
    shapes = {case: (arguments.batch, *_shape(case)) for case in arguments.cases}
    if arguments.side:
        case, task = arguments.side.split()
        limit_tensorflow(arguments.threads)
        if task == "difference":
            print(json.dumps(measure_difference(shapes[case])))
        else:
            print(json.dumps(measure_form(task, shapes[case], arguments.repeats)))
        return
    fitting = [case for case in shapes if direct_bytes(shapes[case]) < arguments.memory * 2**30]
    differences = {case: measure(f"{case} difference", TENSORFLOW_ON_CPU) for case in fitting}
    if not all(difference < TOLERANCE for difference in differences.values()):
        sys.exit(f"The two forms do not compute the same; differences: {differences}.")
    sides = [
        f"{case} {form}" for case in shapes for form in FORMS if form == "linear" or case in fitting
    ]
    measured = measure_in_rounds(sides, arguments.rounds, TENSORFLOW_ON_CPU)

    print(
        f"RGA-SC, forward and backward, batch {arguments.batch}, float32, {arguments.threads} "
        f"threads: medians of {arguments.rounds} rounds of up to {arguments.repeats}."
    )
    rows = []
    for case, (_, size, _, channels) in shapes.items():
        linear, direct = (measured.get(f"{case} {form}", {}) for form in FORMS)
        rows.append(
            (
                f"{size} x {size} x {channels}",
                f"{size * size}",
                _cell(linear, "seconds", 1e3),
                _cell(direct, "seconds", 1e3),
                times(direct.get("seconds"), linear["seconds"]),
                _cell(linear, "memory", 1 / MIB),
                _cell(direct, "memory", 1 / MIB),
                times(direct.get("memory"), linear["memory"]),
                f"{differences[case]:.0e}" if case in differences else None,
            )
        )
    print_table(
        (
            *("input", "N", "linear, ms", "direct, ms", "×"),
            *("linear, MiB", "direct, MiB", "×", "difference"),
        ),
        rows,
    )


def _shape(case):
    size, channels = map(int, case.split(":"))
    return size, size, channels


def _cell(values, quantity, unit):
    return f"{values[quantity] * unit:.1f}" if values else "does not fit"


def _parser():
    parser = benchmark_parser(__doc__, repeats=10)
    add = parser.add_argument
    add("--cases", nargs="+", default=CASES, metavar="SIDE:CHANNELS", help="shapes of the input")
    add("--batch", type=int, default=1, help="images a step")
    add("--threads", type=int, default=os.cpu_count(), help="of each form")
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    add("--memory", type=float, default=round(machine, 1), help="GiB that may be used")
    return parser


if __name__ == "__main__":
    main()
