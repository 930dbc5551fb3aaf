"""What a health server asks before it answers: targets and functions, run once for many askers."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Unpack

import httpx

from healthchecker._run.acheck import aprobe
from healthchecker._run.check import TargetText, make_all
from healthchecker._values.options import OptionValues
from healthchecker._values.result import BadArgumentError, CheckResult
from healthchecker._values.validate import check_seconds

Ask = TargetText | Callable[[], object]
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

READY = "ready"
"""The name under which the server tells what the program says of itself."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_OWN_WORDS = 0.25  # seconds that a probe has to say itself that it took too long


class ServerCheck:
    """One check of a `HealthServer` that has limits or options of its own."""

    def __init__(self, ask: Ask, *, timeout: float = 2.0, **options: Unpack[OptionValues]) -> None:
        """Take a target with options as those of `check()`, or a function.

        It fails when it takes more than `timeout` seconds, when it raises, and when it returns a
        false value other than None. A function that is no coroutine runs on a thread of its own.
        """
        seconds = check_seconds("timeout", timeout)
        if callable(ask):
            if options:
                raise BadArgumentError(min(options), "\N{HORIZONTAL ELLIPSIS}", "is for targets")
            self.function: Callable[[], object] = ask
            self.limit = seconds
        else:
            (prober,) = make_all([ask], options)
            self.function = partial(aprobe, prober, seconds)
            self.limit = seconds + _OWN_WORDS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of a check came to."""

    healthy: bool
    detail: str
    """For whoever asks the server."""
    elapsed: float = 0.0
    """Seconds."""
    private: str = ""
    """For the program's log alone: the message of an exception may hold a secret."""


class Checks:
    """The checks of one server."""

    def __init__(self, checks: Mapping[str, Ask | ServerCheck], cache: float, log: Log) -> None:
        """Verify the checks; a result is kept for `cache` seconds."""
        if not isinstance(checks, Mapping):
            raise BadArgumentError("checks", checks, "must be a mapping of names and what to ask")
        self._checks = [_Check(name, _read(name, ask), cache, log) for name, ask in checks.items()]

    async def outcomes(self) -> dict[str, Outcome]:
        """Return how each check is: kept, of the run that is under way, or of a new run."""
        kept = [check.kept() for check in self._checks]
        if None in kept:
            kept = list(await asyncio.gather(*(check.outcome() for check in self._checks)))
        named = zip(self._checks, kept, strict=True)
        return {check.name: outcome for check, outcome in named if outcome is not None}

    async def end(self) -> None:
        """End what is under way."""
        await asyncio.gather(*(check.end() for check in self._checks))


def _read(name: object, ask: object) -> ServerCheck:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == READY:
        raise BadArgumentError("checks", name, f"not a name of letters, digits, . _ -, or {READY}")
    if isinstance(ask, ServerCheck):
        return ask
    if not isinstance(ask, (str, httpx.URL)) and not callable(ask):
        raise BadArgumentError("checks", name, "must be a target, a function or a ServerCheck")
    return ServerCheck(ask)


class _Check:
    """One check: at most one run at a time, whose outcome all share."""

    def __init__(self, name: str, asked: ServerCheck, cache: float, log: Log) -> None:
        self.name = name
        self._function = asked.function
        self._limit = asked.limit
        self._cache = cache
        self._log = log
        self._last: Outcome | None = None
        self._kept_until = 0.0
        self._run: asyncio.Task[Outcome] | None = None
        self._call: _Call | None = None

    def kept(self) -> Outcome | None:
        """Return the last outcome while it is fresh."""
        return self._last if time.monotonic() < self._kept_until else None

    async def outcome(self) -> Outcome:
        kept = self.kept()
        if kept is not None:
            return kept
        # A task of a loop that has ended without it will never be done.
        if self._run is None or self._run.get_loop() is not asyncio.get_running_loop():
            self._run = asyncio.create_task(self._run_once())
            self._run.add_done_callback(self._forget)
        return await asyncio.shield(self._run)

    async def end(self) -> None:
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait([self._run])

    def _forget(self, run: asyncio.Task[Outcome]) -> None:
        if self._run is run:
            self._run = None

    async def _run_once(self) -> Outcome:
        before, self._last = self._last, await self._ask()
        self._kept_until = time.monotonic() + self._cache
        if before is None or before.healthy is not self._last.healthy:
            if self._last.healthy:
                self._log.info("health check %s passes", self.name)
            else:
                why = self._last.private or self._last.detail
                self._log.warning("health check %s fails: %s", self.name, why)
        return self._last

    async def _ask(self) -> Outcome:
        if self._call is not None and self._call.is_running():
            return Outcome(False, "timeout: the call before has not returned yet", 0.0)
        start = time.monotonic()
        self._call = call = _Call(self._function)
        try:
            # Not asyncio.timeout(): a function may take no notice of being cancelled.
            await asyncio.wait([call.task], timeout=self._limit)
        finally:
            call.task.cancel()
        elapsed = time.monotonic() - start
        if not call.task.done() or call.task.cancelled():
            return Outcome(False, f"timeout: timed out after {self._limit * 1000:.0f} ms", elapsed)
        return replace(call.task.result(), elapsed=elapsed)


class _Call:
    """One call of a function, on the event loop or on a thread."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._thread: threading.Thread | None = None
        self._has_returned = False
        """Whether the function has, on the thread, which itself ends a little later."""
        self.task = asyncio.ensure_future(self._judge())

    def is_running(self) -> bool:
        """Tell whether something of it goes on, cancelled or not: a thread cannot be ended."""
        thread = self._thread
        goes_on = thread is not None and thread.is_alive() and not self._has_returned
        return not self.task.done() or goes_on

    async def _judge(self) -> Outcome:
        try:
            value = await self._value()
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if self.task.cancelling():
                raise
            what = f"raised {type(error).__name__}"
            return Outcome(False, what, private=f"{what}: {error}")
        if isinstance(value, CheckResult):
            return Outcome(value.healthy, f"{value.reason}: {value.detail}")
        if value is None or value:
            return Outcome(True, "")
        return Outcome(False, f"returned {value!r}" if value is False else "returned a false value")

    async def _value(self) -> object:
        function = self._function
        called = function.func if isinstance(function, partial) else function
        if any(map(inspect.iscoroutinefunction, (called, type(called).__call__))):
            value = function()
        else:
            value = await self._on_a_thread()
        return await value if inspect.isawaitable(value) else value

    async def _on_a_thread(self) -> object:
        """Call on a daemon thread, which holds up nobody's end."""
        loop = asyncio.get_running_loop()
        returned: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

        def tell(value: object, error: BaseException | None) -> None:
            if not returned.cancelled():
                returned.set_result((value, error))

        def call() -> None:
            value, failure = None, None
            try:
                value = self._function()
            except BaseException as error:  # noqa: BLE001 - raised again on the loop
                failure = error
            self._has_returned = True  # before anybody hears of it, who may call again
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(tell, value, failure)

        self._thread = threading.Thread(target=call, name="healthchecker-check", daemon=True)
        self._thread.start()
        value, error = await returned
        if error is not None:
            raise error
        return value
