"""Checks: one target on the calling thread, several concurrently. `acheck` is for asyncio."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Unpack

import httpx

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.base import Prober
from healthchecker._protocols.registry import make_probers, parse_target
from healthchecker._values.options import (
    CheckOptions,
    OptionValues,
    make_options,
    with_options_documented,
)
from healthchecker._values.result import BadArgumentError, CheckResult
from healthchecker._values.target import Target, shown_target
from healthchecker._values.validate import check_seconds

TargetText = str | httpx.URL
"""A TARGET as users write it."""


@with_options_documented
def check(
    target: TargetText, *, timeout: float = 2.0, **options: Unpack[OptionValues]
) -> CheckResult:
    """Check once whether `target` is healthy; returns within `timeout` seconds.

    `target` is written as on the command line: `http://…`, `https://…`, `tcp://host:port`,
    `postgresql://host`, `file:///path` and so on. An unhealthy or unreachable target is a
    result like any other. A bad argument is a `BadArgumentError` (a ValueError) that names it.
    May be called from any thread. Starts one for what may hang: files, name lookups, and TLS.
    """
    start = time.monotonic()  # the files that options name may take their time
    (prober,) = make_all([target], options)
    return prober.probe(check_seconds("timeout", timeout), start=start)


def check_all(
    targets: Iterable[TargetText], *, timeout: float = 2.0, **options: Unpack[OptionValues]
) -> list[CheckResult]:
    """Check all targets concurrently; return their results in order.

    Like `check()`, and within the same `timeout` seconds as one target. An option that none of the
    targets can use is a `BadArgumentError`. Uses one thread per target, except for the first.
    """
    start = time.monotonic()
    probers = make_all(targets, options)
    return probe_all(probers, check_seconds("timeout", timeout), start=start)


def make_all(targets: Iterable[TargetText], options: OptionValues) -> list[Prober]:
    """Return the probers for targets and options as users write them; verify all of it."""
    if isinstance(targets, (str, httpx.URL)) or not isinstance(targets, Iterable):
        problem = "must be an iterable of targets; wrap a single one in a list"
        raise BadArgumentError("targets", _shown(targets), problem)
    made = make_options(**options)
    return make_probers([_read(target, made) for target in targets], made)


def _read(target: object, options: CheckOptions) -> Target:
    if not isinstance(target, (str, httpx.URL)):
        raise BadArgumentError("target", _shown(target), "must be a string or an httpx.URL")
    return parse_target(str(target), options.unix_socket)


def _shown(value: object) -> object:
    """Return what may be a target, or contain some, as errors show it: without passwords."""
    if isinstance(value, (str, httpx.URL)):
        return shown_target(str(value))
    return value if value is None or isinstance(value, (int, float)) else type(value)


def probe_all(
    probers: Sequence[Prober],
    timeout: float,
    *,
    any_is_enough: bool = False,
    cancel: Cancel | None = None,
    start: float | None = None,
) -> list[CheckResult]:
    """Probe all concurrently; return the results in the order of `probers`.

    The `timeout` seconds count from now, or from `start` (of `time.monotonic()`).
    With `any_is_enough`, the first healthy one ends the others, which are then not in the list.
    Targets for which no thread can be started (a container's pids limit) are probed sequentially on
    the calling thread, each with a share of the remaining `timeout`, so that one that hangs leaves
    time for the others. Raises `Cancelled` after `cancel` was set and all threads have ended.
    """
    if not probers:
        return []
    if len(probers) == 1:
        return [probers[0].probe(timeout, cancel, start)]
    start = time.monotonic() if start is None else start
    with Cancel(cancel) as end_all:
        probes = _Probes(probers, timeout, start, end_all, any_is_enough=any_is_enough)
        with _threads(probes.run, range(1, len(probers)), end_all) as without_thread:
            probes.run_in_turn([0, *without_thread])
    return probes.outcome()


class _Probes:
    """A set of concurrent probes and their results so far."""

    def __init__(
        self,
        probers: Sequence[Prober],
        timeout: float,
        start: float,
        end_all: Cancel,
        *,
        any_is_enough: bool,
    ) -> None:
        self._probers = probers
        self._timeout = timeout
        self._start = start
        self._end_all = end_all
        self._any_is_enough = any_is_enough
        self._results: dict[int, CheckResult] = {}
        self._errors: list[BaseException] = []

    def run(self, index: int) -> None:
        """Run one probe, within the whole time."""
        self._run(index, self._timeout, self._start)

    def run_in_turn(self, indices: Sequence[int]) -> None:
        """Run some probes on this thread; unused time is passed on to the next."""
        for place, index in enumerate(indices):
            now = time.monotonic()
            share = (self._start + self._timeout - now) / (len(indices) - place)
            if index == indices[-1] or share <= 0:
                self.run(index)
            else:
                self._run(index, share, now)

    def outcome(self) -> list[CheckResult]:
        """Return the results; re-raise the first error."""
        if self._errors:
            raise self._errors[0]
        results = [self._results[index] for index in sorted(self._results)]
        if len(results) < len(self._probers) and not (self._any_is_enough and any(results)):
            raise Cancelled
        return results

    def _run(self, index: int, timeout: float, start: float) -> None:
        try:
            result = self._probers[index].probe(timeout, self._end_all, start)
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised again on the calling thread
            self._errors.append(error)
            return
        self._results[index] = result
        if result.healthy and self._any_is_enough:
            self._end_all.set()


@contextmanager
def _threads(
    run: Callable[[int], None], indices: Iterable[int], end_all: Cancel
) -> Iterator[list[int]]:
    """Run each index on its own thread; yield the indices that got no thread; join on exit."""
    threads: list[threading.Thread] = []
    without_thread: list[int] = []
    try:
        for index in indices:
            thread = threading.Thread(target=run, args=(index,))
            try:
                thread.start()
            except (RuntimeError, MemoryError):
                without_thread.append(index)
            else:
                threads.append(thread)
        yield without_thread
    except BaseException:
        end_all.set()
        raise
    finally:
        for thread in threads:
            thread.join()
