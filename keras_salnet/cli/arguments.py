"""Arguments that commands share, and the types of their values."""

import argparse
import contextlib

from keras_salnet.models.presets import SHIPPED

# What commands take for a trained model.
SHIPPED_NAMES = " or ".join(f"'{name}'" for name in SHIPPED)
CHECKED_URL = "with its checksum: https://HOST/model.keras#sha256=HEX"
MODEL_HELP = (
    f"{SHIPPED_NAMES}, a run folder, a SavedModel or OpenVINO folder, a .keras, .tflite or .onnx "
    f"file, or a file's URL {CHECKED_URL}"
)

# For an option that is absent unless given.
OPTIONAL = {"default": argparse.SUPPRESS}


class _HelpWithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Leaves out the defaults that say nothing."""

    def _get_help_string(self, action):
        says_nothing = action.default in (None, []) or action.default is False
        return action.help if says_nothing else super()._get_help_string(action)


def add_command(commands, name, function, help):
    """The parser of a new command, which `function` runs with what was parsed.

    Usage errors that only it can see: `arguments.parser.error`.
    """
    parser = commands.add_parser(
        name, help=help, description=help, formatter_class=_HelpWithDefaults
    )
    parser.set_defaults(command=function, parser=parser)
    return parser


def add_data_arguments(parser, more, **options):
    """Add --data, of which `more` is told, and --skip-bad."""
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
        **OPTIONAL,
    )


def size(text):
    """'256' or '240x320' → (height, width)."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 256 or 240x320")
    return int(parts[0]), int(parts[-1])


def positive(text):
    """'8' → 8."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def seconds(text):
    """'1.5' → 1.5."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")


def among(given, *names):
    """Those of `names` that were given, with their values."""
    return {name: given[name] for name in names if name in given}
