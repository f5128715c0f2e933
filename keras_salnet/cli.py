"""The command line: train | evaluate | predict | export | models | datasets.

Nothing here imports TensorFlow or Keras before a command needs them, so that `--help` and a usage
error answer at once.
"""

import argparse
import contextlib
import importlib
import itertools
import json
import logging
import os
import sys
import time
from importlib import util
from pathlib import Path

from keras_salnet import __version__
from keras_salnet.layers.registry import attention_names
from keras_salnet.models.registry import MODELS, names
from keras_salnet.training.recipes import (
    AUGMENTATIONS,
    LOSSES,
    OPTIMIZERS,
    RECIPES,
    SCHEDULES,
    STRATEGIES,
    recipe_for,
)

RUNS = Path("runs")

# For an option that is absent unless given.
_OPTIONAL = {"default": argparse.SUPPRESS}

# What a user's own mistake or machine raises: told in one line, without a traceback.
_USER_ERRORS = (ValueError, OSError, FloatingPointError, ModuleNotFoundError)


def main(argv=None):
    """Run a command.

    Args:
        argv: arguments, `sys.argv[1:]` by default.

    Returns:
        Exit status: 0, 1 for an error that was reported, 130 after Ctrl-C. Usage errors exit with
        2 from argparse.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("keras_salnet").setLevel(logging.INFO)
    try:
        arguments.command(arguments)
    except _USER_ERRORS as error:
        print(_with_notes(f"error: {error}", error), file=sys.stderr)
        return _leave(1)
    except KeyboardInterrupt as error:
        print(_with_notes("interrupted", error), file=sys.stderr)
        return _leave(130)
    return 0


def _leave(status):
    """The exit status; among other workers, exit with it at once.

    JAX would wait for them at the end, some minutes, and they for what this one was to compute.
    """
    jax = sys.modules.get("jax")
    if jax is not None and jax.distributed.is_initialized():
        sys.stderr.flush()
        os._exit(status)
    return status


def _with_notes(told, error):
    """What is told of an error, with what was added to it on its way."""
    notes = getattr(error, "__notes__", [])
    return "; ".join([told.rstrip("."), *notes]) if notes else told


def _start_keras(backend=None):
    """Choose Keras's backend before it is imported.

    The caller's, or the user's (KERAS_BACKEND), or TensorFlow, or, where that is not installed, JAX
    or PyTorch.
    """
    backend = backend or os.environ.get("KERAS_BACKEND")
    if not backend:
        installed = (name for name in ("tensorflow", "jax", "torch") if util.find_spec(name))
        backend = next(installed, None)
        if backend is None:
            raise ModuleNotFoundError(
                "Keras needs TensorFlow, JAX or PyTorch; install one of them."
            )
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        _import_tensorflow_quietly()


def _import_tensorflow_quietly():
    """TensorFlow greets every process with lines that no setting of its own silences."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _without_stderr():
        tensorflow = importlib.import_module("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")  # it takes many models for one that is traced anew


@contextlib.contextmanager
def _without_stderr():
    """For libraries that write there what nobody asked for; their errors reach us as exceptions."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-salnet", description="Where do people look in an image?"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_train, _add_evaluate, _add_predict, _add_export, _add_models, _add_datasets):
        add(commands)
    return parser


class _HelpWithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Leaves out the defaults that say nothing."""

    def _get_help_string(self, action):
        says_nothing = action.default in (None, []) or action.default is False
        return action.help if says_nothing else super()._get_help_string(action)


def _add_command(commands, name, function, help):
    parser = commands.add_parser(
        name, help=help, description=help, formatter_class=_HelpWithDefaults
    )
    parser.set_defaults(command=function)
    return parser


