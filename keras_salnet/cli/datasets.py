"""keras-salnet datasets."""

import os
from importlib import util
from pathlib import Path

from keras_salnet.cli.arguments import OPTIONAL, add_command, positive, size
from keras_salnet.cli.environment import checked_dataset, import_tensorflow_quietly, progress


def add(commands):
    """Add the command to the others."""
    parser = add_command(
        commands,
        "datasets",
        _datasets,
        "List the public datasets that are described, and where to get them; or check one.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    check = add_command(
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
        **OPTIONAL,
    )
    check.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="draw some images with their ground truth there, as .jpg or .png",
        **OPTIONAL,
    )
    prepare = add_command(
        actions,
        "prepare",
        _datasets_prepare,
        "Decode and resize a dataset once for all trainings. The folder that it leaves can be "
        "given as --data; run it again to resume after an interruption.",
    )
    prepare.add_argument("data", metavar="NAME|FOLDER|TOML", help="dataset")
    prepare.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder to make or complete"
    )
    prepare.add_argument(
        "--input-size", type=size, default="256", metavar="SIZE", help="network's frame, as 240x320"
    )
    prepare.add_argument(
        "--resize", choices=["stretch", "pad"], default="stretch", help="images into it"
    )
    prepare.add_argument(
        "--workers",
        type=positive,
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
        raise ValueError(f"--sheet {sheet}: must end in .png or .jpg.")

    from rich.console import Console

    from keras_salnet.data import load_dataset
    from keras_salnet.data.contact_sheet import contact_sheet
    from keras_salnet.data.survey import survey
    from keras_salnet.images.files import write_picture

    console = Console()
    dataset = load_dataset(arguments.data, given.get("path"))
    found = survey(dataset, progress())
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
    dataset = checked_dataset(arguments.data, arguments.skip_bad)
    import_tensorflow_quietly()

    from keras_salnet.data import prepare

    out = prepare(
        dataset,
        arguments.out,
        input_size=arguments.input_size,
        resize=arguments.resize,
        workers=arguments.workers,
        track=progress(),
    )
    print(f"Prepared: {out}\nNext: keras-salnet train --data {out}")
