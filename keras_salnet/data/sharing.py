"""How devices and processes share batches."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sharing:
    """Which part of each batch is a process's own.

    Args:
        devices: that share a batch, of all processes together; its size is a multiple of them.
        worker: this process, 0 … `workers` − 1.
        workers: processes, with equally many devices each.

    Example:
        >>> Sharing(devices=2, worker=1, workers=2).own([3, 1, 4, 1])
        [4, 1]
        >>> Sharing(devices=2).even(7)
        6
    """

    devices: int = 1
    worker: int = 0
    workers: int = 1

    def even(self, samples):
        """How many of so many samples make an epoch: those that can be shared evenly."""
        return samples - samples % self.devices

    def own(self, batch):
        """The process's part of a batch, a sequence."""
        part = len(batch) // self.workers
        return batch[self.worker * part : (self.worker + 1) * part]


ONE_DEVICE = Sharing()