def _add_train(commands):
    parser = _add_command(
        commands,
        "train",
        _train,
        "Train a model and leave a run folder with its weights, history and exports. What is not "
        "given follows the model's recipe, as its paper has it.",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with a run that was killed, as it began; takes no other option",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--model", choices=names(), help="which model (default: vggrga)", **_OPTIONAL
    )
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        help="train as another model is trained (default: as the model's own paper has it)",
        **_OPTIONAL,
    )
    parser.add_argument("--num-rga", type=int, metavar="N", help="VGGRGA(N): 0…5", **_OPTIONAL)
    parser.add_argument(
        "--attention",
        choices=attention_names(),
        metavar="NAME",
        help=f"in RGA's places: {', '.join(attention_names())} (default: rga_sc)",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--max-nodes",
        type=int,
        metavar="N",
        help="every RGA relates to a grid of at most N cells (default: where that saves much)",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        help="VGGRGA's encoder: vgg16, resnet50, resnet101, densenet121, mobilenetv2 or "
        "efficientnetv2b0 (default: vgg16)",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--model-arg",
        type=_model_arg,
        action="append",
        metavar="NAME=VALUE",
        help="any other argument of the model's builder, such as filters=32, with_ca=false or "
        'streams=["fine"]; may be repeated',
        **_OPTIONAL,
    )
    _add_data_arguments(
        parser,
        "'popout': the embedded displays, with a small recipe of their own (default: popout); may "
        "be repeated, to train on several together",
        action="append",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--weights",
        type=_positive,
        nargs="+",
        metavar="N",
        help="how many times an epoch shows each training image, for each --data (default: once)",
        **_OPTIONAL,
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs", **_OPTIONAL)
    parser.add_argument(
        "--max-time",
        type=_minutes,
        metavar="MINUTES",
        help="end after it, if the epochs have not; 'none' for no such end",
        **_OPTIONAL,
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step", **_OPTIONAL)
    parser.add_argument(
        "--input-size",
        type=_size,
        metavar="SIZE",
        help="network's frame, such as 256 or 240x320 (height x width), multiples of 16",
        **_OPTIONAL,
    )
    parser.add_argument("--loss", choices=LOSSES, help="what training minimizes", **_OPTIONAL)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="that minimizes it", **_OPTIONAL)
    parser.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="before it falls", **_OPTIONAL
    )
    parser.add_argument(
        "--weight-decay",
        type=float,
        metavar="X",
        help="times the learning rate, the part of each weight that a step takes away",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="how the learning rate falls: by a factor every few epochs, or as a cosine",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--warmup",
        dest="warmup_epochs",
        type=float,
        metavar="EPOCHS",
        help="of --schedule cosine: the learning rate rises this long",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="step once every N batches, by their mean gradient",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--clip-norm", type=float, metavar="X", help="shorten longer gradients to it", **_OPTIONAL
    )
    parser.add_argument(
        "--ema",
        type=float,
        metavar="MOMENTUM",
        help="validate and keep a moving average of the weights, such as of 0.999 a batch",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--early-stopping",
        type=int,
        metavar="EPOCHS",
        help="stop after so many without a better validation loss",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--encoder-rate",
        type=float,
        metavar="FACTOR",
        help="multiply the learning rate by it for the encoder",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--freeze-encoder",
        type=int,
        metavar="N",
        help="do not train the encoder in the first N epochs",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--frozen-stages",
        type=int,
        metavar="N",
        help="never train the encoder's first N stages, from the image on",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--backbone-weights",
        metavar="WEIGHTS",
        help="of the encoder: 'imagenet', a file, or 'none'",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--augment",
        nargs="?",
        choices=(*AUGMENTATIONS, "none"),
        const="gaze",
        metavar="|".join((*AUGMENTATIONS, "none")),
        help="flip, rotate, crop and recolour the training images, as far as gaze (the default "
        "without a name) or objects bear it",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--mixed-precision", choices=["bfloat16", "float16"], help="compute in it", **_OPTIONAL
    )
    parser.add_argument(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compile by XLA; otherwise Keras chooses (on a GPU yes, on a CPU no)",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same weights to the last bit every time; slower",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        help="share each batch among all devices of this process, or among several processes",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of all that is random (default: 0)", **_OPTIONAL
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="run folder (a new one in runs/)", **_OPTIONAL
    )
    parser.add_argument(
        "--init",
        metavar="RUN|FILE",
        help="start from a whole model: a run folder, a .keras or .weights.h5 file",
        **_OPTIONAL,
    )
    parser.set_defaults(command=lambda arguments: _train(arguments, parser))


def _add_data_arguments(parser, more, **options):
    parser.add_argument(
        "--data",
        metavar="NAME|FOLDER|TOML",
        help=f"dataset: a folder, a public one's name, or a TOML file; {more}",
        **options,
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out images with bad files instead of stopping",
        **_OPTIONAL,
    )


def _checked_dataset(data, skip_bad):
    from rich.console import Console

    from keras_salnet.data import check, load_dataset

    return check(load_dataset(data), skip_bad, _progress(Console(stderr=True)))


