"""Load what commands are given: models and datasets."""

from pathlib import Path

from keras_salnet.cli.progress import progress
from keras_salnet.cli.start import start_keras, without_stderr
from keras_salnet.shipped import SHIPPED

RUNS = Path("runs")


def newest_run():
    """The folder in runs/ that was finished last."""
    finished = [path.parent for path in RUNS.glob("*/model.keras")]
    if not finished:
        raise FileNotFoundError(
            "there is no finished run in runs/ to take; name a model, or train one first: "
            "keras-salnet train"
        )
    return max(finished, key=lambda run: (run / "model.keras").stat().st_mtime)


def load_predictor(model, **options):
    """The `Predictor` of a model; Keras is started only for one that needs it."""
    from keras_salnet.predictor import Predictor

    file = str(model).partition("#")[0]  # of a URL, what comes before its checksum
    if model not in SHIPPED and not file.endswith((".tflite", ".onnx")):
        start_keras()
    with without_stderr():
        return Predictor.load(model, **options)


def checked_dataset(data, skip_bad):
    """The dataset of that name, once its files have been seen to be there and to fit."""
    from keras_salnet.data import check, load_dataset

    return check(load_dataset(data), skip_bad, progress())
