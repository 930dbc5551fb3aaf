"""Checks: one target on the calling thread, several at the same time. `_acheck` is for asyncio."""

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
from healthchecker._values.target import Target
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
    Works on any thread; starts none, but for a file or a pid file.
    """
    (prober,) = make_all([target], options)
    return prober.probe(check_seconds("timeout", timeout))


def check_all(
    targets: Iterable[TargetText], *, timeout: float = 2.0, **options: Unpack[OptionValues]
) -> list[CheckResult]:
    """Ask all targets at the same time; return a result for each, in their order.

    As `check()`, and within the same `timeout` seconds as one. An option that none of the targets
    can use is a `BadArgumentError`. Each target but one has a thread while it is asked.
    """
    probers = make_all(targets, options)
    return probe_all(probers, check_seconds("timeout", timeout))


def make_all(targets: Iterable[TargetText], options: OptionValues) -> list[Prober]:
    """Return the probers for targets and options as users write them; verify all of it."""
    if isinstance(targets, (str, httpx.URL)) or not isinstance(targets, Iterable):
        raise BadArgumentError("targets", targets, "must be several: put it into a list")
    made = make_options(**options)
    return make_probers([_read(target, made) for target in targets], made)


def _read(target: object, options: CheckOptions) -> Target:
    if not isinstance(target, (str, httpx.URL)):
        raise BadArgumentError("target", target, "must be a string or an httpx.URL")
    return parse_target(str(target), options.unix_socket)


def probe_all(
    probers: Sequence[Prober],
    timeout: float,
    *,
    any_is_enough: bool = False,
    cancel: Cancel | None = None,
) -> list[CheckResult]:
    """Probe all at the same time; return the results in the order of `probers`.

    With `any_is_enough`, the first healthy one ends the others, which are then not in the list.
    Those for which no thread can be started (a container's limit of processes) are probed on the
    calling thread, one after the other: each has its share of what is left of the `timeout`
    seconds, so that one that hangs leaves time for the others. Raises `Cancelled` when `cancel` is
    set meanwhile, after all threads have ended.
    """
    if not probers:
        return []
    if len(probers) == 1:
        return [probers[0].probe(timeout, cancel)]
    start = time.monotonic()
    with Cancel(cancel) as end_all:
        probes = _Probes(probers, timeout, start, end_all, any_is_enough=any_is_enough)
        with _threads(probes.run, range(1, len(probers)), end_all) as without_thread:
            probes.run_in_turn([0, *without_thread])
    return probes.outcome()


class _Probes:
    """Those that are made at the same time, and what has become of them so far."""

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
        """Make one, within the whole of the time."""
        self._run(index, self._timeout, self._start)

    def run_in_turn(self, indices: Sequence[int]) -> None:
        """Make some on this thread; one that leaves time leaves it to those after it."""
        for place, index in enumerate(indices):
            now = time.monotonic()
            share = (self._start + self._timeout - now) / (len(indices) - place)
            if index == indices[-1] or share <= 0:
                self.run(index)
            else:
                self._run(index, share, now)

    def outcome(self) -> list[CheckResult]:
        """Return the results; raise what kept one from coming."""
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
    """Run on a thread for each index; yield those for which none can be had, and wait for all."""
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
