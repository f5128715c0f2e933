"""Arguments that commands share, and the types of their values."""

import argparse
import contextlib
import json
import types
import typing

from keras_salnet import formats
from keras_salnet.models.presets import SHIPPED

# What commands take for a trained model.
SHIPPED_NAMES = " or ".join(f"'{name}'" for name in SHIPPED)
CHECKED_URL = "with its checksum: https://HOST/model.keras#sha256=HEX"
MODEL_HELP = f"{SHIPPED_NAMES}, {formats.kinds()}, or a file's URL {CHECKED_URL}"

# For an option that is absent unless given.
OPTIONAL = {"default": argparse.SUPPRESS}


class _HelpWithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Omits uninformative defaults."""

    def _get_help_string(self, action):
        says_nothing = action.default in (None, []) or action.default is False
        return action.help if says_nothing else super()._get_help_string(action)


def add_command(commands, name, function, help):
    """Add a command, which calls `function` with the parsed arguments.

    Among them is `parser`, for usage errors that only the function can find.

    Returns:
        The command's parser.
    """
    parser = commands.add_parser(
        name, help=help, description=help, formatter_class=_HelpWithDefaults
    )
    parser.set_defaults(command=function, parser=parser)
    return parser


def add_data_arguments(parser, more, **options):
    """Add --data, whose help ends with `more`, and --skip-bad."""
    parser.add_argument(
        "--data",
        metavar="NAME|FOLDER|TOML",
        help=f"dataset: a folder, the name of a public one, or a TOML file; {more}",
        **options,
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out images with bad files instead of stopping",
        **OPTIONAL,
    )


def add_field(parser, field, default):
    """Add the option of a dataclass's field, absent unless given.

    Args:
        parser: a parser or a group of one.
        field: a field with metadata as in `keras_salnet.training.recipes.Recipe`; its annotation
            gives the type of the option.
        default: text for the help, or None.
    """
    about, options = field.metadata, {}
    choices = about.get("choices")
    if field.type is dict:
        options = {"type": name_value, "action": "append"}
    elif isinstance(field.type, types.UnionType):
        kind, _ = typing.get_args(field.type)
        options["type"] = _or_none(kind, choices)
        if choices:
            options["metavar"] = "|".join((*choices, "none"))
    else:
        options = {"type": size if field.type == tuple[int, int] else field.type}
        options["choices"] = choices
    parser.add_argument(
        about.get("flag", f"--{field.name.replace('_', '-')}"),
        dest=field.name,
        help=about["help"] if default is None else f"{about['help']} ({default})",
        **{**options, **pick(about, "metavar", "nargs", "const")},
        **OPTIONAL,
    )


def _or_none(kind, choices):
    """The type of an option that may be 'none': → None."""

    def parse(text):
        if text == "none":
            return None
        if choices and text not in choices:
            raise argparse.ArgumentTypeError(
                f"invalid choice: {text!r} (choose from {', '.join(choices)}, none)"
            )
        return kind(text)

    parse.__name__ = f"{kind.__name__} or none"  # argparse names it when `kind` refuses a text
    return parse


def size(text):
    """'256' or '240x320' → (height, width)."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"invalid size: {text!r}; expected e.g. 256 or 240x320")
    return int(parts[0]), int(parts[-1])


def positive(text):
    """'8' → 8."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"invalid number: {text!r}; expected e.g. 1 or 8")
    return int(text)


def seconds(text):
    """'1.5' → 1.5."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"invalid time: {text!r}; expected seconds, e.g. 1.5")


def name_value(text):
    """'filters=32' → ("filters", 32): the value as JSON, or else as text."""
    name, found, value = text.partition("=")
    if not found or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as filters=32")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def pick(given, *names):
    """Those of `names` that are given, with their values."""
    return {name: given[name] for name in names if name in given}
