"""A training step and an inference of VGGRGA(3): keras-salnet against its twin in PyTorch.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --backend jax --precision bfloat16 --batch 32 --steps 10

The twin (torch_vggrga.py) has the same layers, loss and optimizer; before anything is timed, this
script checks that it computes the same from the same weights. It comes with RGA in the direct form
of the paper's public code and in our linear one, in both memory formats; ratios are against the
direct form. The second command measures on the accelerator that JAX sees and on CUDA, compiled
and eager.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

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

ADAM = ("Adam", 1e-4)
DESCENT = ("SGD", 1e-5)  # for the comparison: a small step along the gradient itself

# Largest accepted difference between Keras and the twin: absolute of the maps and of the loss in
# training, relative of what a step changes the loss by. Rounding switches some of the millions of
# ReLUs, so that gradients in float32 agree to a few percent only.
TOLERANCES = {"map": 1e-4, "loss": 1e-4, "step": 0.1}


def fixed_batch(size, count):
    """The batch that both sides train on: a dict as in `keras_salnet.data`."""
    random = np.random.default_rng(0)
    input_size = (count, size, size)
    return {
        "image": random.uniform(0, 255, (*input_size, 3)).astype("float32"),
        "density": random.random((*input_size, 1)).astype("float32") ** 8,
        "mask": np.ones((*input_size, 1), "float32"),
        "warp": np.zeros((count, 9), "float32"),  # for augmentation, which is left out
    }


# Keras


def build_keras(arguments, precision, optimizer=ADAM):
    """The model, and the compiled graph that `keras-salnet train` fits."""
    import keras

    from keras_salnet import losses, models
    from keras_salnet.training.graph import training_graph

    name, rate = optimizer
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    net = models.VGGRGA(
        arguments.num_rga,
        input_shape=(arguments.size, arguments.size, 3),
        backbone_weights=None,
        filters=arguments.filters,
    )
    graph = training_graph(net, augment=False)
    graph.compile(
        optimizer=getattr(keras.optimizers, name)(rate),
        loss=losses.SaliencyLoss(),
        weighted_metrics=losses.streaming_metrics(),
    )
    return net, graph


def fit(graph, batch, epochs, steps, callbacks=None):
    """Fit the same batch again and again, from the device's memory: no input pipeline."""
    import keras

    batch = {name: keras.ops.convert_to_tensor(value) for name, value in batch.items()}
    return graph.fit(
        ((batch,) for _ in itertools.count()),
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )


def keras_side(arguments, precision=None):
    if arguments.backend == "tensorflow":
        limit_tensorflow(arguments.threads)
    import keras

    net, graph = build_keras(arguments, precision or arguments.precision)
    batch = fixed_batch(arguments.size, arguments.batch)
    seconds = []
    timer = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seconds.append(-time.perf_counter()),
        on_epoch_end=lambda epoch, logs: seconds.append(seconds.pop() + time.perf_counter()),
    )
    fit(graph, batch, 1 + arguments.repeats, arguments.steps, [timer])
    memory = _jax_memory() if arguments.backend == "jax" else peak_memory()
    infer = functools.partial(net.predict_on_batch, batch["image"][:1])
    return {
        "training": [epoch / arguments.steps for epoch in seconds[1:]],  # the first one compiles
        "memory": [memory],
        "inference": time_calls(infer, arguments.repeats, arguments.steps),
    }


def _jax_memory():
    import jax

    statistics = jax.local_devices()[0].memory_stats()  # None on a CPU
    return statistics["peak_bytes_in_use"] if statistics else peak_memory()


def litert_side(arguments):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        str(Path(arguments.folder, "model.tflite")), num_threads=arguments.threads
    )
    infer = functools.partial(
        interpreter.get_signature_runner("serving_default"),
        image=fixed_batch(arguments.size, 1)["image"],
    )
    return {"inference": time_calls(infer, arguments.repeats, arguments.steps)}


# PyTorch


def build_torch(arguments, form):
    from torch_vggrga import VGGRGA

    return VGGRGA(arguments.num_rga, arguments.size, arguments.filters, form)


def torch_batch(batch):
    """Images and densities (B, C, H, W)."""
    import torch

    return (
        torch.tensor(batch[name]).permute(0, 3, 1, 2).contiguous() for name in ("image", "density")
    )


