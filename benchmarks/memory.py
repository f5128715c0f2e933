"""The memory that one training step of VGGRGA(n) takes, n = 0…5, by the compiler's own figure.

    python benchmarks/memory.py

Each step (forward, 10·KL − CC − SIM, backward, Adam) is compiled by XLA through JAX, for the device
that JAX sees, and not run: what the compiler sets aside for weights, optimizer, batch and all that
lies in between is its peak. `4 exact` relates all pixels where VGGRGA(4) takes pooled nodes, and
`3 pooled` the reverse.
"""

import argparse
import contextlib
import json
from unittest import mock

from _measure import MIB, measure, print_table

GIB = 1024 * MIB
AUTHORS = 11 * GIB  # of the GPU on which the paper's VGGRGA(4) did not fit
SIDES = ("0", "1", "2", "3", "3 pooled", "4", "4 exact", "5")
POOLED_NODES = 1024
# By default the compiler for CPUs takes more memory, so that operations can run side by side.
ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "XLA_FLAGS": "--xla_cpu_enable_concurrency_optimized_scheduler=false",
}


def build(side, size, filters):
    """VGGRGA(n) as it is by default, or with all of its RGA exact or pooled."""
    from keras_salnet import models

    num_rga, *form = side.split()
    limit = contextlib.nullcontext()
    if form == ["exact"]:  # which no argument asks for: beyond this limit it is of no use
        limit = mock.patch("keras_salnet.models.vggrga._MAX_PIXELS", float("inf"))
    with limit:
        return models.VGGRGA(
            int(num_rga),
            input_shape=(size, size, 3),
            backbone_weights=None,
            filters=filters,
            max_nodes=POOLED_NODES if form == ["pooled"] else None,
        )


def measure_side(side, arguments):
    import jax
    import keras

    from keras_salnet.losses import SaliencyLoss

    keras.config.set_dtype_policy(
        "mixed_bfloat16" if arguments.precision == "bfloat16" else "float32"
    )
    net, loss = build(side, arguments.size, arguments.filters), SaliencyLoss()
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(net.trainable_variables)

    def step(state, images, density):
        trainable, others, slots = state

        def objective(trainable):
            maps, updated = net.stateless_call(trainable, others, images, training=True)
            return loss(density, maps), updated

        gradient = jax.value_and_grad(objective, has_aux=True)
        (_, others), gradients = gradient(trainable)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return trainable, others, slots

    def shapes(variables):
        return [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]

    state = tuple(
        map(shapes, (net.trainable_variables, net.non_trainable_variables, optimizer.variables))
    )
    batch = [
        jax.ShapeDtypeStruct((arguments.batch, arguments.size, arguments.size, channels), "float32")
        for channels in (3, 1)
    ]
    # The new state takes the place of the old one, as in `fit`.
    analysis = jax.jit(step, donate_argnums=0).lower(state, *batch).compile().memory_analysis()
    return {
        "device": jax.devices()[0].device_kind,
        "weights": net.count_params(),
        "state": analysis.argument_size_in_bytes,
        "peak": analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes,
    }


def main():
    arguments = _parser().parse_args()
    if arguments.side:
        print(json.dumps(measure_side(arguments.side, arguments)))
        return
    measured = {side: measure(side, ENVIRONMENT) for side in arguments.sides}
    print(
        f"A training step of VGGRGA(n), {arguments.size} x {arguments.size}, batch "
        f"{arguments.batch}, {arguments.precision}, as compiled for "
        f"{next(iter(measured.values()))['device']}."
    )
    print_table(
        ("n", "weights, M", "weights, Adam and batch, GiB", "peak, GiB", "of 11 GiB"),
        [
            (
                side,
                f"{found['weights'] / 1e6:.1f}",
                f"{found['state'] / GIB:.2f}",
                f"{found['peak'] / GIB:.2f}",
                f"{found['peak'] / AUTHORS:.0%}",
            )
            for side, found in measured.items()
        ],
    )


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--sides", nargs="+", default=SIDES, metavar="N", help="n, or 'n exact', or 'n pooled'")
    add("--size", type=int, default=256, help="height and width of the frame")
    add("--batch", type=int, default=8, help="images a step")
    add("--filters", type=int, default=64, help="width of VGGRGA's first stage")
    add("--precision", choices=["float32", "bfloat16"], default="float32", help="of the layers")
    add("--side", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
