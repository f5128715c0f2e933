"""Prometheus metrics of the server."""

import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.datastructures import MutableHeaders

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The server's metrics, in a registry of their own."""

    def __init__(self):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "salnet_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "salnet_request_seconds",
            "Time from a request's arrival to the end of its answer.",
            ["path"],
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "salnet_requests_in_flight", "Requests being answered.", registry=self._registry
        )
        self._batch = Histogram(
            "salnet_batch_size",
            "Images that the model got at once.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )

    def observe_batch(self, size):
        """Count a batch of `size` images."""
        self._batch.observe(size)

    def follow(self, service):
        """Tell the places and the queue of a `Service`."""
        for name, message, value in (
            ("salnet_queue_places_taken", "Images in the server.", lambda: service.taken),
            ("salnet_queue_depth", "Images that wait for the model.", lambda: service.waiting),
        ):
            Gauge(name, message, registry=self._registry).set_function(value)

    def text(self):
        """Everything, as Prometheus reads it, in bytes."""
        return generate_latest(self._registry)

    def answered(self, path, status, seconds):
        """Count an answer."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def in_flight(self):
        """A block that counts as a request being answered."""
        return self._in_flight.track_inprogress()


class Observed:
    """ASGI middleware: every answer is counted, and closes its connection while the server ends.

    Args:
        app: ASGI application.
        service: `Service`.
        metrics: `Metrics`.
    """

    def __init__(self, app, service, metrics):
        self._app = app
        self._service = service
        self._metrics = metrics

    async def __call__(self, scope, receive, send):
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # of an exception
        start = time.perf_counter()

        async def observed(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if self._service.draining:
                    headers["Connection"] = "close"
            await send(message)

        with self._metrics.in_flight():
            try:
                await self._app(scope, receive, observed)
            finally:
                route = scope.get("route")  # a template, so that there are few
                path = getattr(route, "path_format", "other")
                self._metrics.answered(path, status, time.perf_counter() - start)
