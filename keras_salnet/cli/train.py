"""keras-salnet train."""

import argparse
import dataclasses
import time
from pathlib import Path

from keras_salnet.cli.arguments import (
    CHECKED_URL,
    OPTIONAL,
    SHIPPED_NAMES,
    add_command,
    add_data_arguments,
    add_field,
    pick,
    positive,
)
from keras_salnet.cli.environment import progress, start_keras
from keras_salnet.layers.registry import attention_names
from keras_salnet.models.presets import SHIPPED, preset
from keras_salnet.models.registry import names
from keras_salnet.runs import RUNS, Run, run_of
from keras_salnet.training.recipes import RECIPES, STRATEGIES, Recipe, fine_tuning, recipe_for

# Fields of a recipe that are options, in the groups of --help.
_FIELDS = [field for field in dataclasses.fields(Recipe) if "group" in field.metadata]

# Arguments of VGGRGA that need no --model-arg.
_SHORTCUTS = ("num_rga", "attention", "max_nodes", "backbone")

_DESCRIPTION = (
    "Train a model and leave a run folder with its weights, history and exports. Options that are "
    "not given follow the model's recipe, which is that of its paper; their defaults below are "
    "those of vggrga, then those of the recipes that differ. With --init, the default is a recipe "
    "for fine-tuning on few images."
)


def add(commands):
    """Add the command to the others."""
    parser = add_command(commands, "train", _train, _DESCRIPTION)
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="resume an interrupted run; takes no other option",
        **OPTIONAL,
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="run folder to create (default: a new one in runs/)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="random seed (default: 0)", **OPTIONAL
    )
    model, data = parser.add_argument_group("model"), parser.add_argument_group("data")
    _add_model(model)
    _add_data(data)
    groups = {"model": model, "data": data}
    for field in _FIELDS:
        name = field.metadata["group"]
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        add_field(groups[name], field, _defaults(field))
    _add_hardware(parser.add_argument_group("hardware"))


def _add_model(group):
    group.add_argument("--model", choices=names(), help="model (default: vggrga)", **OPTIONAL)
    group.add_argument(
        "--recipe",
        choices=RECIPES,
        help="train with this recipe (default: the model's own)",
        **OPTIONAL,
    )
    group.add_argument(
        "--init",
        metavar="NAME|RUN|FILE|URL",
        help=f"start from a trained model: {SHIPPED_NAMES}, a run folder, a .keras or .weights.h5 "
        f"file, or the URL of such a file {CHECKED_URL}",
        **OPTIONAL,
    )
    group.add_argument(
        "--num-rga", type=int, metavar="N", help="VGGRGA(N): 0…5 (default: 3)", **OPTIONAL
    )
    group.add_argument(
        "--attention",
        choices=attention_names(),
        metavar="NAME",
        help=f"attention in place of RGA: {', '.join(attention_names())} (default: rga_sc)",
        **OPTIONAL,
    )
    group.add_argument(
        "--max-nodes",
        type=int,
        metavar="N",
        help="relate every RGA to a grid of at most N cells (default: where this saves much)",
        **OPTIONAL,
    )
    group.add_argument(
        "--backbone",
        metavar="NAME",
        help="VGGRGA's encoder: vgg16, resnet50, resnet101, densenet121, mobilenetv2 or "
        "efficientnetv2b0 (default: vgg16)",
        **OPTIONAL,
    )


def _add_data(group):
    add_data_arguments(
        group,
        "'popout': the embedded displays, with a small recipe of their own (default: popout); "
        "repeat it to train on several datasets together",
        action="append",
        **OPTIONAL,
    )
    group.add_argument(
        "--repeat",
        type=positive,
        nargs="+",
        metavar="N",
        help="how many times an epoch shows each training image, one number per --data (default: "
        "once)",
        **OPTIONAL,
    )


