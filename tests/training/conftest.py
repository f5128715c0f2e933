"""What the tests of training share."""

import keras
import pytest

from keras_salnet.data import load_dataset, popout
from keras_salnet.training import train
from keras_salnet.training.recipes import POPOUT


@pytest.fixture(scope="session")
def displays(tmp_path_factory):
    """A folder of a few pop-out displays, in SALICON's layout. Three batches of two, one of one."""
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 5, "val": 3, "test": 3})
    return folder


@pytest.fixture(scope="session")
def dataset(displays):
    return load_dataset(displays)


@pytest.fixture(scope="session")
def small():
    """A recipe with the model whose graph is traced fastest: one VGG16, and a head."""
    return POPOUT.replace(
        model="opensalicon",
        model_args={"streams": ["fine"], "filters": 4},
        input_size=(64, 96),
        batch_size=2,
        epochs=2,
        schedule="step",
    )


@pytest.fixture(scope="session")
def run(small, dataset, tmp_path_factory):
    """A finished run, with exports."""
    recipe = small.replace(augment="gaze", schedule="cosine")
    return train(recipe, dataset, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="session")
def failing():
    """Makes a callback that raises an error as training begins, or what a function returns."""

    def failing(error):
        def fail(logs):
            raise error() if callable(error) else error

        return keras.callbacks.LambdaCallback(on_train_begin=fail)

    return failing
