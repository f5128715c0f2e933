"""What several tests need."""

import importlib.util
import os
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="module")
def pysaliency():
    """pysaliency 0.2.22, which imports torch for models unused here and calls numpy's lost trapz.

    Unlike pytest.importorskip, this fails where pysaliency is installed but cannot be imported.
    """
    if importlib.util.find_spec("pysaliency") is None:
        pytest.skip("pysaliency is not installed")
    with pytest.MonkeyPatch.context() as patch:
        # Also where it is installed: beside TensorFlow, PyTorch's compiler may crash.
        patch.setitem(sys.modules, "torch", types.ModuleType("torch"))
        import pysaliency
        import pysaliency.metrics
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "trapz", np.trapezoid, raising=False)
        # It makes NaN of whatever an empty array holds, which may be invalid to compute with.
        create = np.errstate(invalid="ignore")(pysaliency.Fixations.create_without_history)
        patch.setattr(pysaliency.Fixations, "create_without_history", create)
        yield pysaliency


def pytest_terminal_summary(terminalreporter):
    """Count the tests of each backend, and what was skipped by its reason."""
    passed = [report.nodeid for report in terminalreporter.stats.get("passed", ())]
    terminalreporter.section("backends and skipped tests")
    for backend in ("jax", "torch"):
        state = "installed" if importlib.util.find_spec(backend) else "not installed"
        count = sum(backend in test for test in passed)
        terminalreporter.line(f"{backend}: {state}, {count} tests passed")
    others = sum("jax" not in test and "torch" not in test for test in passed)
    terminalreporter.line(f"tensorflow, or no backend: {others} tests passed")
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")
