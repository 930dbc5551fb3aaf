"""The HTTP server of a health server: uvicorn, without its effects on the program around it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from healthchecker._server.apps import AsgiCallable

GRACE = 4
"""Seconds that open requests have at a stop; with uvicorn's own pauses it is over within 5."""


class HttpServer(uvicorn.Server):
    """Serves an app; leaves signals and logging alone."""

    def __init__(self, app: AsgiCallable) -> None:
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
        super().__init__(config)
        self.stop_at: float | None = None
        """When to stop, on the clock of `time.monotonic()`; may be set from any thread."""

    async def on_tick(self, counter: int) -> bool:
        if self.stop_at is not None and time.monotonic() >= self.stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Closing alone would leave the port to a forked process, which never accepts.
        for sock in sockets or []:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """HTTP without access logging, which would add a line every few seconds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False

    def connection_lost(self, exc: Exception | None) -> None:
        # A forked process may also hold the connection; the client would not see its end.
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        super().connection_lost(exc)
