"""Dapr's health server: a route that says whether the program around it is ready.

Needs the extra `healthchecker[server]` (Starlette and uvicorn).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any, Self

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from healthchecker._result import BadArgumentError

GRACE = 4
"""Seconds that open requests have at a stop; with uvicorn's own pauses it is over within 5."""

_NOT_READY = 503
_MAX_PORT = 65535
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ServerStartError(OSError):
    """The server cannot listen where it should; the message says where, and why not."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        # socket.create_server() adds words of its own to the system's.
        known = error.errno is not None and error.errno > 0  # a failed look-up has its own numbers
        why = os.strerror(error.errno or 0) if known else error.strerror
        super().__init__(f"the health server cannot listen on {host} port {port}: {why}")
        self.errno = error.errno


class HealthServer:
    """Answers `GET` and `HEAD` of `path` with `ready_status` when ready, and with 503 when not.

    Not ready at first. The body is empty; other methods get 405, other paths 404. `port` 0 picks a
    free one, which `port` then tells. `ready_status=204` is the manner of daprd.

    Three ways to use it: `with HealthServer() as server:` runs it on a thread, `await
    server.serve()` in an asyncio program, and `server.app` is an ASGI app for a program's own
    server. `run()` is Dapr's: it blocks until the process is told to stop.
    """

    def __init__(
        self,
        port: int = 8080,
        *,
        host: str = "0.0.0.0",  # noqa: S104 - who asks is outside: Kubernetes, a load balancer
        path: str = "/healthz",
        ready_status: int = 200,
    ) -> None:
        if not 0 <= port <= _MAX_PORT:
            raise BadArgumentError("port", port, f"not from 0 to {_MAX_PORT}")
        if not path.startswith("/"):
            raise BadArgumentError("path", path, "must begin with a slash")
        if not 200 <= ready_status <= 299:  # noqa: PLR2004 - what HTTP calls successful
            raise BadArgumentError("ready_status", ready_status, "not from 200 to 299")
        self.host = host
        self.port = port
        """The port to listen on; while listening, the one that it is."""
        self.app: ASGIApp = Router([Route(path, self._answer)], redirect_slashes=False)
        """The route alone, for a server of your own."""
        self._wanted_port = port
        self._ready_status = ready_status
        self._ready = False
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def ready(self) -> None:
        """Answer `ready_status` from now on. Like `not_ready`, safe to call from any thread."""
        self._ready = True

    def not_ready(self) -> None:
        """Answer 503 from now on."""
        self._ready = False

    @property
    def is_ready(self) -> bool:
        return self._ready

    async def serve(self) -> None:
        """Serve until cancelled or stopped.

        Listens as soon as it first runs; a place where it cannot is a `ServerStartError`. Leaves
        signals to the program.
        """
        await self._serve(*self._listen())

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM (when on the main thread) or `stop()`."""
        server, sock = self._listen()
        with self._stopped_by_signals():
            asyncio.run(self._serve(server, sock))

    def stop(self) -> None:
        """Make `serve()` or `run()` return, within 5 seconds; from any thread."""
        if self._server is not None:
            self._server.should_exit = True

    def __enter__(self) -> Self:
        server, sock = self._listen()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(server, sock)), name="healthchecker-server"
        )
        try:
            self._thread.start()
        except RuntimeError:
            self._close(sock)
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    async def _serve(self, server: _Server, sock: socket.socket) -> None:
        serving = asyncio.ensure_future(server.serve([sock]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise
        finally:
            self._close(sock)

    async def _answer(self, _request: Request) -> Response:
        return Response(status_code=self._ready_status if self._ready else _NOT_READY)

    def _listen(self) -> tuple[_Server, socket.socket]:
        if self._server is not None:
            raise RuntimeError("the health server is running already")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            sock = socket.create_server((self.host, self._wanted_port), family=family)
        except OSError as error:
            raise ServerStartError(self.host, self._wanted_port, error) from error
        # Inherited by each connection; asyncio leaves sockets from create_server() as they are.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = sock.getsockname()[1]
        self._server = _Server(self.app)
        return self._server, sock

    def _close(self, sock: socket.socket) -> None:
        sock.close()
        self._server = None
        self.port = self._wanted_port

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, lambda *_: self.stop()) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


class _Server(uvicorn.Server):
    """uvicorn, without what it does to the program around it."""

    def __init__(self, app: ASGIApp) -> None:
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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """HTTP without a log line for each request, which would come every few seconds for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False
