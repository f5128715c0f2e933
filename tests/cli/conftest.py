"""What the tests of the commands share."""

import pytest

from keras_salnet.data import popout


@pytest.fixture(scope="session")
def displays(tmp_path_factory):
    """A folder of a few pop-out displays, in SALICON's layout."""
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 5, "val": 3, "test": 3})
    return folder
