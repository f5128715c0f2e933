"""keras-salnet train."""

import argparse
import dataclasses
import json
import time
from pathlib import Path

from keras_salnet.cli.arguments import (
    CHECKED_URL,
    OPTIONAL,
    SHIPPED_NAMES,
    add_command,
    add_data_arguments,
    among,
    positive,
    size,
)
from keras_salnet.cli.environment import progress, start_keras
from keras_salnet.layers.registry import attention_names
from keras_salnet.models.presets import SHIPPED, preset
from keras_salnet.models.registry import names
from keras_salnet.runs import RUNS, run_of
from keras_salnet.training.recipes import (
    AUGMENTATIONS,
    LOSSES,
    OPTIMIZERS,
    RECIPES,
    SCHEDULES,
    STRATEGIES,
    fine_tuning,
    recipe_for,
)


def add(commands):
    """Add the command to the others."""
    parser = add_command(
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
        **OPTIONAL,
    )
    parser.add_argument(
        "--model", choices=names(), help="which model (default: vggrga)", **OPTIONAL
    )
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        help="train as another model is trained (default: as the model's own paper has it; with "
        "--init, as suits a trained model and few images)",
        **OPTIONAL,
    )
    parser.add_argument("--num-rga", type=int, metavar="N", help="VGGRGA(N): 0…5", **OPTIONAL)
    parser.add_argument(
        "--attention",
        choices=attention_names(),
        metavar="NAME",
        help=f"in RGA's places: {', '.join(attention_names())} (default: rga_sc)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--max-nodes",
        type=int,
        metavar="N",
        help="every RGA relates to a grid of at most N cells (default: where that saves much)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        help="VGGRGA's encoder: vgg16, resnet50, resnet101, densenet121, mobilenetv2 or "
        "efficientnetv2b0 (default: vgg16)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--model-arg",
        type=_model_arg,
        action="append",
        metavar="NAME=VALUE",
        help="any other argument of the model's builder, such as filters=32, with_ca=false or "
        'streams=["fine"]; may be repeated',
        **OPTIONAL,
    )
    add_data_arguments(
        parser,
        "'popout': the embedded displays, with a small recipe of their own (default: popout); may "
        "be repeated, to train on several together",
        action="append",
        **OPTIONAL,
    )
    parser.add_argument(
        "--weights",
        type=positive,
        nargs="+",
        metavar="N",
        help="how many times an epoch shows each training image, for each --data (default: once)",
        **OPTIONAL,
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs", **OPTIONAL)
    parser.add_argument(
        "--max-time",
        type=_minutes,
        metavar="MINUTES",
        help="end after it, if the epochs have not; 'none' for no such end",
        **OPTIONAL,
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step", **OPTIONAL)
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="SIZE",
        help="network's frame, such as 256 or 240x320 (height x width), multiples of 16",
        **OPTIONAL,
    )
    parser.add_argument("--loss", choices=LOSSES, help="what training minimizes", **OPTIONAL)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="that minimizes it", **OPTIONAL)
    parser.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="before it falls", **OPTIONAL
    )
    parser.add_argument(
        "--weight-decay",
        type=float,
        metavar="X",
        help="times the learning rate, the part of each weight that a step takes away",
        **OPTIONAL,
    )
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="how the learning rate falls: by a factor every few epochs, or as a cosine",
        **OPTIONAL,
    )
    parser.add_argument(
        "--warmup",
        dest="warmup_epochs",
        type=float,
        metavar="EPOCHS",
        help="of --schedule cosine: the learning rate rises this long",
        **OPTIONAL,
    )
    parser.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="step once every N batches, by their mean gradient",
        **OPTIONAL,
    )
    parser.add_argument(
        "--clip-norm", type=float, metavar="X", help="shorten longer gradients to it", **OPTIONAL
    )
    parser.add_argument(
        "--ema",
        type=float,
        metavar="MOMENTUM",
        help="validate and keep a moving average of the weights, such as of 0.999 a batch",
        **OPTIONAL,
    )
    parser.add_argument(
        "--early-stopping",
        type=int,
        metavar="EPOCHS",
        help="stop after so many without a better validation loss",
        **OPTIONAL,
    )
    parser.add_argument(
        "--encoder-rate",
        type=float,
        metavar="FACTOR",
        help="multiply the learning rate by it for the encoder",
        **OPTIONAL,
    )
    parser.add_argument(
        "--freeze-encoder",
        type=int,
        metavar="N",
        help="do not train the encoder in the first N epochs",
        **OPTIONAL,
    )
    parser.add_argument(
        "--frozen-stages",
        type=int,
        metavar="N",
        help="never train the encoder's first N stages, from the image on",
        **OPTIONAL,
    )
    parser.add_argument(
        "--backbone-weights",
        metavar="WEIGHTS",
        help="of the encoder: 'imagenet', a file, or 'none'",
        **OPTIONAL,
    )
    parser.add_argument(
        "--augment",
        nargs="?",
        choices=(*AUGMENTATIONS, "none"),
        const="gaze",
        metavar="|".join((*AUGMENTATIONS, "none")),
        help="flip, rotate, crop and recolour the training images, as far as gaze (the default "
        "without a name) or objects bear it",
        **OPTIONAL,
    )
    parser.add_argument(
        "--mixed-precision", choices=["bfloat16", "float16"], help="compute in it", **OPTIONAL
    )
    parser.add_argument(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compile by XLA; otherwise Keras chooses (on a GPU yes, on a CPU no)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same weights to the last bit every time; slower",
        **OPTIONAL,
    )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        help="share each batch among all devices of this process, or among several processes",
        **OPTIONAL,
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of all that is random (default: 0)", **OPTIONAL
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="run folder (a new one in runs/)", **OPTIONAL
    )
    parser.add_argument(
        "--init",
        metavar="NAME|RUN|FILE|URL",
        help=f"start from a whole model: {SHIPPED_NAMES}, a run folder, a .keras or .weights.h5 "
        f"file, or the URL of one, {CHECKED_URL}",
        **OPTIONAL,
    )


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
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in minutes, nor 'none'") from None


