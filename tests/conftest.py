"""What several tests need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared():
    """Finds what lies beside the repository and is no part of it, or skips the test."""

    def find(*parts):
        path = _REPOSITORY.parent.joinpath("shared", *parts)
        if not path.exists():
            pytest.skip(f"{path} is not here")
        return path

    return find


@pytest.fixture(scope="session")
def shared_data(shared):
    """The folder of real datasets, or skips the test."""
    return shared("data")


@pytest.fixture(scope="session")
def run_python():
    """Runs code in a fresh Python, with arguments and a Keras backend; fails with what it said."""

    def run(code, *arguments, backend="tensorflow"):
        finished = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr

    return run
