"""Size, latency and agreement with Keras of every exported form of a trained model.

    python benchmarks/export.py runs/RUN

Each form is exported as `keras-salnet export` does it, int8 from 128 training images. Its maps of
held-out images, at network size, are compared with those of Keras: CC, and how many of the 256
levels of an 8-bit picture they use. Latency is that of one image in memory, on a CPU.
"""

import argparse
import functools
import json
import os
import tempfile
from importlib import util
from pathlib import Path

import numpy as np
from _measure import (
    MIB,
    TENSORFLOW_ON_CPU,
    benchmark_parser,
    limit_tensorflow,
    measure,
    measure_in_rounds,
    print_table,
    time_calls,
    times,
)

QUANTIZATIONS = {f"LiteRT {name}": name for name in ("none", "fp16", "dynamic", "int8")}
PACKAGES = {"ONNX Runtime": ("tf2onnx", "onnxruntime"), "OpenVINO": ("openvino",)}
FILES = {"Keras": "model.keras", "ONNX Runtime": "model.onnx", "OpenVINO": "openvino"}
SECONDS = 10  # after which a process takes no further repeat
CALIBRATION = 128  # images


def installed_sides():
    others = [side for side, names in PACKAGES.items() if all(map(util.find_spec, names))]
    return ["Keras", *QUANTIZATIONS, *others]


def exported(side, folder):
    """Where a side's model lies."""
    return Path(folder, FILES.get(side) or f"{QUANTIZATIONS[side]}.tflite")


def prepare(arguments):
    """Export all sides: each one's size, and how its maps agree with those of Keras."""
    from keras_salnet import Predictor, metrics
    from keras_salnet.data import load_dataset
    from keras_salnet.formats.tflite import representative_images
    from keras_salnet.models import load_model
    from keras_salnet.runs import run_of

    model = Path(arguments.model)
    run = run_of(model)
    config = run.config if run else {}
    resize = config["recipe"]["resize"] if run else "stretch"
    net = load_model(model / "model.keras" if model.is_dir() else model)
    dataset = load_dataset(arguments.data or config.get("data", "popout"))
    input_size = net.input_shape[1:3]
    measured = representative_images(dataset, input_size, resize, CALIBRATION)
    held_out = dataset[dataset.held_out]
    samples = held_out[:: max(1, len(held_out) // arguments.images)][: arguments.images]
    # In the frame already: enlarging a map to its image would add levels.
    images = [preprocess(sample.read_image(), input_size, resize) for sample in samples]
    wanted = None
    found = {}
    for side in ["Keras", *(side for side in arguments.sides if side != "Keras")]:
        path = exported(side, arguments.folder)
        export(net, side, path, measured, resize)
        predictor = Predictor.load(path)
        predictor.resize = resize
        maps = [predictor(image) for image in images]
        wanted = wanted or maps
        agreement = [
            metrics.correlation_coefficient(*pair) for pair in zip(maps, wanted, strict=True)
        ]
        files = [path] if path.is_file() else list(path.iterdir())
        found[side] = {
            "size": sum(file.stat().st_size for file in files),
            "CC": float(np.mean(agreement)),
            "lowest CC": min(agreement),
            "levels": min(np.unique(np.round(255 * saliency)).size for saliency in maps),
        }
    return {"data": f"{len(images)} images of {dataset.name}", "sides": found}


def preprocess(image, input_size, resize):
    from keras_salnet.images.geometry import Placement

    return Placement(image.shape[:2], input_size, resize).image(image).clip(0, 255)


def export(net, side, path, measured, resize):
    from keras_salnet.formats import export_onnx, export_openvino, export_tflite

    if side == "Keras":
        net.save(path)
    elif side == "ONNX Runtime":
        export_onnx(net, path, resize)
    elif side == "OpenVINO":
        export_openvino(net, path, resize)
    else:
        export_tflite(net, path, QUANTIZATIONS[side], measured, resize)


def runner(side, path, threads):
    """(function image → map, shape of the image)."""
    if side == "Keras":
        from keras_salnet.models import load_model

        limit_tensorflow(threads)
        net = load_model(path)
        return net.predict_on_batch, net.input_shape[1:]
    if side == "ONNX Runtime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options)
        return lambda image: session.run(None, {"image": image}), session.get_inputs()[0].shape[1:]
    if side == "OpenVINO":
        import openvino

        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.compile_model(path / "model.xml", "CPU", options)
        shape = compiled.input("image").partial_shape
        return compiled, [side.get_length() for side in list(shape)[1:]]
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path), num_threads=threads).get_signature_runner("serving_default")
    shape = run.get_input_details()["image"]["shape"]
    return lambda image: run(image=image), shape[1:]


def measure_latency(side, arguments):
    infer, shape = runner(side, exported(side, arguments.folder), arguments.threads)
    image = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype("float32")
    seconds = time_calls(functools.partial(infer, image), arguments.repeats, limit=SECONDS)
    return {"seconds": seconds}


def main():
    arguments = _parser().parse_args()
    if arguments.side:
        if arguments.side == "prepare":
            print(json.dumps(prepare(arguments)))
        else:
            print(json.dumps(measure_latency(arguments.side, arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options = ("--folder", folder)
        prepared = measure("prepare", TENSORFLOW_ON_CPU, *options)
        found = prepared["sides"]
        measured = measure_in_rounds(found, arguments.rounds, TENSORFLOW_ON_CPU, *options)

    print(
        f"Latency of one image, {arguments.threads} threads: medians of {arguments.rounds} rounds "
        f"of {arguments.repeats}. Maps: {prepared['data']}."
    )
    keras = measured["Keras"]["seconds"]
    print_table(
        ("runtime", "size, MiB", "latency, ms", "×", "CC to Keras", "lowest", "least grey levels"),
        [
            (
                side,
                f"{row['size'] / MIB:.1f}",
                f"{1e3 * measured[side]['seconds']:.1f}",
                times(keras, measured[side]["seconds"]),
                f"{row['CC']:.5f}",
                f"{row['lowest CC']:.5f}",
                str(row["levels"]),
            )
            for side, row in found.items()
        ],
    )


def _parser():
    parser = benchmark_parser(__doc__, repeats=20)
    add = parser.add_argument
    sides = installed_sides()
    add("model", help="a run folder or a .keras file")
    add("--data", help="dataset, if not that of the run")
    add("--images", type=int, default=50, help="held-out images whose maps are compared")
    add("--sides", nargs="+", choices=sides, default=sides, metavar="SIDE", help="beside Keras")
    add("--threads", type=int, default=os.cpu_count(), help="of each side")
    add("--folder", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
