"""Checks: one target on the calling thread, several at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Unpack

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._options import OptionValues, check_seconds, make_options
from healthchecker._probers.prober import Prober
from healthchecker._probers.table import make_prober, parse_target
from healthchecker._result import CheckResult


def check(target: str, *, timeout: float = 2.0, **options: Unpack[OptionValues]) -> CheckResult:
    """Check once whether `target` is healthy; returns within `timeout` seconds.

    `target` is `http://…`, `https://…`, `tcp://host:port`, `grpc://host:port[/service]` or
    `grpcs://…`. An unhealthy or unreachable target is a result like any other. A bad argument
    is a `BadArgumentError` (a ValueError). Works on any thread; starts none.
    """
    made = make_options(**options)
    prober = make_prober(parse_target(target, made.unix_socket), made)
    return prober.probe(check_seconds("timeout", timeout))


def check_all(
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