def torch_training_step(model, loss_function, images, densities, autocast, optimizer=ADAM):
    """A function that takes one step and returns the loss before it."""
    import torch

    name, rate = optimizer
    optimizer = getattr(torch.optim, name)(model.parameters(), rate, fused=True)

    def step():
        model.train()
        with autocast:
            maps = model(images)
        loss = loss_function(maps, densities)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def torch_side(arguments, form, memory_format, compiled):
    import torch
    from torch_vggrga import SaliencyLoss

    assert "tensorflow" not in sys.modules
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.set_float32_matmul_precision("high")  # TensorFloat-32, as JAX has it
        torch.backends.cudnn.benchmark = True
    place = {
        "device": "cuda" if on_gpu else "cpu",
        "memory_format": getattr(torch, memory_format),
    }
    model, loss_function = build_torch(arguments, form).to(**place), SaliencyLoss()
    if compiled:
        model, loss_function = torch.compile(model), torch.compile(loss_function)
    image, density = torch_batch(fixed_batch(arguments.size, arguments.batch))
    autocast = torch.autocast(
        place["device"], torch.bfloat16, enabled=arguments.precision == "bfloat16"
    )
    step = torch_training_step(
        model, loss_function, image.to(**place), density.to(place["device"]), autocast
    )

    @torch.inference_mode()
    def infer():
        model.eval()
        with autocast:
            return model(image[:1].to(**place)).cpu()

    finish = torch.cuda.synchronize if on_gpu else lambda: None
    training = time_calls(step, arguments.repeats, arguments.steps, finish)
    memory = torch.cuda.max_memory_allocated() if on_gpu else peak_memory()
    inference = time_calls(infer, arguments.repeats, arguments.steps)
    return {"training": training, "memory": [memory], "inference": inference}


# What is done once, and the device's own speed


def prepare_side(arguments):
    """Count the multiply-adds, write the LiteRT model and what the twin is compared with."""
    net, graph = build_keras(arguments, "float32", DESCENT)
    if not TORCH_SIDES.keys().isdisjoint(arguments.sides):
        batch = fixed_batch(arguments.size, 2)
        for _ in range(5):
            net(batch["image"], training=True)  # gives batch normalization its statistics
        weights = {weight.path: np.array(weight) for weight in net.weights}
        maps = net.predict_on_batch(batch["image"])[..., 0]
        losses = np.array(fit(graph, batch, 2, 1).history["loss"])
        np.savez(Path(arguments.folder, "reference.npz"), maps=maps, losses=losses, **weights)
    if "litert-int8" in arguments.sides:
        from keras_salnet.formats import export_tflite

        export_tflite(net, Path(arguments.folder, "model.tflite"), quantize="dynamic")
    return {"macs": count_macs(net)}


def compare_side(arguments):
    """How much the twin in its two forms differs from Keras, from the same weights, on 2 images.

    In a process without TensorFlow: beside it, PyTorch's compiler may crash.

    Returns:
        {form: {name in `TOLERANCES`: difference}}.
    """
    import torch
    from torch_vggrga import SaliencyLoss, load_weights

    assert "tensorflow" not in sys.modules
    torch.set_num_threads(arguments.threads)
    reference = dict(np.load(Path(arguments.folder, "reference.npz")))
    maps, losses = reference.pop("maps"), reference.pop("losses")
    differences = {}
    for form in ("direct", "linear"):
        twin = build_torch(arguments, form)
        load_weights(twin, reference)
        images, densities = torch_batch(fixed_batch(arguments.size, 2))
        with torch.inference_mode():
            twin_maps = twin.eval()(images).numpy()[:, 0]
        autocast = torch.autocast("cpu", enabled=False)
        step = torch_training_step(twin, SaliencyLoss(), images, densities, autocast, DESCENT)
        twin_losses = np.array([step().item() for _ in losses])
        differences[form] = {
            "map": float(np.abs(twin_maps - maps).max()),
            "loss": float(abs(twin_losses[0] - losses[0])),
            "step": float(abs(np.ptp(twin_losses) / np.ptp(losses) - 1)),
        }
    return differences


def count_macs(net):
    """Multiply-adds of one image, with RGA in its linear form."""
    import keras

    from keras_salnet.layers import RGA

    total = 0
    for layer in net.layers:
        if isinstance(layer, keras.layers.Conv2D):
            total += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
        elif isinstance(layer, RGA):
            total += _attention_macs(layer.spatial) + _attention_macs(layer.channel)
    return total


def _attention_macs(branch):
    nodes, related = branch.relation_kernel.shape
    nodes //= 2
    embeddings = (branch.theta, branch.phi, branch.g, branch.w, branch.w2)
    weights = sum(math.prod(embedding.conv.kernel.shape) for embedding in embeddings)
    return nodes * weights + 4 * nodes * related * branch.theta.conv.units


def matmul_side(arguments):
    """Operations a second of a large square product in bfloat16: what the device can do at most."""
    import jax
    from jax import numpy as jnp

    size, products = (8192, 20) if jax.default_backend() != "cpu" else (512, 2)
    left, right = jax.random.normal(jax.random.key(0), (2, size, size), jnp.bfloat16)

    @jax.jit
    def multiply(left, right):
        scale = size**-0.5
        return jax.lax.fori_loop(0, products, lambda _, x: (left @ x) * scale, right)

    seconds = time_calls(lambda: multiply(left, right).block_until_ready(), arguments.repeats)
    return {"rate": [2 * products * size**3 / value for value in seconds]}


# The command

KERAS_SIDES = {
    "keras": keras_side,
    "keras-bfloat16": functools.partial(keras_side, precision="bfloat16"),
    "litert-int8": litert_side,
}
TORCH_SIDES = {
    f"torch-{form}-{layout}{suffix}": functools.partial(
        torch_side, form=form, memory_format=memory_format, compiled=bool(suffix)
    )
    for form in ("direct", "linear")
    for suffix in ("", "-compiled")
    for layout, memory_format in (
        ("channels-first", "contiguous_format"),
        ("channels-last", "channels_last"),
    )
}
SIDES = {**KERAS_SIDES, **TORCH_SIDES}
DEFAULT_SIDES = {
    "tensorflow": [side for side in SIDES if not side.endswith("compiled")],
    "jax": ["keras", *TORCH_SIDES],
}


