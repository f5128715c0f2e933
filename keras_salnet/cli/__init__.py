"""The command line: train | evaluate | predict | serve | export | models | datasets.

Nothing here imports TensorFlow or Keras before a command needs them, so that `--help` and a usage
error answer at once.
"""

import argparse
import logging
import os
import sys

from keras_salnet import __version__
from keras_salnet.cli import datasets, evaluate, export, models, predict, serve, train

# Errors that a user's mistake or machine causes: reported in one line, without a traceback.
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


def _with_notes(message, error):
    """Format an error message with its notes."""
    notes = getattr(error, "__notes__", [])
    return "; ".join([message.rstrip("."), *notes]) if notes else message


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-salnet", description="Where do people look in an image?"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (train, evaluate, predict, serve, export, models, datasets):
        command.add(commands)
    return parser