def _add_hardware(group):
    group.add_argument(
        "--mixed-precision",
        choices=["bfloat16", "float16"],
        help="mixed-precision dtype (default: compute in float32)",
        **OPTIONAL,
    )
    group.add_argument(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compile with XLA (default: Keras's choice; on a GPU yes, on a CPU no)",
        **OPTIONAL,
    )
    group.add_argument(
        "--deterministic",
        action="store_true",
        help="use only operations with bit-identical results; slower",
        **OPTIONAL,
    )
    group.add_argument(
        "--strategy",
        choices=STRATEGIES,
        help="share each batch among all devices of this process, or among several processes "
        "(default: one device)",
        **OPTIONAL,
    )


def _defaults(field):
    """'default: 10; mobilerga: 20', the value in the recipes; None for a field of arguments."""
    if field.type is dict:
        return None
    values = {name: getattr(recipe, field.name) for name, recipe in RECIPES.items()}
    default = values.pop("vggrga")
    others = [f"{name}: {_shown(value)}" for name, value in values.items() if value != default]
    return "; ".join([f"default: {_shown(default)}", *others])


def _shown(value):
    """A value as it is given on the command line."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _train(arguments):
    parser = arguments.parser
    given = {
        name: value for name, value in vars(arguments).items() if name not in ("command", "parser")
    }
    if "resume" in given and len(given) > 1:
        flags = {action.dest: action.option_strings[0] for action in parser._actions}
        others = ", ".join(flags[name] for name in given if name != "resume")
        parser.error(f"--resume continues a run as it began; leave out {others}")
    if "resume" in given:
        start_keras()
        from keras_salnet import training

        out = training.resume(given["resume"], track=progress())
    else:
        out = _begin(given, parser)
    print(_summary(Run(out)))


def _begin(given, parser):
    data = _repeated(given.get("data", ["popout"]), given.get("repeat"), parser)
    recipe = _recipe(given, data)
    if "warmup_epochs" in given and recipe.schedule != "cosine":
        parser.error("--warmup is for --schedule cosine")
    if given.get("strategy") == "multi-worker" and "out" not in given:
        parser.error("--strategy multi-worker: give --out, a folder that all workers see")

    from keras_salnet.data import load_dataset

    dataset = load_dataset(data)
    started = time.strftime("%Y%m%d-%H%M%S")
    out = given.get("out") or RUNS / f"{started}-{recipe.model}-{dataset.name}"
    start_keras()
    from keras_salnet import training

    options = pick(
        given,
        *("seed", "mixed_precision", "jit", "init", "skip_bad", "deterministic", "strategy"),
    )
    return training.train(recipe, dataset, out, **options, track=progress())


def _repeated(data, repeats, parser):
    """The argument of `load_dataset`: a name, or a list of names, repeated."""
    repeats = repeats or [1] * len(data)
    if len(repeats) != len(data):
        parser.error(
            f"--repeat: give one number per --data, {len(data)} in all, not {len(repeats)}"
        )
    data = [name for name, times in zip(data, repeats, strict=True) for _ in range(times)]
    return data[0] if len(data) == 1 else data


def _recipe(given, data):
    """The recipe of the model, with the options that are given."""
    trained = _trained_as(given["init"]) if "init" in given else {}
    by_recipe = RECIPES[given.get("recipe", "vggrga")].model
    model = given.get("model") or trained.get("model") or by_recipe
    recipe = recipe_for(model, data, given.get("recipe"))
    if "init" in given and "recipe" not in given:
        recipe = fine_tuning(recipe)
    if trained.get("model") == model:
        recipe = dataclasses.replace(recipe, **trained)
    changes = pick(given, *(field.name for field in _FIELDS))
    changes["loss_args"] = dict(given.get("loss_args", ()))
    changes["model_args"] = {**dict(given.get("model_args", ())), **pick(given, *_SHORTCUTS)}
    return recipe.replace(**changes)


def _trained_as(init):
    """The part of a recipe that a model's weights depend on; {} for a model without a run."""
    if init in SHIPPED:
        recipe = preset(init)
    else:
        run = run_of(init)
        recipe = run.config["recipe"] if run else {}
    return pick(recipe, "model", "model_args", "input_size", "resize")


def _summary(run):
    lines = [f"Trained: {run.path}"]
    for path, about in (
        (run.model, "the model, for Keras"),
        (run.weights, "its weights"),
        (run.saved_model, "for TensorFlow Serving"),
        (run.tflite, "for phones"),
        (run.history, "loss and metrics of every epoch"),
        (run.curves, "the same as curves"),
    ):
        if path.exists():
            lines.append(f"  {path.name:<16} {about}")
    lines.append(f"Next: keras-salnet evaluate {run.path}")
    return "\n".join(lines)
