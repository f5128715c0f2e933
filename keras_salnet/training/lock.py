"""One process at a time trains a run."""

import contextlib

import filelock

LOCK = ".lock"


@contextlib.contextmanager
def locked(run):
    """Hold a run folder for this process alone.

    The operating system holds the lock: it ends with the process, however that ends.

    Args:
        run: Path of the folder, which exists.

    Raises:
        BlockingIOError: another process holds it.
    """
    lock = filelock.FileLock(run / LOCK, blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BlockingIOError(
            f"{run}: another process is training this run; wait for its end, or stop it."
        ) from None
    try:
        yield
    finally:
        # While it is held: a process that opened the file before finds that it is no longer there.
        with contextlib.suppress(PermissionError):  # Windows removes it by the release
            (run / LOCK).unlink(missing_ok=True)
        lock.release()
