"""Ordered work on threads and processes, a bounded number of tasks ahead of its reader."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool


def look_ahead(pool, function, tasks, count):
    """Yield function(*task) for each task, in order, while a pool works on the next `count`.

    `pool.map` would take all tasks at once, and keep all results.

    Args:
        pool: `concurrent.futures.Executor`.
        function: for processes, one that can be pickled.
        tasks: iterable of argument tuples.
        count: int ≥ 0.
    """
    pending = deque()
    for task in tasks:
        with _without_interrupts():
            pending.append(pool.submit(function, *task))
        if len(pending) > count:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def in_threads(function, items, track=None, description=""):
    """List function(item) for each item, computed by threads.

    Args:
        function: function of an item.
        items: list.
        track: function (items, description) → items, to show progress, or None.
        description: for `track`.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(function, items)
        return [next(found) for _ in (track(items, description) if track else items)]


@contextlib.contextmanager
def processes(workers, start):
    """A pool of processes, ended at the end of the block and with this process.

    Args:
        workers: int ≥ 1, how many.
        start: function without arguments that each of them calls first.

    Yields:
        `concurrent.futures.ProcessPoolExecutor`.

    Raises:
        ChildProcessError: a process died.
    """
    # Not forked: TensorFlow's threads do not survive it.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _start_process, [start]) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise ChildProcessError(
                "a worker process died, perhaps for lack of memory; try fewer --workers."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_process(start):
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start()


def _end_with_parent():
    """Exit with the parent: if it is killed, its workers would wait for work forever."""
    multiprocessing.parent_process().join()
    os._exit(1)


@contextlib.contextmanager
def _without_interrupts():
    """Start processes that ignore Ctrl-C, which the terminal sends to all: this one stops them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
