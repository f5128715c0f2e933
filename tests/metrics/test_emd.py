"""Earth mover's distance against linear programming, and shrinking against MATLAB's."""

import importlib.util
import math
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import linprog

from keras_salnet.metrics import (
    _normalize,
    emd,
)


def matlab_imresize(array, factor):
    """imresize(array, 1 / factor), bicubic, as plain loops over rows, then over columns."""

    def cubic(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0

    def along_rows(array):
        size = len(array)
        mirrored = [*range(size), *reversed(range(size))]
        rows = []
        for place in range(1, math.ceil(size / factor) + 1):
            center = place * factor + 0.5 * (1 - factor)
            taps = range(math.floor(center - 2 * factor), math.floor(center + 2 * factor) + 2)
            weights = [cubic((center - tap) / factor) for tap in taps]
            values = [array[mirrored[(tap - 1) % (2 * size)]] for tap in taps]
            row = sum(w * value for w, value in zip(weights, values, strict=True))
            rows.append(row / sum(weights))
        return np.array(rows)

    return along_rows(along_rows(array).T).T


def emd_by_linear_programming(p, g):
    p, g = p / p.sum(), g / g.sum()
    places = list(np.ndindex(p.shape))
    cost = [math.dist(a, b) for a in places for b in places]
    n = len(places)
    leaves, arrives = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    solution = linprog(cost, A_eq=np.concatenate([leaves, arrives]), b_eq=[*p.flat, *g.flat])
    assert solution.success
    return solution.fun


@pytest.fixture(scope="module")
def _pot():
    if importlib.util.find_spec("ot") is None:
        pytest.skip("POT is not installed")


needs_pot = pytest.mark.usefixtures("_pot")


@needs_pot
@pytest.mark.parametrize(("shape", "factor"), [((4, 5), 1), ((70, 96), 32), ((47, 30), 11)])
def test_emd_is_its_definition(shape, factor):
    random = np.random.default_rng(9)
    for _ in range(3):
        saliency, density = random.random((2, *shape)) ** 500  # peaks, which undershoot
        p, g = (np.maximum(matlab_imresize(m, factor), 0) for m in (saliency, density))
        assert emd(saliency, density, factor=factor) == pytest.approx(
            emd_by_linear_programming(p, g), abs=1e-6
        )


@pytest.mark.parametrize("shape", [(480, 640), (479, 641), (100, 30)])
def test_shrinking_is_matlabs(shape):
    array = np.random.default_rng(10).random(shape)
    small = _normalize.shrink(array, 32)
    assert small.shape == (math.ceil(shape[0] / 32), math.ceil(shape[1] / 32))
    assert small == pytest.approx(matlab_imresize(array, 32), abs=1e-12)
    assert _normalize.shrink(np.ones(shape), 32) == pytest.approx(1)


def test_shrinking_is_pillows_away_from_the_border():
    array = np.random.default_rng(11).random((480, 640), np.float32)
    theirs = Image.fromarray(array).resize((20, 15), Image.Resampling.BICUBIC)
    inside = np.s_[2:-2, 2:-2]  # at the border Pillow drops taps, where MATLAB mirrors
    assert _normalize.shrink(array, 32)[inside] == pytest.approx(np.array(theirs)[inside], abs=1e-5)


@needs_pot
def test_emd_of_a_shifted_map_is_the_shift():
    density = np.zeros((12, 15))
    density[2:6, 3:8] = np.random.default_rng(12).random((4, 5))
    shifted = np.roll(density, (3, 4), axis=(0, 1))
    assert emd(shifted, density, factor=1) == pytest.approx(5)
    # One reduced pixel is 32 pixels, wherever the mass lies within it.
    big = np.zeros((320, 320))
    big[130:150, 100:120] = 1
    shifted = np.roll(big, 96, axis=1)
    assert emd(shifted, big) == pytest.approx(3)


@needs_pot
def test_emd_is_a_distance():
    random = np.random.default_rng(13)
    a, b, c = random.random((3, 5, 6)) ** 4
    distance = partial(emd, factor=1)
    assert distance(a, a) == pytest.approx(0, abs=1e-12)
    assert distance(a, b) == pytest.approx(distance(b, a))
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    for other in (7 * a, a * 1e-9):
        assert distance(other, b) == pytest.approx(distance(a, b))
    assert distance(a[:, ::-1], b[:, ::-1]) == pytest.approx(distance(a, b))
    assert distance(a.T, b.T) == pytest.approx(distance(a, b))


@needs_pot
def test_emd_of_degenerate_maps():
    density = np.zeros((64, 96))
    density[40:50, 60:70] = 1
    uniform = emd(np.ones((64, 96)), density)
    for constant in (0, 0.1, -3.7, 1e308):
        assert emd(np.full((64, 96), constant), density) == pytest.approx(uniform)
    assert emd(np.zeros((64, 96)), np.zeros((64, 96))) == pytest.approx(0, abs=1e-12)
    assert emd([[5.0]], [[2.0]]) == 0  # everything falls into one reduced pixel
    assert emd(density - 7, density) == pytest.approx(0, abs=1e-12)
    assert type(uniform) is float


def test_emd_names_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"emd needs the package POT.*keras-salnet\[emd\]"):
        emd(np.ones((2, 2)), np.ones((2, 2)))


@pytest.mark.parametrize("factor", [0, -1, 1.5])
def test_emd_refuses_another_factor(factor):
    with pytest.raises(ValueError, match=rf"factor is {factor}; it must be a whole number"):
        emd(np.ones((2, 2)), np.ones((2, 2)), factor=factor)


@needs_pot
def test_emd_loads_no_deep_learning_library(run_python):
    run_python(
        """
import os, sys
from keras_salnet.metrics import emd
before = dict(os.environ)
assert emd([[1, 0]], [[0, 1]], factor=1) == 1
assert dict(os.environ) == before
assert not {"torch", "jax", "tensorflow", "keras"} & set(sys.modules)
"""
    )
