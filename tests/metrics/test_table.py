"""The table of metrics: complete, documented, and the only list."""

import re
from pathlib import Path

import numpy as np
import pytest

from keras_salnet import metrics
from keras_salnet.metrics.table import GAZE_METRICS, MASK_METRICS, METRICS, OVERVIEW

ROOT = Path(__file__).parents[2]

each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def test_all_public_metrics_are_in_the_table():
    """Of a measure and its curve, one is."""
    listed = {metric.function.__name__.removesuffix("_curve") for metric in METRICS.values()}
    assert listed == {name.removesuffix("_curve") for name in metrics.__all__}


@each_metric
def test_a_metric_is_documented(metric):
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert f"`{metric.function.__name__}" in page
    assert re.search(rf"(?<![\w-]){re.escape(metric.name)}(?![\w-])", page)
    assert metric.about.endswith(".")


def test_overviews_rank_by_a_metric_of_which_more_is_better():
    for kind in (GAZE_METRICS, MASK_METRICS):
        first = next(name for name in OVERVIEW if name in kind)
        assert METRICS[first].more_is_better


@each_metric
def test_a_metric_takes_the_options_that_its_function_has(metric):
    random = np.random.default_rng(0)
    saliency, density = random.random((2, 12, 16))
    fixations = random.random((6, 2)) * (16, 12)
    given = {
        "density": (density,),
        "fixations": (fixations,),
        "other fixations": (fixations, fixations[::-1]),
        "baseline": (fixations, density),
        "mask": (density > 0.5,),
    }
    if metric.on_request:
        pytest.importorskip("ot")
    maps = saliency, *given[metric.needs]
    value = metric(*maps, convention="mit", seed=0)
    assert np.isfinite(value).all()
    np.testing.assert_equal(value, metric.function(*maps))


def test_no_other_file_lists_metrics():
    """A new metric is its function and one entry."""
    names = [name for name in METRICS if len(name) > 2]
    for path in sorted((ROOT / "keras_salnet").rglob("*.py")):
        if path.name != "table.py":
            found = [
                name
                for name in names
                if re.search(rf"[\"']{re.escape(name)}[\"']", path.read_text("utf-8"))
            ]
            assert not found, path