def main():
    parser = _parser()
    arguments = parser.parse_args()
    vars(arguments).setdefault("sides", DEFAULT_SIDES[arguments.backend])
    if arguments.side:
        others = {"prepare": prepare_side, "compare": compare_side, "matmul": matmul_side}
        sides = {**SIDES, **others}
        print(json.dumps(sides[arguments.side](arguments)))
        return
    if not TORCH_SIDES.keys().isdisjoint(arguments.sides) and not importlib.util.find_spec("torch"):
        parser.error(
            "the torch sides need PyTorch: pip install -e '.[benchmark]', or name other --sides."
        )

    on_jax = arguments.backend == "jax"
    environment = {"KERAS_BACKEND": "jax"} if on_jax else TENSORFLOW_ON_CPU
    with tempfile.TemporaryDirectory() as folder:
        options = ("--folder", folder)
        on_cpu = {**environment, "JAX_PLATFORMS": "cpu"}
        prepared = measure("prepare", on_cpu, *options)
        if not TORCH_SIDES.keys().isdisjoint(arguments.sides):
            _report_differences(measure("compare", on_cpu, *options))
        sides = ["matmul", *arguments.sides] if on_jax else arguments.sides
        measured = measure_in_rounds(sides, arguments.rounds, environment, *options)
    rate = measured.pop("matmul", {}).get("rate")
    _print_results(arguments, measured, prepared["macs"], rate)


def _report_differences(differences):
    for form, found in differences.items():
        print(
            f"torch, {form}, from the same weights as Keras: maps differ by at most "
            f"{found['map']:.1e}, the loss by {found['loss']:.1e}, and its change by one step of "
            f"training by {found['step']:.2%}."
        )
        if any(not found[name] < tolerance for name, tolerance in TOLERANCES.items()):
            sys.exit(f"The twin does not compute the same; tolerances: {TOLERANCES}.")


def _print_results(arguments, measured, macs, rate):
    direct = [values for side, values in measured.items() if side.startswith("torch-direct")]
    first = measured.get("torch-direct-channels-first", {})

    def cells(values, quantity, form):
        """The value, and how many times less it is than the baseline's and the best direct one."""
        value = values.get(quantity)
        best = min((other[quantity] for other in direct), default=None)
        text = None if value is None else form(value)
        return text, times(first.get(quantity), value), times(best, value)

    rows = []
    for side, values in measured.items():
        speed = arguments.batch / values["training"] if "training" in values else None
        share = speed and rate and 3 * 2 * macs * speed / rate
        rows.append(
            (
                side,
                *cells(values, "training", lambda value: f"{value:.3f}"),
                speed and f"{speed:.2f}",
                share and f"{share:.1%}",
                *cells(values, "inference", lambda value: f"{1000 * value:.1f}"),
                *cells(values, "memory", lambda value: f"{value / MIB:.0f}"),
            )
        )
    print(
        f"VGGRGA({arguments.num_rga}), {arguments.size} x {arguments.size}, batch "
        f"{arguments.batch}, {arguments.precision}, {arguments.threads} threads: medians of "
        f"{arguments.rounds} rounds of {arguments.repeats} x {arguments.steps} steps. Factors are "
        "against torch-direct-channels-first (×) and against the best torch-direct side (× best)."
    )
    print(
        f"Forward pass of one image: {2 * macs / 1e9:.1f} GFLOP, a training step counts as 3."
        + (f" A large bfloat16 matrix product ran at {rate / 1e12:.2f} TFLOP/s." if rate else "")
    )
    factors = ("×", "× best")
    print_table(
        (
            *("side", "training step, s", *factors, "images/s", "of matmul rate"),
            *("inference, ms", *factors, "peak memory, MiB", *factors),
        ),
        rows,
    )


def _parser():
    parser = benchmark_parser(__doc__, repeats=2)
    add = parser.add_argument
    add("--num-rga", type=int, default=3, help="the n of VGGRGA(n)")
    add("--size", type=int, default=256, help="side of the frame in pixels")
    add("--batch", type=int, default=2, help="images a training step")
    add("--filters", type=int, default=64, help="width of the first stage")
    add("--backend", choices=tuple(DEFAULT_SIDES), default="tensorflow", help="of Keras")
    add("--precision", choices=("float32", "bfloat16"), default="float32", help="of all sides")
    add(
        "--sides",
        nargs="+",
        choices=tuple(SIDES),
        default=argparse.SUPPRESS,
        metavar="SIDE",
        help=f"which to measure, of {', '.join(SIDES)} (default: all that apply)",
    )
    add("--steps", type=int, default=1, help="steps timed together as one measurement")
    add("--threads", type=int, default=os.cpu_count(), help="of each side, on CPUs")
    add("--folder", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
