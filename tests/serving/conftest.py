"""What the server's tests share."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi", reason="the server needs pip install 'keras-salnet[serve]'")

sys.path.append(str(Path(__file__).parent))  # pytest's importlib mode leaves it out

from fastapi.testclient import TestClient
from served import encoded

from keras_salnet import Predictor
from keras_salnet.serving.app import create_app
from keras_salnet.serving.limits import Limits


@pytest.fixture(scope="session")
def photo():
    """A JPEG of 240 × 320 pixels, as bytes."""
    random = np.random.default_rng(0)
    small = PIL.Image.fromarray(random.integers(0, 256, (8, 10, 3), np.uint8))
    return encoded(small.resize((320, 240), PIL.Image.Resampling.BICUBIC), "JPEG")


@pytest.fixture(scope="session")
def fast():
    """The shipped model."""
    return Predictor.load()


@pytest.fixture(scope="module")
def client(fast):
    """A client of a server of the shipped model, in this process."""
    with TestClient(create_app(fast, Limits())) as client:
        yield client


@pytest.fixture(scope="session")
def start():
    """Starts `keras-salnet serve` with options, as a block: its `url` and its `process`."""

    @contextlib.contextmanager
    def started(*options):
        command = [sys.executable, "-m", "keras_salnet.cli", "serve", "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
        try:
            told = process.stdout.readline()  # when it is ready, or has failed
            assert " at http://127.0.0.1:" in told
            yield SimpleNamespace(url=told.split()[2], process=process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()

    return started
