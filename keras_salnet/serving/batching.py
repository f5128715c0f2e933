"""Runs single items in batches through a function that takes several at once.

A queue and one thread do it: an item that arrives alone is run at once, without waiting for a batch
to fill, and an item whose caller gave up does not disturb the others of its batch.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor


class Batcher:
    """Calls a function with what came in while it worked on the batch before.

    Nothing waits for a batch to fill: an item that comes alone is taken at once. The function runs
    in one thread, one call at a time. An item whose caller was cancelled is left out. How many may
    wait is for the callers to bound.

    Args:
        function: list of items → sequence of as many results.
        size: the most items of a call.
        observe: function that is told the number of items of each call.
    """

    def __init__(self, function, size, observe=lambda count: None):
        self._function = function
        self._size = size
        self._observe = observe
        self._waiting = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "model")

    def __len__(self):
        """How many items wait."""
        return self._waiting.qsize()

    async def __call__(self, item):
        """The result of one item; raises what the function raised on its batch."""
        result = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((item, result))
        return await result

    async def run(self):
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        with self._thread:
            while True:
                batch = await self._next()
                self._observe(len(batch))
                items = [item for item, _ in batch]
                try:
                    found = await loop.run_in_executor(self._thread, self._function, items)
                except Exception as error:
                    for _, result in batch:
                        if not result.done():
                            result.set_exception(error)
                else:
                    for (_, result), value in zip(batch, found, strict=True):
                        if not result.done():
                            result.set_result(value)

    async def _next(self):
        batch = []
        while not batch or (len(batch) < self._size and not self._waiting.empty()):
            item, result = await self._waiting.get()
            if not result.done():  # else its caller was cancelled
                batch.append((item, result))
        return batch
