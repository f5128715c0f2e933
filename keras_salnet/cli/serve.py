"""keras-salnet serve."""

import argparse
from importlib import util

from keras_salnet.cli.arguments import MODEL_HELP, OPTIONAL, add_command, pick, positive, seconds
from keras_salnet.cli.environment import load_predictor
from keras_salnet.models.presets import DEFAULT


def add(commands):
    """Add the command to the others."""
    parser = add_command(
        commands,
        "serve",
        _serve,
        "Predict for whoever asks over HTTP, from a page in a browser or as TensorFlow Serving's "
        "clients do.",
    )
    parser.add_argument("--model", metavar="MODEL", default=DEFAULT, help=MODEL_HELP)
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="of the model in URLs (default: the model's own)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all of the machine's"
    )
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="0 is any free one")
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=8,
        metavar="N",
        help="the most images at once for a model that takes several",
    )
    parser.add_argument(
        "--cors",
        action="append",
        metavar="ORIGIN",
        help="let the pages of this origin use the server, such as https://example.org; may be "
        "repeated",
        **OPTIONAL,
    )
    limits = parser.add_argument_group("limits")
    for limit, kind, default, metavar, help in (
        ("--max-bytes", positive, 20 * 2**20, "N", "of a request"),
        ("--max-pixels", positive, 25_000_000, "N", "of an image"),
        ("--max-queue", positive, 64, "N", "images in the server at once; more get 429"),
        ("--timeout", seconds, 30.0, "S", "seconds to an answer"),
    ):
        limits.add_argument(limit, type=kind, default=default, metavar=metavar, help=help)


def _port(text):
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"invalid port: {text!r}; expected 0…65535")
    return int(text)


def _serve(arguments):
    for package in ("fastapi", "multipart", "orjson", "prometheus_client", "uvicorn"):
        if not util.find_spec(package):
            raise ModuleNotFoundError(
                f"serve needs {package}, which is not installed: pip install 'keras-salnet[serve]'"
            )
    from keras_salnet.serving.app import create_app
    from keras_salnet.serving.limits import Limits
    from keras_salnet.serving.server import listen, run, url

    given = vars(arguments)
    limits = Limits(**pick(given, "max_bytes", "max_pixels", "max_queue", "timeout"))
    with listen(arguments.host, arguments.port) as bound:
        predictor = load_predictor(arguments.model)
        app = create_app(predictor, limits, **pick(given, "batch_size", "cors", "name"))
        run(
            app, bound, lambda: print(f"{app.state.name} at {url(bound)} (Ctrl-C ends)", flush=True)
        )
