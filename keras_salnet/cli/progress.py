"""The bar that shows how far a command has come."""


def progress(console=None):
    """Function (items, title, their number) → items that shows a bar while they are gone through.

    Without the number, it is that of the items; without a `rich.console.Console`, that of stderr.
    """
    from rich.console import Console
    from rich.progress import track

    console = console or Console(stderr=True)
    return lambda items, title, total=None: track(
        items, title, total, console=console, transient=True, disable=not console.is_terminal
    )
