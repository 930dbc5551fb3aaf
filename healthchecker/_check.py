"""Checks: one target on the calling thread, several at the same time. `_acheck` is for asyncio."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Unpack

import httpx

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._options import CheckOptions, OptionValues, check_seconds, make_options
from healthchecker._probers.prober import Prober
from healthchecker._probers.table import make_probers, parse_target
from healthchecker._result import BadArgumentError, CheckResult
from healthchecker._target import Target

TargetText = str | httpx.URL
"""A TARGET as users write it."""


def check(
    target: TargetText, *, timeout: float = 2.0, **options: Unpack[OptionValues]
) -> CheckResult:
    """Check once whether `target` is healthy; returns within `timeout` seconds.

    `target` is written as on the command line: `http://…`, `https://…`, `tcp://host:port`,
    `grpc://host:port[/service]`, `grpcs://…` and so on. An unhealthy or unreachable target is a
    result like any other. A bad argument is a `BadArgumentError` (a ValueError) that names it.
    Works on any thread; starts none.
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
    Where no thread can be started (a container's limit of processes), the rest is probed on the
    calling thread, one after the other, inside the same `timeout` seconds. Raises `Cancelled` when
    `cancel` is set meanwhile, after all threads have ended.
    """
    if not probers:
        return []
    if len(probers) == 1:
        return [probers[0].probe(timeout, cancel)]
    start = time.monotonic()
    results: dict[int, CheckResult] = {}
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            result = probers[index].probe(timeout, end_all, start)
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised again on the calling thread
            errors.append(error)
            return
        results[index] = result
        if result.healthy and any_is_enough:
            end_all.set()

    with Cancel(cancel) as end_all:
        _run_at_the_same_time([partial(run, index) for index in range(len(probers))], end_all)
    if errors:
        raise errors[0]
    if len(results) < len(probers) and not (any_is_enough and any(results.values())):
        raise Cancelled
    return [results[index] for index in sorted(results)]


def _run_at_the_same_time(runs: Sequence[Callable[[], None]], end_all: Cancel) -> None:
    """Do the first on this thread; return when all are over."""
    threads: list[threading.Thread] = []
    try:
        for run in runs[1:]:
            _start(threads, run)
        runs[0]()
    except BaseException:
        end_all.set()
        raise
    finally:
        for thread in threads:
            thread.join()


def _start(threads: list[threading.Thread], run: Callable[[], None]) -> None:
    """Run on a thread of its own, which is added to `threads`; here, where none can be had."""
    thread = threading.Thread(target=run)
    try:
        thread.start()
    except RuntimeError:
        run()
    else:
        threads.append(thread)