def _progress(console):
    """Function (items, title) → items that shows a bar while they are gone through."""
    from rich.progress import track

    return lambda items, title: track(
        items, title, console=console, transient=True, disable=not console.is_terminal
    )


def _size(text):
    """'256' or '240x320' → (height, width)."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 256 or 240x320")
    return int(parts[0]), int(parts[-1])


def _model_arg(text):
    """'filters=32' → ("filters", 32): the value as JSON, or else as text."""
    name, found, value = text.partition("=")
    if not found or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as filters=32")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _minutes(text):
    return None if text == "none" else float(text)


def _train(arguments, parser):
    given = {name: value for name, value in vars(arguments).items() if name != "command"}
    if "resume" in given and len(given) > 1:
        flags = {action.dest: action.option_strings[0] for action in parser._actions}
        others = ", ".join(flags[name] for name in given if name != "resume")
        parser.error(f"--resume goes on as the run began; leave out {others}")
    run = _resume(given["resume"]) if "resume" in given else _begin(given, parser.error)
    print(_training_summary(run))


def _resume(run):
    _start_keras()
    from keras_salnet.training import fit

    return fit.resume(run, track=_training_progress())


def _begin(given, misused):
    data = _weighted(given.get("data", ["popout"]), given.get("weights"), misused)
    model = given.get("model") or RECIPES[given.get("recipe", "vggrga")].model
    recipe = recipe_for(model, data, given.get("recipe"))
    if "init" in given:
        recipe = recipe.replace(**_shape_of_run(given["init"]))
    changes = _among(
        given,
        *("epochs", "batch_size", "input_size", "augment", "learning_rate", "schedule"),
        *("warmup_epochs", "encoder_rate", "freeze_encoder", "accumulate", "clip_norm", "ema"),
        *("early_stopping", "max_time", "loss", "optimizer", "weight_decay", "frozen_stages"),
    )
    if changes.get("augment") == "none":
        changes["augment"] = None
    changes["model_args"] = {
        **dict(given.get("model_arg", ())),
        **_among(given, "num_rga", "attention", "max_nodes", "backbone"),
    }
    if "backbone_weights" in given:
        weights = given["backbone_weights"]
        # A file's whole path: a run may be resumed from another folder.
        named = {"none": None, "imagenet": "imagenet"}
        changes["backbone_weights"] = (
            named[weights] if weights in named else str(Path(weights).expanduser().absolute())
        )
    recipe = recipe.replace(**changes)
    if "warmup_epochs" in given and recipe.schedule != "cosine":
        misused("--warmup is for --schedule cosine")
    if given.get("strategy") == "multi-worker" and "out" not in given:
        misused("--strategy multi-worker: give --out, a folder that all workers see")

    from keras_salnet.data import load_dataset

    dataset = load_dataset(data)
    started = time.strftime("%Y%m%d-%H%M%S")
    out = given.get("out") or RUNS / f"{started}-{recipe.model}-{dataset.name}"
    _start_keras()
    from keras_salnet.training import fit

    options = _among(
        given,
        *("seed", "mixed_precision", "jit", "init", "skip_bad", "deterministic", "strategy"),
    )
    return fit.train(recipe, dataset, out, **options, track=_training_progress())


def _among(given, *names):
    return {name: given[name] for name in names if name in given}


def _training_progress():
    from rich.console import Console

    return _progress(Console(stderr=True))


def _weighted(data, weights, misused):
    """What `load_dataset` takes: one name, or a list with each as many times as its weight."""
    weights = weights or [1] * len(data)
    if len(weights) != len(data):
        misused(f"--weights: give one for each --data, {len(data)} in all, not {len(weights)}")
    data = [name for name, weight in zip(data, weights, strict=True) for _ in range(weight)]
    return data[0] if len(data) == 1 else data


def _shape_of_run(init):
    """The part of a run's recipe that its weights depend on; nothing for a model of no run."""
    from keras_salnet.predictor import run_config

    run, config = run_config(init)
    if run is None:
        return {}
    return _among(config["recipe"], "model", "model_args", "input_size", "fit")


def _training_summary(out):
    lines = [f"Trained: {out}"]
    for file, what in (
        ("model.keras", "the model, for Keras"),
        ("best.weights.h5", "its weights alone"),
        ("saved_model", "for TensorFlow Serving"),
        ("model.tflite", "for phones"),
        ("history.csv", "losses of every epoch"),
        ("training.png", "the same as curves"),
    ):
        if (out / file).exists():
            lines.append(f"  {file:<16} {what}")
    lines.append(f"Next: keras-salnet evaluate {out}")
    return "\n".join(lines)


