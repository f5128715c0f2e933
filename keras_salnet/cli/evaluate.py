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
from keras_salnet.runs import Run, newest_run


def add(commands):
    """Add the command to the others."""
    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        "Score models, or saved maps of any other model, on held-out images, next to centre-bias "
        "and human baselines.",
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
        help="also score the maps in this folder, named like their images: .npy, .mat, .png or "
        ".jpg; may be repeated",
    )
    add_data_arguments(
        parser,
        "may be repeated (default: the dataset of the run)",
        action="append",
        **OPTIONAL,
    )
    parser.add_argument(
        "--split",
        metavar="SPLIT",
        help="split to score, or 'all' (default: test, else val)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--convention",
        choices=["mit", "pysaliency"],
        default="mit",
        help="convention of the metrics",
    )
    parser.add_argument("--emd", action="store_true", help="also compute EMD, which is slow")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed")
    parser.add_argument(
        "--workers",
        type=positive,
        default=min(8, os.cpu_count() or 1),
        metavar="N",
        help="number of processes that compute scores",
    )
    for kind, what in (
        ("report", "an HTML page with tables, distributions and examples"),
        ("json", "all results as JSON"),
        ("csv", "per-image scores as CSV"),
    ):
        parser.add_argument(
            f"--{kind}", type=Path, metavar="FILE", help=f"write {what}", **OPTIONAL
        )


def _evaluate(arguments):
    given = vars(arguments)
    for kind in ("report", "json", "csv"):
        if kind in given and given[kind].is_dir():
            raise IsADirectoryError(f"--{kind} {given[kind]}: is a folder; give a file.")
    if arguments.emd and not util.find_spec("ot"):
        raise ModuleNotFoundError("--emd needs the package POT: pip install 'keras-salnet[emd]'.")
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
    predictors = _by_name(scored)
    datasets = [checked_dataset(name, "skip_bad" in given) for name in data]
    for dataset in datasets:
        for folder in arguments.maps:
            split = given.get("split") or dataset.held_out
            scored[folder].check(dataset[split], track)
    targets = {kind: [given[kind]] if kind in given else [] for kind in ("report", "json", "csv")}
    as_trained = "data" not in given and "split" not in given and arguments.convention == "mit"
    if as_trained and len(scored) == 1 and Run(models[0]).exists:
        targets["json"].append(Run(models[0]).evaluation)
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
        # After each, so that nothing is lost if the next fails.
        for write, kind in ((write_json, "json"), (write_csv, "csv")):
            for target in targets[kind]:
                write(evaluations, target)
    for target in targets["report"]:
        write_report(evaluations, predictors, target)
    for target in itertools.chain(*targets.values()):
        console.print(f"Written: {target}", highlight=False, soft_wrap=True)


def _by_name(scored):
    """Path → predictor, as name → predictor; two of one name are called by their paths."""
    names = [predictor.name for predictor in scored.values()]
    return {
        predictor.name if names.count(predictor.name) == 1 else str(path): predictor
        for path, predictor in scored.items()
    }


def _data_of_runs(predictors):
    found = [predictor.config.get("data") for predictor in predictors.values()] or [None]
    if found[0] is None or found.count(found[0]) != len(found):
        raise ValueError("cannot infer the dataset from the models; give --data.")
    return list(dict.fromkeys(found[0] if isinstance(found[0], list) else found[:1]))
