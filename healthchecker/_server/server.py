"""Dapr's health server: reports the liveness and readiness of the program it runs in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Self

from healthchecker._server.apps import AsgiApp, AsgiCallable, WsgiApp
from healthchecker._server.background import background
from healthchecker._server.checks import Checkable, Checks, Log, ServerCheck, is_coroutine_function
from healthchecker._server.listen import (
    Listener,
    ServerStartError,
    listen_on_path,
    listen_on_port,
)
from healthchecker._server.report import CheckOutcome, HealthReport
from healthchecker._server.responses import (
    ALIVE,
    READY,
    Endpoints,
    Kind,
    Question,
    Request,
    Response,
    check_path,
    check_response_format,
    not_found,
)
from healthchecker._values import validate
from healthchecker._values.result import BadArgumentError
from healthchecker._values.target import MAX_PORT
from healthchecker._values.text import FilePath

if TYPE_CHECKING:
    from healthchecker._server.http_server import HttpServer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOG_METHODS = ("info", "warning", "error", "exception")
_STARTED = "started"

OnChange = Callable[[HealthReport], object]
ResponseFormat = Literal["text", "json", "health+json", "actuator"]


class HealthServer:
    """Responds to `path` and `/readyz` with 200 when ready and 503 when not, and to `/livez`.

    The program is ready once it has called `ready()`, as long as all critical `checks` pass. They
    map names to targets, functions, coroutine functions, or `ServerCheck`s. `liveness` are the
    checks of `/livez`. `/startupz` is 200 once the program was ready. A check runs when a request
    comes in; requests that arrive in the meantime share the run, and its outcome is kept for
    `cache` seconds. `/readyz/NAME` reports a single check, and `?exclude=NAME` leaves one out.

    Responses to `GET` and `HEAD` have no body; with `?verbose` it has a line for each check, and by
    `Accept` it is JSON, `application/health+json` or Spring Boot's actuator; `response_format` is
    the default. Without `details` no response has the reason of a failure. With `daprd`, the
    default `path` is `/v1.0/healthz`, and it responds as daprd does: 204, or 500 with a JSON error.

    Run it on a thread (`with HealthServer() as server:`, or `start()` and `stop()`), in an asyncio
    program (`await server.serve()`), as the whole program (`run()`), or as part of another server:
    `app` is an ASGI app, and `wsgi` a WSGI app. It listens on `host` and `port` (0 takes a free
    one, which `port` then holds), or on `unix_socket`. `drain` is the number of seconds between not
    ready and the end, for `drain()`, `drain_on_sigterm()` and the signals of `run()`.

    `on_change` is called with the `HealthReport` whenever a state in it has changed, on the thread
    that notices it: that of `ready()` and the like, or that of the checks' loop. Events go to
    `log`, by default the logger "healthchecker". A bad argument is a `BadArgumentError`. Its own
    server needs uvicorn, from the extra `healthchecker-static[server]`.
    """

    def __init__(
        self,
        port: int = 8080,
        *,
        host: str = "0.0.0.0",  # noqa: S104 - its clients are outside: Kubernetes, a load balancer
        unix_socket: FilePath | None = None,
        path: str | None = None,
        checks: Mapping[str, Checkable | ServerCheck] | None = None,
        liveness: Mapping[str, Checkable | ServerCheck] | None = None,
        cache: float = 1.0,
        drain: float = 0.0,
        daprd: bool = False,
        details: bool = True,
        response_format: ResponseFormat = "text",
        on_change: OnChange | None = None,
        log: Log | None = None,
    ) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= MAX_PORT:
            raise BadArgumentError("port", port, f"must be between 0 and {MAX_PORT}")
        if not isinstance(host, str):
            raise BadArgumentError("host", host, "must be a string")
        if log is not None and not all(callable(getattr(log, name, None)) for name in _LOG_METHODS):
            raise BadArgumentError("log", log, "must be a logging.Logger")
        if on_change is not None and (not callable(on_change) or is_coroutine_function(on_change)):
            raise BadArgumentError(
                "on_change", on_change, "must be a function, and no coroutine function"
            )
        self._log = log or logging.getLogger("healthchecker")
        self._on_change = on_change
        self._drain_seconds = validate.check_seconds("drain", drain, zero=True)
        seconds = validate.check_seconds("cache", cache, zero=True)
        self._checks = Checks("checks", checks, reserved=READY, cache=seconds, log=self._log)
        self._liveness = Checks("liveness", liveness, reserved=ALIVE, cache=seconds, log=self._log)
        daprd = validate.flag("daprd", daprd)
        self._endpoints = Endpoints(
            check_path(path, daprd=daprd),
            daprd=daprd,
            response_format=check_response_format(response_format),
            details=validate.flag("details", details),
        )
        self.host = host
        """The address that it listens on."""
        self.unix_socket = validate.unix_socket("unix_socket", unix_socket)
        """The path of the Unix socket that it listens on instead, or None."""
        self.port = port
        """The port to listen on; while listening on port 0, the actual one."""
        self.app: AsgiCallable = AsgiApp(self._respond)
        """The endpoints as an ASGI app, for an asyncio or trio server of your own."""
        self.wsgi = WsgiApp(self._respond)
        """The endpoints as a WSGI app, for a server of your own."""
        self._wanted_port = port
        self._ready = False
        self._is_draining = False
        self._was_ready = False
        self._server: HttpServer | None = None
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._last_states: dict[str, bool] | None = None
        self._change_lock = threading.RLock()
        _instances.add(self)

    def ready(self) -> None:
        """Be ready from now on, if the checks pass. Like `not_ready`, safe to call anywhere."""
        self._ready = True
        self._notify()

    def not_ready(self) -> None:
        """Be not ready from now on, whatever the outcomes of the checks."""
        self._ready = False
        self._notify()

    @property
    def is_ready(self) -> bool:
        """Whether the program has called `ready()` last, and does not drain; without the checks."""
        return self._ready and not self._is_draining

    @property
    def is_draining(self) -> bool:
        """Whether `drain()` has been called since the start."""
        return self._is_draining

    def results(self) -> HealthReport:
        """Return what `/readyz` reports, from any thread; wait for the checks, as a request does.

        It blocks, for at most the longest timeout of a check; in asyncio use `aresults()`.
        """
        return background.run(self._ready_report(self._checks.names)).result()

    async def aresults(self) -> HealthReport:
        """Return what `/readyz` reports; the checks run on this event loop."""
        return await self._ready_report(self._checks.names)

    def drain(self, seconds: float | None = None) -> None:
        """Be not ready from now on, for good; stop serving after `seconds`.

        Returns immediately. In the meantime, all endpoints respond, so that clients see that the
        program is not ready, and stop sending requests to it. A mounted app stops with its server.
        Without `seconds`, it is the `drain` of the constructor. Safe to call from any thread and
        from a signal handler.
        """
        delay = self._read_drain(seconds)
        self._is_draining = True
        server = self._server
        if server is not None:
            server.stop_at = time.monotonic() + delay
        self._notify()

    def drain_on_sigterm(self, seconds: float | None = None) -> None:
        """At SIGTERM, `drain()`; after `seconds`, do what SIGTERM did until now.

        For programs whose own server ends at SIGTERM: call it on the main thread when that server
        has installed its handler, such as in the lifespan of an ASGI app. A second SIGTERM does not
        wait. A loop's `add_signal_handler()` cannot be delayed, so it is a `RuntimeError`: call
        `drain()` in that handler instead.
        """
        delay = self._read_drain(seconds)
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("drain_on_sigterm() must be called on the main thread")
        before = signal.getsignal(signal.SIGTERM)
        if getattr(before, "__module__", "").startswith("asyncio"):
            raise RuntimeError(
                "drain_on_sigterm() cannot delay a handler of loop.add_signal_handler();"
                " call drain() in that handler"
            )

        def handle(number: int, frame: Any) -> None:
            if not self._is_draining:
                self.drain(delay)
                timer = threading.Timer(delay, os.kill, (os.getpid(), number))
                timer.daemon = True
                timer.start()
                return
            signal.signal(number, before)
            if callable(before):
                before(number, frame)
            else:
                os.kill(os.getpid(), number)

        signal.signal(signal.SIGTERM, handle)

    async def serve(self) -> None:
        """Serve until cancelled or stopped.

        Listens as soon as it first runs; raises `ServerStartError` if it cannot. Leaves signals to
        the program.
        """
        await self._serve(*self._listen())

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM (when on the main thread) or `stop()`; drain at a signal."""
        server, listener = self._listen()
        with self._stopped_by_signals():
            asyncio.run(self._serve(server, listener))

    def start(self) -> None:
        """Serve on a daemon thread, which does not keep the program alive."""
        server, listener = self._listen()
        thread = threading.Thread(
            target=self._run_on_thread,
            args=(server, listener),
            name="healthchecker-server",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:
            self._close(listener)
            raise
        self._thread = thread

    def stop(self) -> None:
        """Stop serving, within 5 seconds; from any thread, and without effect if not running.

        What `start()` has started has ended when this returns; `serve()` and `run()` return soon.
        """
        if self._server is not None:
            self._server.should_exit = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    async def _respond(self, request: Request, *, on_asyncio: bool = True) -> Response:
        question = self._endpoints.read(request)
        if isinstance(question, Response):
            return question
        checks = self._liveness if question.kind is Kind.LIVE else self._checks
        names = [
            name
            for name in checks.names
            if name not in question.exclude and question.only in (None, name)
        ]
        if question.kind is Kind.LIVE:
            outcomes = await checks.outcomes(names, on_asyncio=on_asyncio)
            report = HealthReport({ALIVE: CheckOutcome(True), **outcomes})
        elif question.kind is Kind.STARTED and self._was_ready:
            report = HealthReport({_STARTED: CheckOutcome(True)})
        else:
            report = await self._ready_report(names, on_asyncio=on_asyncio)
        if question.only is not None and question.only not in report.checks:
            return not_found(request)
        return self._endpoints.respond(request, question, _selected(report, question))

    async def _ready_report(self, names: Iterable[str], *, on_asyncio: bool = True) -> HealthReport:
        names = list(names)
        outcomes = await self._checks.outcomes(names, on_asyncio=on_asyncio)
        # Last: the program may have changed its state in the meantime.
        report = HealthReport({READY: self._own_state(), **outcomes})
        if report and len(names) == len(list(self._checks.names)):
            self._was_ready = True
        self._notify()
        return report

    def _own_state(self) -> CheckOutcome:
        if self._is_draining:
            return CheckOutcome(False, "the program is shutting down")
        return (
            CheckOutcome(True) if self._ready else CheckOutcome(False, "the program is not ready")
        )

    def _notify(self) -> None:
        """Call `on_change` if a state is not the one that it was called with last."""
        if self._on_change is None:
            return
        with self._change_lock:
            report = HealthReport({READY: self._own_state(), **self._checks.last_outcomes()})
            states = {name: one.healthy for name, one in report.checks.items()}
            if states == self._last_states:
                return
            self._last_states = states
            try:
                self._on_change(report)
            except Exception:  # noqa: BLE001 - it is the program's, and ends no response
                self._log.exception("on_change of the health server failed")

    def _read_drain(self, seconds: float | None) -> float:
        if seconds is None:
            return self._drain_seconds
        return validate.check_seconds("seconds", seconds, zero=True)

    def _run_on_thread(self, server: HttpServer, listener: Listener) -> None:
        with contextlib.suppress(Exception):  # it has been logged, and has no caller to go to
            asyncio.run(self._serve(server, listener))

    async def _serve(self, server: HttpServer, listener: Listener) -> None:
        serving = asyncio.ensure_future(server.serve([listener.sock]))
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
            await self._liveness.end()
            self._close(listener)

    def _listen(self) -> tuple[HttpServer, Listener]:
        if self._server is not None:
            raise RuntimeError("the health server is already running")
        try:
            server_class = import_module("healthchecker._server.http_server").HttpServer
        except ModuleNotFoundError as error:
            if error.name != "uvicorn":
                raise
            raise ImportError(
                "HealthServer needs uvicorn to serve: install healthchecker-static[server]",
                name="uvicorn",
            ) from error
        try:
            if self.unix_socket is not None:
                listener = listen_on_path(self.unix_socket)
            else:
                listener = listen_on_port(self.host, self._wanted_port)
        except ServerStartError as error:
            self._log.error("%s", error)
            raise
        self.port = listener.port or self._wanted_port
        self._is_draining = False
        server: HttpServer = server_class(self.app)
        self._server, self._listener = server, listener
        self._log.info("health server listening on %s", listener.place)
        return server, listener

    def _close(self, listener: Listener) -> None:
        listener.close()
        self._server = self._listener = None
        self.port = self._wanted_port
        self._log.info("health server stopped")

    def _forget(self) -> None:
        """In a forked process: the server runs in the parent, and here nothing does."""
        if self._listener is not None:
            self._listener.close()
        self._server = self._listener = self._thread = None
        self.port = self._wanted_port
        self._checks.forget()
        self._liveness.forget()
        self._change_lock = threading.RLock()

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(*_: object) -> None:
            if self._is_draining or not self._drain_seconds:
                self.stop()
            else:
                self.drain()

        before = {one: signal.signal(one, handle) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def _selected(report: HealthReport, question: Question) -> HealthReport:
    """Return the requested outcomes; a single one counts, critical or not."""
    if question.only is not None:
        outcome = report.checks[question.only]
        return HealthReport({question.only: replace(outcome, critical=True)})
    return HealthReport(
        {name: one for name, one in report.checks.items() if name not in question.exclude}
    )


_instances: weakref.WeakSet[HealthServer] = weakref.WeakSet()


def _forget_all() -> None:
    for server in list(_instances):
        server._forget()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_forget_all)
