"""keras-salnet evaluate."""

import itertools
import os
from importlib import util
from pathlib import Path

from keras_salnet.cli.arguments import (
    MODEL_HELP,
    OPTIONAL,
    add_command,
    add_data_arguments,
    positive,
)
from keras_salnet.cli.environment import checked_dataset, load_predictor, progress
from keras_salnet.runs import newest_run


def add(commands):
    """Add the command to the others."""
    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        "Score models, or maps made by any other, on held-out images beside the centre bias and "
        "people.",
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"{MODEL_HELP} (default: the newest run)"
    )
    parser.add_argument(
        "--maps",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="also score the maps there, one an image, of its name: .npy, .mat, .png or .jpg; "
        "may be repeated",
    )
    add_data_arguments(
        parser,
        "may be repeated (default: what the run was trained on)",
        action="append",
        **OPTIONAL,
    )
    parser.add_argument(
        "--split", metavar="SPLIT", help="or 'all' (default: test, else val)", **OPTIONAL
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
        type=positive,
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
            f"--{kind}", type=Path, metavar="FILE", help=f"file to write: {what}", **OPTIONAL
        )


def _evaluate(arguments):
    given = vars(arguments)
    for kind in ("report", "json", "csv"):
        if kind in given and given[kind].is_dir():
            raise IsADirectoryError(f"--{kind} {given[kind]}: is a folder; name a file.")
    if arguments.emd and not util.find_spec("ot"):
        raise ModuleNotFoundError(
            "--emd needs the package POT, which is not installed: pip install 'keras-salnet[emd]'."
        )
    models = arguments.models
    if not (models or arguments.maps):
        models = [str(newest_run().path)]

    from rich.console import Console

    from keras_salnet.evaluation import SavedMaps, evaluate, write_csv, write_json, write_report
    from keras_salnet.evaluation.table import tables

    console = Console()
    track = progress(console)
    scored = {model: load_predictor(model) for model in models}
    data = given.get("data") or _data_of_runs(scored)
    scored |= {folder: SavedMaps(folder) for folder in arguments.maps}
    # A name may stand for two of them; a path does not.
    names = [predictor.name for predictor in scored.values()]
    predictors = {
        predictor.name if names.count(predictor.name) == 1 else str(path): predictor
        for path, predictor in scored.items()
    }

    datasets = [checked_dataset(name, "skip_bad" in given) for name in data]
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
