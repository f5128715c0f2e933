"""The server as a process: its address, and its end."""

import asyncio
import math
import signal
import socket
import time
import warnings

import PIL.Image
import uvicorn

# Seconds for which the server answers that it is shutting down before it stops listening: what
# balances load between servers, or holds a connection open, may still send.
_GRACE = 1.0
_LAST = 0.2  # seconds for the requests of those who connected before it stopped


def listen(host, port):
    """A socket on an address, which is taken from here on.

    Args:
        host: name or address.
        port: 0 for any that is free.

    Returns:
        `socket.socket`.

    Raises:
        OSError: it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        raise OSError(
            f"--host {host} --port {port}: {error.strerror}; give another, or --port 0 for any "
            "free one."
        ) from error
    return bound


def url(bound):
    """The address of a socket, for a browser."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run(app, bound, started=lambda: None):
    """Serve until SIGTERM or Ctrl-C, and answer what has been taken till then.

    Args:
        app: of `create_app`.
        bound: of `listen`.
        started: function that is called when requests are answered.
    """
    # Images are refused by a limit of ours, which is lower.
    warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
    service = app.state.service
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=math.ceil(service.limits.timeout),
    )
    _Server(config, service, started).run([bound])


class _Server(uvicorn.Server):
    """Drains before it stops listening."""

    def __init__(self, config, service, started):
        super().__init__(config)
        self._service = service
        self._tell_started = started
        self._until = math.inf

    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.started:
            self._tell_started()

    def handle_exit(self, sig, frame):
        if self._service.draining:  # asked a second time
            super().handle_exit(sig, frame)
        self._service.draining = True
        self._until = time.monotonic() + (_GRACE if sig == signal.SIGTERM else 0)

    async def on_tick(self, counter):
        drained = time.monotonic() >= self._until and not self._service.taken
        return await super().on_tick(counter) or drained

    async def shutdown(self, sockets=None):
        for server in self.servers:
            server.close()
        await asyncio.sleep(_LAST)  # else those who have just connected would get no answer
        await super().shutdown(sockets)
