"""One process at a time trains a run."""

import contextlib
import subprocess
import sys

import pytest

from keras_salnet.training.lock import locked

HOLDER = """
import sys
from pathlib import Path
from keras_salnet.training.lock import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds a folder, until it is told to end or killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refused(folder):
    try:
        with locked(folder):
            return False
    except BlockingIOError as error:
        return str(error).startswith(f"{folder}: another process is training this run")


def test_nobody_else_may_hold_it_and_the_folder_is_named(tmp_path):
    with locked(tmp_path):
        assert refused(tmp_path)
        assert refused(tmp_path), "who was refused has not freed it"
    assert not refused(tmp_path)


def test_no_other_process_may_hold_it(holder, tmp_path):
    assert refused(tmp_path)
    holder.communicate("")
    assert holder.returncode == 0
    assert not refused(tmp_path)


def test_a_killed_process_holds_nothing(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert any(tmp_path.iterdir()), "its file is there still"
    assert not refused(tmp_path)


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_the_folder_is_left_as_it_was(tmp_path, error):
    with contextlib.suppress(ValueError, KeyboardInterrupt), locked(tmp_path):
        if error:
            raise error
    assert not list(tmp_path.iterdir())
