"""Memory of a training step of VGGRGA(n): what fits into the 11 GB that the paper's authors had.

    python benchmarks/memory.py

The step that `keras-salnet train` takes is compiled by XLA for a CPU, from shapes alone: nothing is
computed, so that the machine need not have the memory. The figure is the compiler's own for what
the step holds at once: weights, Adam's moments, the batch, and activations and gradients where most
of them are alive.
"""

import json

from _measure import MIB, benchmark_parser, measure, print_table
from rich.progress import track

ENVIRONMENT = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
PRECISIONS = ("float32", "bfloat16")
FORMS = {
    "default": "as built by default",
    "exact": "exact, linear form",
    "direct": "exact, direct form",
}
CASES = (*"012345", "4:exact", "4:direct", "5:exact", "5:direct")
AUTHORS = 11 * 2**30


def build(num_rga, form, arguments):
    """The compiled graph that `keras-salnet train` fits, RGA in one of `FORMS`."""
    import keras
    from direct_rga import DirectRGA

    from keras_salnet import layers, losses, models
    from keras_salnet.training.graph import training_graph

    def reform(layer):
        if form == "default" or not isinstance(layer, layers.RGA):
            return layer
        return layers.RGA("sc") if form == "exact" else DirectRGA()

    net = models.VGGRGA(
        num_rga,
        input_shape=(arguments.size, arguments.size, 3),
        backbone_weights=None,
        filters=arguments.filters,
    )
    graph = training_graph(keras.models.clone_model(net, clone_function=reform))
    graph.compile(optimizer=keras.optimizers.Adam(1e-4), loss=losses.SaliencyLoss())
    graph.optimizer.build(graph.trainable_variables)
    return graph


def measure_step(num_rga, form, precision, arguments):
    """The number of weights, and the most bytes that a step holds at once."""
    import jax
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    graph = None

    def state():
        nonlocal graph
        graph = build(num_rga, form, arguments)
        groups = (
            graph.trainable_variables,
            graph.non_trainable_variables,
            graph.optimizer.variables,
            graph.metrics_variables,
        )
        return tuple([variable.value for variable in group] for group in groups)

    shapes = jax.eval_shape(state)  # builds the graph, but allocates no weights
    batch = {
        name: jax.ShapeDtypeStruct((arguments.batch, *value.shape[1:]), "float32")
        for name, value in graph.input.items()
    }
    # As Keras's trainer compiles it: the new weights take the place of the old ones.
    step = jax.jit(graph.train_step, donate_argnums=0).lower(shapes, (batch,)).compile()
    sizes = step.memory_analysis()
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return {"weights": graph.count_params(), "bytes": held + sizes.temp_size_in_bytes}


def main():
    arguments = _parser().parse_args()
    if arguments.side:
        case, precision = arguments.side.split()
        print(json.dumps(measure_step(*_case(case), precision, arguments)))
        return
    sides = [f"{case} {precision}" for case in arguments.cases for precision in PRECISIONS]
    measured = {
        side: measure(side, ENVIRONMENT) for side in track(sides, "Compiling", transient=True)
    }

    print(f"A training step, {arguments.size} x {arguments.size}, batch {arguments.batch}.")
    rows = []
    for case in arguments.cases:
        num_rga, form = _case(case)
        row = [f"VGGRGA({num_rga}), {FORMS[form]}"]
        for precision in PRECISIONS:
            found = measured[f"{case} {precision}"]
            row += [f"{found['bytes'] / MIB:.0f}", f"{found['bytes'] / AUTHORS:.0%}"]
        rows.append((*row, f"{found['weights'] / 1e6:.1f}"))
    columns = [cell for name in PRECISIONS for cell in (f"{name}, MiB", "of 11 GiB")]
    print_table(("model", *columns, "weights, 10⁶"), rows)


def _case(text):
    num_rga, _, form = text.partition(":")
    return int(num_rga), form or "default"


def _parser():
    parser = benchmark_parser(__doc__)
    add = parser.add_argument
    add("--cases", nargs="+", default=CASES, metavar="N[:FORM]", help=f"of {', '.join(FORMS)}")
    add("--size", type=int, default=256, help="of the images")
    add("--batch", type=int, default=8, help="images a step")
    add("--filters", type=int, default=64, help="width of the first stage")
    return parser


if __name__ == "__main__":
    main()
