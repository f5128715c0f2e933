"""keras-salnet models."""

from keras_salnet.cli.arguments import SHIPPED_NAMES, add_command
from keras_salnet.models.registry import MODELS
from keras_salnet.training.recipes import RECIPES


def add(commands):
    """Add the command to the others."""
    add_command(
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
    print(f"Trained, in the package: {SHIPPED_NAMES} (keras-salnet predict)")
