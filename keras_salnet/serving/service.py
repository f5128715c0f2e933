"""A predictor at work for many at once: the way of a request, from its place to its answer."""

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from fastapi import HTTPException
from starlette.requests import ClientDisconnect

from keras_salnet.serving.batching import Batcher
from keras_salnet.serving.limits import check_image


class Service:
    """Predicts within limits.

    Threads decode images and encode answers while the model predicts in another. What waits for the
    model is of its frame's size, however large the image.

    Args:
        predictor: `keras_salnet.Predictor`.
        limits: `Limits`.
        batch_size: the most images that the model gets at once, if it takes several.
        observe_batch: function that receives the size of each batch.

    Attributes:
        taken: places in the queue that are taken.
        draining: whether no further request is admitted.
    """

    def __init__(self, predictor, limits, batch_size=8, observe_batch=lambda size: None):
        self.predictor = predictor
        self.limits = limits
        self.taken = 0
        self.draining = False
        batch_size = batch_size if predictor.batches else 1
        self._model = Batcher(self._infer, batch_size, observe_batch)
        self._threads = ThreadPoolExecutor(os.cpu_count(), "images")

    @property
    def waiting(self):
        """Images that wait for the model."""
        return len(self._model)

    @contextlib.asynccontextmanager
    async def running(self):
        """Work in the block, which is entered when the model has answered once."""
        with self._threads:
            work = asyncio.create_task(self._model.run())
            try:
                size = self.predictor.input_size_for((256, 256))
                await self._model(np.zeros((*size, 3), np.float32))
                yield
            finally:
                work.cancel()

    @contextlib.asynccontextmanager
    async def admission(self):
        """A place in the queue for the block, and the time limit over it.

        Raises:
            HTTPException: 503, the server ends; 429, there is no place; 504, the block took longer.
        """
        if self.draining:
            raise HTTPException(503, "the server is shutting down.", {"Retry-After": "5"})
        with self.places(1):
            try:
                async with asyncio.timeout(self.limits.timeout):
                    yield
            except TimeoutError:
                message = f"not answered within {self.limits.timeout:g} seconds."
                raise HTTPException(504, message) from None

    @contextlib.contextmanager
    def places(self, count):
        """Places in the queue for the block.

        Raises:
            HTTPException: 429, there are not as many.
        """
        if self.taken + count > self.limits.max_queue:
            raise HTTPException(429, "too many images are waiting.", {"Retry-After": "1"})
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count

    async def predict(self, encoded):
        """The map of an encoded image.

        Args:
            encoded: bytes.

        Returns:
            ((H, W) float32 map of the input size, from `Predictor.infer`, and the `Placement` that
            leads back to the image).

        Raises:
            HTTPException: 413 or 422, see `check_image`.
        """
        frame, placement = await self.in_thread(self._read, encoded)
        return await self.infer(frame), placement

    async def infer(self, frame):
        """(H, W, 3) float32 RGB of the frame's size → (H, W) float32 map."""
        return await self._model(frame)

    async def in_thread(self, function, *arguments):
        """Call a function in a thread, outside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    def _read(self, encoded):
        check_image(encoded, self.limits.max_pixels)
        try:
            return self.predictor.preprocess(encoded)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    def _infer(self, frames):
        if len({frame.shape for frame in frames}) == 1:
            return self.predictor.infer(np.stack(frames))
        return [self.predictor.infer(frame[None])[0] for frame in frames]


async def unless_gone(request, work):
    """Await a coroutine, cancelled if the client disconnects.

    Args:
        request: `fastapi.Request` whose body has been read.
        work: coroutine.

    Raises:
        ClientDisconnect: the client went away.
    """
    work = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        work.cancel()
        gone.cancel()


async def _disconnected(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass
