"""A density and fixations on one image."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))  # pytest's importlib mode leaves it out

from metric_cases import SHAPE, blob


@pytest.fixture
def density():
    return blob(SHAPE, 25, 22, 12) + 0.01


@pytest.fixture
def fixations():
    """60 points between pixels, then 10 of them again."""
    random = np.random.default_rng(2)
    points = random.random((60, 2)) * SHAPE[::-1]
    return np.concatenate([points, points[:10]])


@pytest.fixture
def other_fixations():
    """150 points nearer to the centre, then 10 of them again."""
    random = np.random.default_rng(7)
    points = random.beta(2, 2, (150, 2)) * SHAPE[::-1]
    return np.concatenate([points, points[:10]])
