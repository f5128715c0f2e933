"""Load what commands are given: models and datasets."""

from keras_salnet.cli.environment import start_keras, without_stderr
from keras_salnet.cli.progress import progress
from keras_salnet.models.presets import SHIPPED


def load_predictor(model, **options):
    """The `Predictor` of a model; Keras is started only for one that needs it."""
    from keras_salnet.prediction.predictor import Predictor

    file = str(model).partition("#")[0]  # of a URL, what comes before its checksum
    if model not in SHIPPED and not file.endswith((".tflite", ".onnx")):
        start_keras()
    with without_stderr():
        return Predictor.load(model, **options)


def checked_dataset(data, skip_bad):
    """The dataset of that name, once its files have been seen to be there and to fit."""
    from keras_salnet.data import check, load_dataset

    return check(load_dataset(data), skip_bad, progress())
