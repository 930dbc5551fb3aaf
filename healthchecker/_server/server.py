"""Dapr's health server: it says whether the program around it is alive, and whether it is ready.

Needs the extra `healthchecker-static[server]` (Starlette and uvicorn).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from healthchecker._server.answers import make_router
from healthchecker._server.checks import READY, Ask, Checks, Log, Outcome, ServerCheck
from healthchecker._server.listen import ServerStartError, listen
from healthchecker._values.result import BadArgumentError
from healthchecker._values.validate import check_seconds

__all__ = ["HealthServer", "ServerCheck", "ServerStartError"]

GRACE = 4
"""Seconds that open requests have at a stop; with uvicorn's own pauses it is over within 5."""

_MAX_PORT = 65535
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class HealthServer:
    """Answers `path` and `/readyz` with 200 when ready and 503 when not, and `/livez` with 200.

    The program is ready once it has called `ready()`, as long as all `checks` pass. They map names
    to what to ask: a target as text, a function, a coroutine function, or a `ServerCheck`, which
    sets a limit of its own. A check runs when a request comes in, on the event loop or on a
    separate thread; requests that arrive meanwhile share the run, and its outcome is kept for
    `cache` seconds. A check fails when it takes longer than its limit, raises, or returns a false
    value other than None.

    `GET` and `HEAD` are answered without a body. With `?verbose` the body has a line for each
    check; with `Accept: application/json` it is the same as JSON. With `daprd`, the default `path`
    is `/v1.0/healthz`, and it answers as daprd does: 204 when ready, else 500 with a JSON error.

    Three ways to use it: `with HealthServer() as server:` runs it on a thread, `await
    server.serve()` in an asyncio program, and `server.app` is an ASGI app for a program's own
    server. `run()` is Dapr's: it blocks until the process is told to stop. With `port` 0 a free
    port is chosen, which `port` then holds. Events are logged to `log`, by default the logger
    "healthchecker".
    """

    def __init__(
        self,
        port: int = 8080,
        *,
        host: str = "0.0.0.0",  # noqa: S104 - who asks is outside: Kubernetes, a load balancer
        path: str | None = None,
        checks: Mapping[str, Ask | ServerCheck] | None = None,
        cache: float = 1.0,
        daprd: bool = False,
        log: Log | None = None,
    ) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _MAX_PORT:
            raise BadArgumentError("port", port, f"not from 0 to {_MAX_PORT}")
        if not isinstance(host, str):
            raise BadArgumentError("host", host, "must be a string")
        if path is None:
            path = "/v1.0/healthz" if daprd else "/healthz"
        if not isinstance(path, str) or not path.startswith("/"):
            raise BadArgumentError("path", path, "must begin with a slash")
        self._log = log or logging.getLogger("healthchecker")
        self._checks = Checks(checks or {}, check_seconds("cache", cache, zero=True), self._log)
        self.host = host
        self.port = port
        """The port to listen on; while listening, the one that it is."""
        self.app: ASGIApp = make_router(path, self._alive, self._all_ready, daprd=daprd)
        """The routes alone, for a server of your own."""
        self._wanted_port = port
        self._ready = False
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def ready(self) -> None:
        """Be ready from now on, if the checks pass. Like `not_ready`, safe to call anywhere."""
        self._ready = True

    def not_ready(self) -> None:
        """Be not ready from now on, whatever the checks say."""
        self._ready = False

    @property
    def is_ready(self) -> bool:
        """What the program said last, without the checks."""
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
            target=self._run_on_thread, args=(server, sock), name="healthchecker-server"
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

    def _run_on_thread(self, server: _Server, sock: socket.socket) -> None:
        with contextlib.suppress(Exception):  # it has been logged, and nobody else would hear of it
            asyncio.run(self._serve(server, sock))

    async def _serve(self, server: _Server, sock: socket.socket) -> None:
        serving = asyncio.ensure_future(server.serve([sock]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise
        except Exception:
            self._log.exception("the health server failed")
            raise
        finally:
            await self._checks.end()
            self._close(sock)

    async def _alive(self) -> dict[str, Outcome]:
        return {"ping": Outcome(True, "")}

    async def _all_ready(self) -> dict[str, Outcome]:
        outcomes = await self._checks.outcomes()
        # Last: the program may have changed its mind meanwhile.
        said = Outcome(True, "") if self._ready else Outcome(False, "the program is not ready")
        return {READY: said, **outcomes}

    def _listen(self) -> tuple[_Server, socket.socket]:
        if self._server is not None:
            raise RuntimeError("the health server is running already")
        try:
            sock = listen(self.host, self._wanted_port)
        except ServerStartError as error:
            self._log.error("%s", error)
            raise
        self.port = sock.getsockname()[1]
        self._server = _Server(self.app)
        place = f"[{self.host}]" if ":" in self.host else self.host
        self._log.info("health server listening on http://%s:%d", place, self.port)
        return self._server, sock

    def _close(self, sock: socket.socket) -> None:
        sock.close()
        self._server = None
        self.port = self._wanted_port
        self._log.info("health server stopped")

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