def _add_model_argument(parser, *flags, **options):
    parser.add_argument(
        *flags,
        metavar="MODEL",
        help="a run folder, a .keras file, or an exported model (default: the newest run)",
        **options,
    )


def _newest_run():
    finished = [path.parent for path in RUNS.glob("*/model.keras")]
    if not finished:
        raise FileNotFoundError(
            "there is no finished run in runs/ to take; name a model, or train one first: "
            "keras-salnet train"
        )
    return max(finished, key=lambda run: (run / "model.keras").stat().st_mtime)


def _load_predictor(model, **options):
    from keras_salnet.predictor import Predictor

    if Path(model).suffix not in (".tflite", ".onnx"):  # which need no Keras
        _start_keras()
    return Predictor.load(model, **options)


def _add_evaluate(commands):
    parser = _add_command(
        commands,
        "evaluate",
        _evaluate,
        "Score models, or maps made by any other, on held-out images beside the centre bias and "
        "people.",
    )
    _add_model_argument(parser, "models", nargs="*")
    parser.add_argument(
        "--maps",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="also score the maps there, one an image, of its name: .npy, .mat, .png or .jpg; "
        "may be repeated",
    )
    _add_data_arguments(
        parser,
        "may be repeated (default: what the run was trained on)",
        action="append",
        default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--split", metavar="SPLIT", help="or 'all' (default: test, else val)", **_OPTIONAL
    )
    parser.add_argument(
        "--convention",
        choices=["mit", "pysaliency"],
        default="mit",
        help="of the metrics, where the two references differ",
    )
    parser.add_argument("--emd", action="store_true", help="also compute EMD, which is slow")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what metrics draw")
    parser.add_argument(
        "--workers",
        type=_positive,
        default=min(8, os.cpu_count() or 1),
        metavar="N",
        help="processes that compute scores",
    )
    for kind, what in (
        ("report", "a page with tables, distributions and examples, as HTML"),
        ("json", "all results as JSON"),
        ("csv", "each image's scores as CSV"),
    ):
        parser.add_argument(
            f"--{kind}", type=Path, metavar="FILE", help=f"file to write: {what}", **_OPTIONAL
        )


def _positive(text):
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _evaluate(arguments):
    given = vars(arguments)
    for kind in ("report", "json", "csv"):
        if kind in given and given[kind].is_dir():
            raise IsADirectoryError(f"--{kind} {given[kind]}: is a folder; name a file.")
    models = [Path(model) for model in arguments.models]
    if not (models or arguments.maps):
        models = [_newest_run()]

    from rich.console import Console

    from keras_salnet.evaluation import SavedMaps, evaluate, write_csv, write_json, write_report
    from keras_salnet.evaluation.table import tables

    console = Console()
    track = _progress(console)
    scored = {model: _load_predictor(model) for model in models}
    data = given.get("data") or _data_of_runs(scored)
    scored |= {folder: SavedMaps(folder) for folder in arguments.maps}
    # A name may stand for two of them; a path does not.
    names = [predictor.name for predictor in scored.values()]
    predictors = {
        predictor.name if names.count(predictor.name) == 1 else str(path): predictor
        for path, predictor in scored.items()
    }

    datasets = [_checked_dataset(name, "skip_bad" in given) for name in data]
    for dataset in datasets:
        for folder in arguments.maps:
            split = given.get("split") or dataset.held_out
            scored[folder].check(dataset[split], track)
    targets = {kind: [given[kind]] if kind in given else [] for kind in ("report", "json", "csv")}
    as_trained = "data" not in given and "split" not in given and arguments.convention == "mit"
    if as_trained and len(scored) == 1 and (models[0] / "config.json").is_file():
        targets["json"].append(models[0] / "evaluation.json")
    evaluations = []
    for dataset in datasets:
        evaluation = evaluate(
            predictors,
            dataset,
            given.get("split"),
            arguments.convention,
            emd=arguments.emd,
            seed=arguments.seed,
            workers=arguments.workers,
            track=track,
        )
        evaluations.append(evaluation)
        console.print(*tables(evaluation))
        # After each, so that nothing is lost should the next fail.
        for write, kind in ((write_json, "json"), (write_csv, "csv")):
            for target in targets[kind]:
                write(evaluations, target)
    for target in targets["report"]:
        write_report(evaluations, predictors, target)
    for target in itertools.chain(*targets.values()):
        console.print(f"Written: {target}", highlight=False, soft_wrap=True)