def _train(arguments):
    parser = arguments.parser
    given = {
        name: value for name, value in vars(arguments).items() if name not in ("command", "parser")
    }
    if "resume" in given and len(given) > 1:
        flags = {action.dest: action.option_strings[0] for action in parser._actions}
        others = ", ".join(flags[name] for name in given if name != "resume")
        parser.error(f"--resume goes on as the run began; leave out {others}")
    run = _resume(given["resume"]) if "resume" in given else _begin(given, parser)
    print(_training_summary(run))


def _resume(run):
    start_keras()
    from keras_salnet.training import run

    return run.resume(run, track=progress())


def _begin(given, parser):
    data = _weighted(given.get("data", ["popout"]), given.get("weights"), parser)
    trained = _trained_as(given["init"]) if "init" in given else {}
    by_recipe = RECIPES[given.get("recipe", "vggrga")].model
    model = given.get("model") or trained.get("model") or by_recipe
    recipe = recipe_for(model, data, given.get("recipe"))
    if "init" in given and "recipe" not in given:
        recipe = fine_tuning(recipe)
    if trained.get("model") == model:
        recipe = dataclasses.replace(recipe, **trained)
    changes = among(
        given,
        *("epochs", "batch_size", "input_size", "augment", "learning_rate", "schedule"),
        *("warmup_epochs", "encoder_rate", "freeze_encoder", "accumulate", "clip_norm", "ema"),
        *("early_stopping", "max_time", "loss", "optimizer", "weight_decay", "frozen_stages"),
    )
    if changes.get("augment") == "none":
        changes["augment"] = None
    changes["model_args"] = {
        **dict(given.get("model_arg", ())),
        **among(given, "num_rga", "attention", "max_nodes", "backbone"),
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
        parser.error("--warmup is for --schedule cosine")
    if given.get("strategy") == "multi-worker" and "out" not in given:
        parser.error("--strategy multi-worker: give --out, a folder that all workers see")

    from keras_salnet.data import load_dataset

    dataset = load_dataset(data)
    started = time.strftime("%Y%m%d-%H%M%S")
    out = given.get("out") or RUNS / f"{started}-{recipe.model}-{dataset.name}"
    start_keras()
    from keras_salnet.training import run

    options = among(
        given,
        *("seed", "mixed_precision", "jit", "init", "skip_bad", "deterministic", "strategy"),
    )
    return run.train(recipe, dataset, out, **options, track=progress())


def _weighted(data, weights, parser):
    """What `load_dataset` takes: one name, or a list with each as many times as its weight."""
    weights = weights or [1] * len(data)
    if len(weights) != len(data):
        parser.error(f"--weights: give one for each --data, {len(data)} in all, not {len(weights)}")
    data = [name for name, weight in zip(data, weights, strict=True) for _ in range(weight)]
    return data[0] if len(data) == 1 else data


def _trained_as(init):
    """The part of a recipe that a model's weights depend on; nothing for a model of no run."""
    if init in SHIPPED:
        recipe = preset(init)
    else:
        run = run_of(init)
        recipe = run.config["recipe"] if run else {}
    return among(recipe, "model", "model_args", "input_size", "resize")


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
