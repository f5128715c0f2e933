"""A lock, so that only one process at a time trains a run."""

import contextlib

import filelock

LOCK = ".lock"


@contextlib.contextmanager
def locked(run):
    """Lock a run folder for this process.

    The operating system holds the lock, so it ends with the process, whatever the reason.

    Args:
        run: Path of an existing folder.

    Raises:
        BlockingIOError: another process holds it.
    """
    lock = filelock.FileLock(run / LOCK, blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BlockingIOError(
            f"{run}: another process is training this run; wait for it, or stop it."
        ) from None
    try:
        yield
    finally:
        # Before the release: a process that has opened the file already sees that it is gone.
        with contextlib.suppress(PermissionError):  # Windows removes it at the release
            (run / LOCK).unlink(missing_ok=True)
        lock.release()
