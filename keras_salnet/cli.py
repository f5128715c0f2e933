"""The command line: train | evaluate | predict | serve | export | models | datasets.

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
from keras_salnet.shipped import DEFAULT, SHIPPED, shipped_recipe
from keras_salnet.training.recipes import (
    AUGMENTATIONS,
    LOSSES,
    OPTIMIZERS,
    RECIPES,
    SCHEDULES,
    STRATEGIES,
    recipe_for,
)
from keras_salnet.versions import version_folder

RUNS = Path("runs")

# What commands take for a trained model.
_SHIPPED = " or ".join(f"'{name}'" for name in SHIPPED)
_URL = "with its checksum: https://HOST/model.keras#sha256=HEX"
_MODELS = f"{_SHIPPED}, a run folder, a SavedModel, a .keras or .tflite file, or its URL {_URL}"

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
    for add in (
        *(_add_train, _add_evaluate, _add_predict, _add_serve, _add_export),
        *(_add_models, _add_datasets),
    ):
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
        metavar="NAME|RUN|FILE|URL",
        help=f"start from a whole model: {_SHIPPED}, a run folder, a .keras or .weights.h5 file, "
        f"or the URL of one, {_URL}",
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
    """Function (items, title, their number) → items that shows a bar while they are gone through.

    Without the number, it is that of the items.
    """
    from rich.progress import track

    return lambda items, title, total=None: track(
        items, title, total, console=console, transient=True, disable=not console.is_terminal
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
    """The part of a recipe that a model's weights depend on; nothing for a model of no run."""
    from keras_salnet.predictor import run_config

    if init in SHIPPED:
        recipe = vars(shipped_recipe(init))
    else:
        run, config = run_config(init)
        recipe = config["recipe"] if run else {}
    return _among(recipe, "model", "model_args", "input_size", "fit")


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
        help=f"{_MODELS} (default: the newest run)",
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

    file = str(model).partition("#")[0]  # of a URL, what comes before its checksum
    if model not in SHIPPED and not file.endswith((".tflite", ".onnx")):  # which need no Keras
        _start_keras()
    with _without_stderr():
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
    models = arguments.models
    if not (models or arguments.maps):
        models = [str(_newest_run())]

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
    if as_trained and len(scored) == 1 and Path(models[0], "config.json").is_file():
        targets["json"].append(Path(models[0], "evaluation.json"))
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
        commands,
        "predict",
        _predict,
        "Draw where people look in images, videos, or before a camera. What is there already is "
        "left as it is: run again, a job goes on where it was.",
    )
    parser.add_argument(
        "inputs", nargs="*", metavar="IMAGE|VIDEO|FOLDER", help="files, or folders of images"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        default=DEFAULT,
        help=_MODELS,
    )
    parser.add_argument(
        "--out",
        default="predictions",
        metavar="PATH",
        help="folder, file, or pattern with {name}, {ending}, {folder} and {kind}, such as "
        "'maps/{folder}/{name}.png'",
    )
    drawing = parser.add_argument_group(
        "what is drawn", "By default the map and the overlay; of videos the overlay."
    )
    for kind, help in (
        ("map", "the map: white, or the colour map's end, where most people look"),
        ("overlay", "the map over the image"),
        ("side-by-side", "the image beside its overlay"),
    ):
        drawing.add_argument(
            f"--{kind}",
            dest="kinds",
            action="append_const",
            const="saliency" if kind == "map" else kind.replace("-", "_"),
            help=help,
            **_OPTIONAL,
        )
    drawing.add_argument("--npy", action="store_true", help="also write the map as float32 .npy")
    drawing.add_argument(
        "--show-attention",
        action="store_true",
        help="also draw each attention layer's mask and strongest channels, and a Grad-CAM",
    )
    drawing.add_argument(
        "--colormap",
        metavar="NAME",
        help="inferno, viridis, turbo, jet or hot (default: grey maps, inferno over images)",
        **_OPTIONAL,
    )
    drawing.add_argument(
        "--threshold",
        type=_part,
        default=0.0,
        metavar="PART",
        help="leave out what is below this part of a map's maximum, 0…1: 'crisp' maps",
    )
    parser.add_argument(
        "--input-size",
        type=_size,
        metavar="SIZE",
        help="frame of a model that takes any, as 240x320 (default: the image's own, with at most "
        "512 pixels on the longest side)",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        default=(1, 1),
        metavar="I/N",
        help="only the I-th of N parts of the images, for N machines",
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")
    video = parser.add_argument_group("videos and cameras")
    video.add_argument(
        "--camera",
        metavar="NUMBER|URL",
        help="take a camera's pictures, 0 for the first; show them, or record them to --out VIDEO",
        **_OPTIONAL,
    )
    video.add_argument(
        "--seconds", type=_seconds, metavar="S", help="of a camera: end after them", **_OPTIONAL
    )
    video.add_argument(
        "--smoothing",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="mean of the maps over about so many seconds, for calmer videos",
    )
    parser.set_defaults(command=lambda arguments: _predict(arguments, parser.error))


def _part(text):
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _seconds(text):
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time in seconds")
    return value


def _shard(text):
    """'2/8' → (2, 8)."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 2/8")
    return int(part), int(parts)


def _predict(arguments, misused):
    given = vars(arguments)
    if bool(arguments.inputs) == ("camera" in given):
        misused("name images, videos or folders, or give --camera")

    predictor = _load_predictor(arguments.model, **_among(given, "input_size"))
    drawing = _among(given, "colormap", "threshold")
    if "camera" in given:
        _predict_camera(given, predictor, drawing)
        return
    from keras_salnet.prediction.video import is_video

    videos = [path for path in map(Path, arguments.inputs) if is_video(path)]
    images = [path for path in map(Path, arguments.inputs) if not is_video(path)]
    for video in videos:
        _predict_video(video, given, predictor, drawing, several=len(arguments.inputs) > 1)
    if images:
        _predict_images(images, given, predictor, drawing)


def _predict_images(inputs, given, predictor, drawing):
    import numpy as np
    from rich.console import Console

    from keras_salnet.data.readers import IMAGE_ENDINGS
    from keras_salnet.files import atomic
    from keras_salnet.prediction.drawing import Drawing
    from keras_salnet.prediction.images import ImageFiles, Output, Tally, predict_images
    from keras_salnet.prediction.outputs import Outputs
    from keras_salnet.visualize import write_picture

    def picture(kind):
        draw = Drawing(kind, **drawing)
        return Output(kind, lambda path, *drawn: write_picture(path, draw(*drawn)))

    def write_npy(path, image, saliency):
        with atomic(path) as draft:
            np.save(draft, saliency)

    outputs = Outputs(given["out"])
    alone = "kind" not in outputs.fields  # then there is one name only
    made = [picture(kind) for kind in given.get("kinds") or ["overlay", "saliency"][: 2 - alone]]
    if given["npy"]:
        made.append(Output("saliency", write_npy, ".npy"))
    if given["show_attention"]:
        made.append(Output("attention", _attention_drawer(given["model"], predictor)))

    files = ImageFiles(inputs, given["shard"], outputs.root)
    tally = predict_images(
        predictor, files, outputs, made, given["force"], _progress(Console(stderr=True))
    )
    if tally == Tally() and given["shard"] == (1, 1):
        raise FileNotFoundError(
            f"{', '.join(map(str, inputs))}: holds no image ({', '.join(IMAGE_ENDINGS)})."
        )
    print(f"Images predicted by {predictor.name}: {tally.done}, into {given['out']}")
    if tally.there:
        print(f"Left as they were: {tally.there} (--force replaces what is there)")
    if tally.failed:
        raise ValueError(f"{tally.failed} of the images could not be read; they are named above.")


def _attention_drawer(model, predictor):
    """Function (path, image, saliency) that draws what a model attends to."""
    from keras_salnet.explain import draw_attention

    net = _load_layers(model)

    def draw(path, image, saliency):
        frame = predictor.frame(image.shape[:2])
        draw_attention(net, image, path, predictor.fit, frame=frame)

    return draw


def _video_drawing(given, drawing):
    """How a video is drawn, which is in one way; maps in files of their own are for images."""
    from keras_salnet.prediction.drawing import Drawing

    kinds = given.get("kinds", ["overlay"])
    if len(kinds) > 1 or given["npy"] or given["show_attention"] or given["shard"] != (1, 1):
        raise ValueError(
            "of a video there is one kind of picture; --npy, --show-attention and --shard are for "
            "images."
        )
    return Drawing(kinds[0], **drawing)


def _predict_video(video, given, predictor, drawing, several):
    from rich.console import Console

    from keras_salnet.prediction.outputs import Found, Outputs
    from keras_salnet.prediction.video import predict_video

    draw = _video_drawing(given, drawing)
    outputs = Outputs(given["out"], ".mp4")
    outputs.check([draw.kind], several)
    target = outputs.path(Found(video), draw.kind)
    if target.exists() and not given["force"]:
        print(f"{target}: is there already (--force replaces it)")
        return
    options = {"smoothing": given["smoothing"], "track": _progress(Console(stderr=True))}
    frames = predict_video(predictor, video, target, draw, **options)
    print(f"{frames} frames predicted by {predictor.name}: {target}")


def _predict_camera(given, predictor, drawing):
    from keras_salnet.prediction.camera import predict_camera
    from keras_salnet.prediction.video import is_video

    out = Path(given["out"]) if is_video(given["out"]) else None
    if out is not None and out.exists() and not given["force"]:
        raise FileExistsError(f"{out}: is there already; give --force to replace it.")
    camera = given["camera"]
    predict_camera(
        predictor,
        int(camera) if camera.isdecimal() else camera,
        _video_drawing(given, drawing),
        out=out,
        smoothing=given["smoothing"],
        seconds=given.get("seconds"),
    )
    if out is not None:
        print(f"Recorded: {out}")


def _load_layers(model):
    """The Keras model, which has its layers."""
    _start_keras()
    from keras_salnet.models import load_model

    try:
        return load_model(model)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"--show-attention takes a run folder, a .keras file or a shipped model: {error}"
        ) from error


def _add_serve(commands):
    parser = _add_command(
        commands,
        "serve",
        _serve,
        "Predict for whoever asks over HTTP, from a page in a browser or as TensorFlow Serving's "
        "clients do.",
    )
    parser.add_argument("--model", metavar="MODEL", default=DEFAULT, help=_MODELS)
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="of the model in URLs (default: the model's own)",
        **_OPTIONAL,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all of the machine's"
    )
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="0 is any free one")
    parser.add_argument(
        "--batch-size",
        type=_positive,
        default=8,
        metavar="N",
        help="the most images at once for a model that takes several",
    )
    parser.add_argument(
        "--cors",
        action="append",
        metavar="ORIGIN",
        help="let the pages of this origin use the server, such as https://example.org; may be "
        "repeated",
        **_OPTIONAL,
    )
    limits = parser.add_argument_group("limits")
    for limit, kind, default, metavar, help in (
        ("--max-bytes", _positive, 20 * 2**20, "N", "of a request"),
        ("--max-pixels", _positive, 25_000_000, "N", "of an image"),
        ("--max-queue", _positive, 64, "N", "images in the server at once; more are told to wait"),
        ("--timeout", _seconds, 30.0, "S", "seconds to an answer"),
    ):
        limits.add_argument(limit, type=kind, default=default, metavar=metavar, help=help)


def _port(text):
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 0…65535")
    return int(text)


def _serve(arguments):
    for package in ("fastapi", "multipart", "orjson", "prometheus_client", "uvicorn"):
        if not util.find_spec(package):
            raise ModuleNotFoundError(
                f"serve needs {package}, which is not installed: pip install 'keras-salnet[serve]'"
            )
    from keras_salnet.serving.app import create_app
    from keras_salnet.serving.limits import Limits
    from keras_salnet.serving.server import listen, run, url

    given = vars(arguments)
    limits = Limits(**_among(given, "max_bytes", "max_pixels", "max_queue", "timeout"))
    with listen(arguments.host, arguments.port) as bound:
        predictor = _load_predictor(arguments.model)
        app = create_app(predictor, limits, **_among(given, "batch_size", "cors", "name"))
        run(
            app, bound, lambda: print(f"{app.state.name} at {url(bound)} (Ctrl-C ends)", flush=True)
        )


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
        help="file, or folder of OpenVINO, or of a SavedModel's numbered versions, which gets the "
        "next one",
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")


def _export(arguments):
    model = vars(arguments).get("model") or str(_newest_run())
    out = _target(arguments)
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

    with _without_stderr():
        net = in_float32(load_model(model))
    with atomic(out, replace=arguments.force) as draft:
        if arguments.format == "keras":
            net.save(draft)
        elif arguments.format == "weights":
            net.save_weights(draft)
        else:
            with _without_stderr():
                _export_checked(net, model, draft, arguments)
    print(f"Exported: {out} ({_megabytes(out):.1f} MB)")


def _target(arguments):
    """The file or folder to write."""
    out, ending = arguments.out, _EXPORTS[arguments.format]
    if arguments.quantize != "none" and arguments.format != "tflite":
        raise ValueError("--quantize is for --format tflite.")
    if ending and not out.name.endswith(ending):
        raise ValueError(f"--out {out}: a file of --format {arguments.format} ends in {ending}.")
    if arguments.format == "savedmodel":
        out = version_folder(out)
    if out.exists() and not arguments.force:
        raise FileExistsError(f"{out}: is there already; give --force to replace it.")
    contents = {"savedmodel": "saved_model.pb", "openvino": "model.xml"}.get(arguments.format)
    if out.is_dir() and not (contents and (out / contents).is_file()):
        raise FileExistsError(f"{out}: is a folder of other things; nothing is replaced.")
    return out


def _export_checked(net, model, out, arguments):
    """Write what another runtime takes, and see that it predicts as Keras does."""
    from keras_salnet import export
    from keras_salnet.data import popout
    from keras_salnet.export.savedmodel import write_savedmodel
    from keras_salnet.export.tflite import representative_images
    from keras_salnet.models.loading import fixed_frame
    from keras_salnet.predictor import run_config

    run, config = (None, {}) if model in SHIPPED else run_config(model)
    fit, name = (config["recipe"]["fit"], run.name) if run else ("stretch", Path(model).stem)
    dataset = _dataset_of_export(vars(arguments), config, model)
    if arguments.format == "savedmodel":
        write_savedmodel(net, out, fit, name)
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
    print(f"Trained, in the package: {_SHIPPED} (keras-salnet predict)")


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
