"""Shared by the benchmarks: measure each side in its own processes, in alternating rounds.

A fresh process gives a side its own thread pools and its own peak memory. Rounds alternate over
the sides, so that a drift of the machine's speed hits all of them alike.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

MIB = 2**20
TENSORFLOW_ON_CPU = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}


def benchmark_parser(doc, repeats=None):
    """The arguments that all benchmarks take.

    Args:
        doc: a script's docstring, whose first line describes it.
        repeats: default of --repeats, where sides are measured in rounds.
    """
    parser = argparse.ArgumentParser(
        description=doc.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    if repeats is not None:
        add = parser.add_argument
        add("--rounds", type=int, default=3, help="fresh processes of each side")
        add("--repeats", type=int, default=repeats, help="measurements in each process")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser


def measure(side, environment, *options):
    """Run this script again for one side, in a fresh process: what its JSON says.

    Peak memory is inherited from the parent, which must therefore import nothing large.
    """
    finished = subprocess.run(
        [sys.executable, *sys.argv, *options, "--side", side],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )
    if finished.returncode != 0:
        sys.exit(f"{finished.stderr}\n{side} failed with exit status {finished.returncode}.")
    return json.loads(finished.stdout.splitlines()[-1])


def measure_in_rounds(sides, rounds, environment, *options):
    """Measure all sides in turn, `rounds` times.

    Returns:
        {side: {quantity: the median of its values in all rounds}}.
    """
    values = {side: defaultdict(list) for side in sides}
    for side in track(list(sides) * rounds, "Measuring", transient=True):
        for quantity, measured in measure(side, environment, *options).items():
            values[side][quantity] += measured
    return {
        side: {quantity: statistics.median(measured) for quantity, measured in quantities.items()}
        for side, quantities in values.items()
    }


def time_calls(call, repeats, steps=1, finish=lambda: None, limit=math.inf):
    """Seconds of `call`: `repeats` means over `steps` calls each, after as many to warm up.

    Args:
        finish: waits until a device has done what the calls began.
        limit: seconds after which no further mean is taken, once there is one.
    """
    seconds = []
    while len(seconds) < 2 or (len(seconds) < 1 + repeats and sum(seconds) * steps < limit):
        start = time.perf_counter()
        for _ in range(steps):
            call()
        finish()
        seconds.append((time.perf_counter() - start) / steps)
    return seconds[1:]


def peak_memory():
    """The most bytes that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def limit_tensorflow(threads):
    """Before TensorFlow computes anything."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def print_table(header, rows):
    """As Markdown; None is a dash, and a column of nothing else is left out."""
    columns = [column for column in zip(header, *rows, strict=True) if any(column[1:])]
    table = Table(box=box.MARKDOWN)
    for place, (name, *_) in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*("–" if cell is None else cell for cell in row))
    Console(width=250).print(table)


def times(baseline, value):
    """How many times less `value` is than `baseline`."""
    return f"{baseline / value:.2f}×" if baseline and value else None
