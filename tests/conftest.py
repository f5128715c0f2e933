"""What the tests of several rooms share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real datasets that lies beside the repository where it was made."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: there is no {folder}")
    return folder