def _data_of_runs(predictors):
    found = [predictor.config.get("data") for predictor in predictors.values()] or [None]
    if found[0] is None or found.count(found[0]) != len(found):
        raise ValueError("what to score on is not known from the models; give --data.")
    return list(dict.fromkeys(found[0] if isinstance(found[0], list) else found[:1]))


def _add_predict(commands):
    parser = _add_command(
        commands, "predict", _predict, "Draw where people look in images: map and overlay."
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE|FOLDER", help="images, or folders of them"
    )
    _add_model_argument(parser, "--model", **_OPTIONAL)
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), metavar="FOLDER", help="where to write"
    )
    parser.add_argument("--npy", action="store_true", help="also write the map as float32 .npy")
    parser.add_argument(
        "--input-size",
        type=_size,
        metavar="SIZE",
        help="frame of a model that takes any, as 240x320 (default: the image's own, with at most "
        "512 pixels on the longest side)",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--show-attention",
        action="store_true",
        help="also draw each attention layer's mask and strongest channels, and a Grad-CAM",
    )
    parser.add_argument("--force", action="store_true", help="replace pictures that are there")


def _predict(arguments):
    from keras_salnet.data.readers import list_images

    images = []
    for path in map(Path, arguments.images):
        images.extend(list_images(path) if path.is_dir() else [path])
    images = list({image.resolve(): image for image in images}.values())
    endings = ["_saliency.png", "_overlay.png"] + (["_saliency.npy"] if arguments.npy else [])
    endings += ["_attention.png"] if arguments.show_attention else []
    outputs = {}
    for image in images:
        for ending in endings:
            target = arguments.out / f"{image.stem}{ending}"
            if target in outputs:
                raise ValueError(
                    f"{outputs[target]} and {image} would both be written as {target}; predict "
                    "them into different --out folders."
                )
            if target.exists() and not arguments.force:
                raise FileExistsError(f"{target}: is there already; give --force to replace it.")
            outputs[target] = image
    given = vars(arguments)
    model = given.get("model") or _newest_run()

    import numpy as np
    from rich.progress import track

    from keras_salnet.data.sample import read_image
    from keras_salnet.files import atomic
    from keras_salnet.visualize import overlay, to_grey, write_picture

    predictor = _load_predictor(model, **_among(given, "input_size"))
    if arguments.show_attention:
        from keras_salnet.explain import draw_attention

        net = _load_layers(model)
    failed = []
    for path in track(
        images, "predicting", transient=True, disable=len(images) == 1 or not sys.stdout.isatty()
    ):
        try:
            image = read_image(path)
        except (OSError, ValueError) as error:
            failed.append(str(error))
            continue
        saliency = predictor(image)
        target = arguments.out / path.stem
        write_picture(f"{target}_saliency.png", to_grey(saliency))
        write_picture(f"{target}_overlay.png", overlay(image, saliency))
        if arguments.npy:
            with atomic(f"{target}_saliency.npy") as draft:
                np.save(draft, saliency)
        if arguments.show_attention:
            frame = predictor.frame(image.shape[:2])
            draw_attention(net, image, Path(f"{target}_attention.png"), predictor.fit, frame=frame)
    done = len(images) - len(failed)
    print(f"{done} of {len(images)} images predicted by {predictor.name} into {arguments.out}/")
    if failed:
        raise ValueError("\n       ".join(failed))


def _load_layers(model):
    """The Keras model, which has its layers, of a run or a file."""
    from keras_salnet.models import load_model

    file = Path(model) / "model.keras" if Path(model).is_dir() else Path(model)
    if file.suffix != ".keras" or not file.exists():
        raise ValueError(f"{model}: --show-attention takes a run folder or a .keras file.")
    return load_model(file)


_EXPORTS = {  # the format's ending; None of a folder
    "tflite": ".tflite",
    "savedmodel": None,
    "onnx": ".onnx",
    "openvino": None,
    "keras": ".keras",
    "weights": ".weights.h5",
}
# The mean CC to Keras that an export must reach, where it is another than this.
_LEAST_CC = 0.999
_LEAST_CC_OF = {"dynamic": 0.99, "int8": 0.99}
_CHECKED_IMAGES = 8
_MEASURED_IMAGES = 128


