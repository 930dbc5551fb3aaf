"""The checks behind a health server: targets and functions, each run shared by its requests."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Unpack

import httpx

from healthchecker._run.acheck import aprobe
from healthchecker._run.check import TargetText, make_all
from healthchecker._server.report import CheckOutcome
from healthchecker._values.options import OptionValues
from healthchecker._values.result import BadArgumentError, CheckResult
from healthchecker._values.validate import check_seconds, flag

Checkable = TargetText | Callable[[], object]
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_GRACE = 0.25  # seconds for a probe to report its own timeout
_NOT_RUN = CheckOutcome(False, "has not run yet")


class ServerCheck:
    """A check of a `HealthServer` with its own timeout or options, or one that is not critical."""

    def __init__(
        self,
        check: Checkable,
        *,
        timeout: float = 2.0,
        critical: bool = True,
        **options: Unpack[OptionValues],
    ) -> None:
        """Take a target, with options like those of `check()`, or a function.

        The check fails if it takes more than `timeout` seconds, raises, or returns a falsy value
        other than None. A function that is not a coroutine function runs on a new thread each time.
        While a check that is not `critical` fails, the program is degraded, but still ready.
        """
        self.limit = check_seconds("timeout", timeout)
        self.critical = flag("critical", critical)
        self.is_coroutine_function = False
        if callable(check):
            if options:
                raise BadArgumentError(
                    min(options),
                    "\N{HORIZONTAL ELLIPSIS}",
                    "only applies to targets, not functions",
                )
            self.function: Callable[[], object] = check
            self.is_coroutine_function = is_coroutine_function(check)
        else:
            (prober,) = make_all([check], options)
            self.function = partial(aprobe, prober, self.limit)
            self.limit += _GRACE


class Checks:
    """The checks of one endpoint."""

    def __init__(
        self,
        argument: str,
        checks: Mapping[str, Checkable | ServerCheck] | None,
        *,
        reserved: str,
        cache: float,
        log: Log,
    ) -> None:
        """Verify the checks, given as the parameter `argument`; keep outcomes for `cache` seconds.

        `reserved` is the name that the server itself uses.
        """
        if checks is not None and not isinstance(checks, Mapping):
            raise BadArgumentError(argument, checks, "must map names to checks")
        self._checks = {
            _read_name(argument, name, reserved): _Check(
                name, _read(argument, name, one), cache, log
            )
            for name, one in (checks or {}).items()
        }

    @property
    def names(self) -> Iterable[str]:
        """The names of all checks, in their order."""
        return self._checks.keys()

    def last_outcomes(self) -> dict[str, CheckOutcome]:
        """Return the last outcome of each check, without running any."""
        return {name: check.last for name, check in self._checks.items()}

    async def outcomes(
        self, names: Iterable[str], *, on_asyncio: bool = True
    ) -> dict[str, CheckOutcome]:
        """Return outcomes by name: kept ones, those of runs in progress, or of new runs.

        If the program does not run on asyncio, its coroutine functions fail instead of running.
        """
        chosen = {name: self._checks[name] for name in names}
        kept = [check.kept() for check in chosen.values()]
        if None in kept:
            runs = (check.outcome(on_asyncio=on_asyncio) for check in chosen.values())
            kept = list(await asyncio.gather(*runs))
        return {name: one for name, one in zip(chosen, kept, strict=True) if one is not None}

    async def end(self) -> None:
        """Cancel all runs in progress."""
        await asyncio.gather(*(check.end() for check in self._checks.values()))

    def forget(self) -> None:
        """Forget runs in progress: a forked process has neither their loop nor their threads."""
        for check in self._checks.values():
            check.forget()


def _read_name(argument: str, name: object, reserved: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == reserved:
        raise BadArgumentError(
            argument,
            name,
            f"must consist of letters, digits, '.', '_' or '-', and must not be {reserved!r}",
        )
    return name


def _read(argument: str, name: str, check: object) -> ServerCheck:
    if isinstance(check, ServerCheck):
        return check
    if not isinstance(check, (str, httpx.URL)) and not callable(check):
        raise BadArgumentError(argument, name, "must be a target, a function or a ServerCheck")
    try:
        return ServerCheck(check)
    except BadArgumentError as error:
        raise BadArgumentError(argument, name, str(error)) from error


def is_coroutine_function(function: Callable[..., object]) -> bool:
    """Return whether a call makes a coroutine; also for partials and objects with `__call__`."""
    called = function.func if isinstance(function, partial) else function
    return any(map(inspect.iscoroutinefunction, (called, type(called).__call__)))


class _Check:
    """One check: at most one run at a time, whose outcome all requests share."""

    def __init__(self, name: str, check: ServerCheck, cache: float, log: Log) -> None:
        self._name = name
        self._check = check
        self._cache = cache
        self._log = log
        self._last: CheckOutcome | None = None
        self._kept_until = 0.0
        self._run: asyncio.Task[CheckOutcome] | None = None
        self._call: _Call | None = None

    @property
    def last(self) -> CheckOutcome:
        return (
            replace(_NOT_RUN, critical=self._check.critical) if self._last is None else self._last
        )

    def kept(self) -> CheckOutcome | None:
        """Return the last outcome while it is fresh."""
        return self._last if time.monotonic() < self._kept_until else None

    async def outcome(self, *, on_asyncio: bool) -> CheckOutcome:
        kept = self.kept()
        if kept is not None:
            return kept
        if self._check.is_coroutine_function and not on_asyncio:
            return CheckOutcome(
                False,
                "a coroutine function needs asyncio, which the program does not run on;"
                " pass a function",
                critical=self._check.critical,
            )
        # A task of a loop that has ended without it will never be done.
        if self._run is None or self._run.get_loop() is not asyncio.get_running_loop():
            self._run = asyncio.create_task(self._run_once())
            self._run.add_done_callback(self._drop)
        return await asyncio.shield(self._run)

    async def end(self) -> None:
        run = self._run
        if run is not None and run.get_loop() is asyncio.get_running_loop():
            run.cancel()
            await asyncio.wait([run])

    def forget(self) -> None:
        self._run = None
        self._call = None
        self._kept_until = 0.0

    def _drop(self, run: asyncio.Task[CheckOutcome]) -> None:
        if self._run is run:
            self._run = None

    async def _run_once(self) -> CheckOutcome:
        outcome = replace(await self._outcome(), critical=self._check.critical)
        before, self._last = self._last, outcome
        self._kept_until = time.monotonic() + self._cache
        if before is None or before.healthy is not outcome.healthy:
            with suppress(Exception):  # a log that is broken must not take the response away
                self._log_change(outcome)
        return outcome

    def _log_change(self, outcome: CheckOutcome) -> None:
        if outcome.healthy:
            self._log.info("health check %s passes", self._name)
        else:
            why = outcome.private or outcome.detail
            self._log.warning("health check %s fails: %s", self._name, why)

    async def _outcome(self) -> CheckOutcome:
        if self._call is not None and self._call.is_running():
            return CheckOutcome(False, "timeout: the previous call is still running")
        start = time.monotonic()
        self._call = call = _Call(self._check.function)
        limit = self._check.limit
        try:
            # Not asyncio.timeout(): a function may ignore its cancellation.
            await asyncio.wait([call.task], timeout=limit)
        finally:
            call.task.cancel()
        elapsed = time.monotonic() - start
        if not call.task.done() or call.task.cancelled():
            detail = f"timeout: timed out after {limit * 1000:.0f} ms"
            return CheckOutcome(False, detail, elapsed)
        error = call.task.exception()
        return replace(call.task.result() if error is None else _raised(error), elapsed=elapsed)


class _Call:
    """One call of a function, on the event loop or on a thread."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._thread: threading.Thread | None = None
        self._has_returned = False
        """Whether the function has returned on its thread, which itself ends a little later."""
        self.task = asyncio.ensure_future(self._judge())

    def is_running(self) -> bool:
        """Return whether part of it still runs, cancelled or not: a thread cannot be ended."""
        thread = self._thread
        goes_on = thread is not None and thread.is_alive() and not self._has_returned
        return not self.task.done() or goes_on

    async def _judge(self) -> CheckOutcome:
        # Everything that a function can raise, of whatever class, is a failed check: one that
        # escaped from here could end the server's loop.
        try:
            return _judge(await self._value())
        except GeneratorExit:
            raise  # the loop has ended
        except asyncio.CancelledError as error:
            if self.task.cancelling():
                raise
            return _raised(error)
        except BaseException as error:  # noqa: BLE001 - see above
            return _raised(error)

    async def _value(self) -> object:
        if is_coroutine_function(self._function):
            value = self._function()
        else:
            value = await self._on_a_thread()
        return await value if inspect.isawaitable(value) else value

    async def _on_a_thread(self) -> object:
        """Call on a daemon thread, so that it cannot delay the exit of the interpreter."""
        loop = asyncio.get_running_loop()
        returned: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

        def deliver(value: object, error: BaseException | None) -> None:
            if not returned.cancelled():
                returned.set_result((value, error))

        def call() -> None:
            value, failure = None, None
            try:
                value = self._function()
            except BaseException as error:  # noqa: BLE001 - raised again on the loop
                failure = error
            self._has_returned = (
                True  # before the outcome is known, after which the next call may come
            )
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(deliver, value, failure)

        self._thread = threading.Thread(target=call, name="healthchecker-check", daemon=True)
        self._thread.start()
        value, error = await returned
        if error is not None:
            raise error
        return value


def _judge(value: object) -> CheckOutcome:
    if isinstance(value, CheckResult):
        return CheckOutcome(value.healthy, f"{value.reason}: {value.detail}")
    if value is None or value:
        return CheckOutcome(True)
    return CheckOutcome(False, "returned False" if value is False else "returned a falsy value")


def _raised(error: BaseException) -> CheckOutcome:
    detail = f"raised {type(error).__name__}"
    try:
        private = f"{detail}: {error}"
    except BaseException:  # noqa: BLE001 - its __str__ may raise anything
        private = detail
    return CheckOutcome(False, detail, private=private)