def _add_export(commands):
    parser = _add_command(
        commands,
        "export",
        _export,
        "Export a trained model anew, for other runtimes, and check what it predicts.",
    )
    _add_model_argument(parser, "model", nargs="?", **_OPTIONAL)
    parser.add_argument("--format", choices=_EXPORTS, default="tflite", help="what to write")
    parser.add_argument(
        "--quantize",
        choices=["none", "fp16", "dynamic", "int8"],
        default="none",
        help="of tflite: weights of 16 bits (fp16) or of 8 (dynamic), or weights and activations "
        "of 8 (int8), whose ranges are measured on training images",
    )
    parser.add_argument(
        "--data",
        metavar="NAME|FOLDER|TOML",
        help="dataset whose images int8 is measured and the export checked on (default: what the "
        "run was trained on)",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of what int8 draws from the images"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="file, or folder of a SavedModel or of OpenVINO",
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")


def _export(arguments):
    model, out = Path(vars(arguments).get("model") or _newest_run()), arguments.out
    _check_target(arguments)
    if arguments.format in ("keras", "weights"):
        _start_keras()
    elif not util.find_spec("tensorflow"):
        raise ModuleNotFoundError(
            f"the export as {arguments.format} needs TensorFlow; run it where that is installed."
        )
    else:
        _start_keras("tensorflow")

    from keras_salnet.files import atomic
    from keras_salnet.models import load_model
    from keras_salnet.models.loading import in_float32

    net = in_float32(load_model(model / "model.keras" if model.is_dir() else model))
    with atomic(out) as draft:
        if arguments.format == "keras":
            net.save(draft)
        elif arguments.format == "weights":
            net.save_weights(draft)
        else:
            with _without_stderr():
                _export_checked(net, model, draft, arguments)
    print(f"Exported: {out} ({_megabytes(out):.1f} MB)")


def _check_target(arguments):
    out, ending = arguments.out, _EXPORTS[arguments.format]
    if arguments.quantize != "none" and arguments.format != "tflite":
        raise ValueError("--quantize is for --format tflite.")
    if ending and not out.name.endswith(ending):
        raise ValueError(f"--out {out}: a file of --format {arguments.format} ends in {ending}.")
    if out.exists() and not arguments.force:
        raise FileExistsError(f"{out}: is there already; give --force to replace it.")
    contents = {"savedmodel": "saved_model.pb", "openvino": "model.xml"}.get(arguments.format)
    if out.is_dir() and not (contents and (out / contents).is_file()):
        raise FileExistsError(f"{out}: is a folder of other things; nothing is replaced.")


def _export_checked(net, model, out, arguments):
    """Write what another runtime takes, and see that it predicts as Keras does."""
    from keras_salnet import export
    from keras_salnet.data import popout
    from keras_salnet.export.tflite import representative_images
    from keras_salnet.models.loading import fixed_frame
    from keras_salnet.predictor import run_config

    run, config = run_config(model)
    fit, name = (config["recipe"]["fit"], run.name) if run else ("stretch", model.stem)
    dataset = _dataset_of_export(vars(arguments), config, model)
    if arguments.format == "savedmodel":
        export.export_savedmodel(net, out, fit)
    elif arguments.format == "onnx":
        export.export_onnx(net, out, fit, name)
    elif arguments.format == "openvino":
        export.export_openvino(net, out, fit, name)
    else:
        images = None
        if arguments.quantize == "int8":
            frame = fixed_frame(net)
            images = representative_images(dataset, frame, fit, _MEASURED_IMAGES, arguments.seed)
        export.export_tflite(net, out, arguments.quantize, images, fit, name)

    if dataset is None:
        images = [popout.draw(2, index)[0] for index in range(_CHECKED_IMAGES)]
    else:
        samples = dataset[dataset.held_out]
        images = [sample.image for sample in samples[:: -(-len(samples) // _CHECKED_IMAGES)]]
    least = _LEAST_CC_OF.get(arguments.quantize, _LEAST_CC)
    scores = export.check_export(out, net, images, fit, least)
    print(
        f"Checked: on {len(images)} images of {dataset.name if dataset else 'popout'} it predicts "
        f"as Keras does, to a mean CC of {sum(scores) / len(scores):.5f} (lowest "
        f"{min(scores):.5f})"
    )


def _dataset_of_export(given, config, model):
    """The dataset that was named, or that of the run, or None where that is not at hand."""
    from keras_salnet.data import load_dataset

    if "data" in given:
        return load_dataset(given["data"])
    try:
        if "data" not in config:
            raise ValueError(f"{model}: is of no run, so that its data is not known")
        return load_dataset(config["data"])
    except (OSError, ValueError) as error:
        if given["quantize"] == "int8":
            raise ValueError(
                f"--quantize int8 measures on images; name some by --data ({error})"
            ) from None
        return None


def _megabytes(path):
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def _add_models(commands):
    _add_command(
        commands,
        "models",
        _models,
        "List the models that can be trained: their parameters, the frame (height x width) that "
        "their recipe trains in, and the paper.",
    )


def _models(arguments):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("model", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("parameters", "input"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("source")
    for name, entry in MODELS.items():
        height, width = RECIPES[name].input_size
        table.add_row(name, f"{entry.parameters:,}", f"{height}x{width}", entry.source)
    Console(highlight=False).print(table)


def _add_datasets(commands):
    parser = _add_command(
        commands,
        "datasets",
        _datasets,
        "List the public datasets that are described, and where to get them; or check one.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    check = _add_command(
        actions,
        "check",
        _datasets_check,
        "Decode every file of a dataset, see that image and ground truth belong together and that "
        "no image stands in two splits, and say what there is.",
    )
    check.add_argument("data", metavar="NAME|FOLDER|TOML", help="dataset")
    check.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="folder of the public dataset of that name, where it is called otherwise",
        **_OPTIONAL,
    )
    check.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="draw some images with their ground truth there, as .jpg or .png",
        **_OPTIONAL,
    )
    prepare = _add_command(
        actions,
        "prepare",
        _datasets_prepare,
        "Decode and resize a dataset once for all trainings. The folder that it leaves can be "
        "given as --data; run again after an interruption, it goes on where it was.",
    )
    prepare.add_argument("data", metavar="NAME|FOLDER|TOML", help="dataset")
    prepare.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder to make or complete"
    )
    prepare.add_argument(
        "--size", type=_size, default="256", metavar="SIZE", help="network's frame, as 240x320"
    )
    prepare.add_argument(
        "--fit", choices=["stretch", "pad"], default="stretch", help="images into it"
    )
    prepare.add_argument(
        "--workers",
        type=_positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes that decode",
    )
    prepare.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out images with bad files instead of stopping",
    )


def _datasets(arguments):
    from keras_salnet.data.datasets import descriptions

    for name, description in descriptions().items():
        print(f"{name:<10} {description['title']}")
        print(f"{'':<10} {description['url']} (licence: {description['licence']})")


def _datasets_check(arguments):
    given = vars(arguments)
    sheet = given.get("sheet")
    if sheet is not None and sheet.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise ValueError(f"--sheet {sheet}: must end as a picture does, in .png or .jpg.")

    from rich.console import Console

    from keras_salnet.data import load_dataset
    from keras_salnet.data.sheet import contact_sheet
    from keras_salnet.data.survey import survey
    from keras_salnet.visualize import write_picture

    console = Console()
    dataset = load_dataset(arguments.data, given.get("path"))
    found = survey(dataset, _progress(Console(stderr=True)))
    console.print(found.table())
    if sheet is not None:
        write_picture(sheet, contact_sheet(dataset))
        console.print(f"Written: {sheet}", highlight=False, soft_wrap=True)
    if found.errors:
        raise ValueError("\n".join(f"{dataset.name}: {error}" for error in found.errors))
    print("Every file can be used.")


def _datasets_prepare(arguments):
    if not util.find_spec("tensorflow"):
        raise ModuleNotFoundError(
            "prepare needs TensorFlow, which writes the records; run it where that is installed. "
            "Training from them does not need it."
        )
    dataset = _checked_dataset(arguments.data, arguments.skip_bad)
    _import_tensorflow_quietly()

    from rich.console import Console

    from keras_salnet.data import prepare

    out = prepare(
        dataset,
        arguments.out,
        frame=arguments.size,
        fit=arguments.fit,
        workers=arguments.workers,
        track=_progress(Console(stderr=True)),
    )
    print(f"Prepared: {out}\nNext: keras-salnet train --data {out}")


if __name__ == "__main__":
    sys.exit(main())
