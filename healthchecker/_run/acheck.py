"""`check()` and `check_all()` for asyncio: probes on threads, cancelled with their task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Unpack

from healthchecker._net.deadline import Cancel
from healthchecker._protocols.base import Prober, Progress, failed
from healthchecker._run.check import TargetText, make_all
from healthchecker._run.pool import pool
from healthchecker._values.options import OptionValues
from healthchecker._values.result import CheckResult, ProbeFailure, Reason
from healthchecker._values.validate import check_seconds


async def acheck(
    target: TargetText,
    *,
    timeout: float = 2.0,  # noqa: ASYNC109 - the probe's own limit, as in `check()`
    **options: Unpack[OptionValues],
) -> CheckResult:
    """Check once whether `target` is healthy, like `check()`, without blocking the event loop.

    Cancelling the task ends its probe immediately. If 512 probes are already hanging in this
    process, further ones queue, and their timeout starts when they run.
    """
    (prober,) = make_all([target], options)
    return await aprobe(prober, check_seconds("timeout", timeout))


async def acheck_all(
    targets: Iterable[TargetText],
    *,
    timeout: float = 2.0,  # noqa: ASYNC109 - as above
    **options: Unpack[OptionValues],
) -> list[CheckResult]:
    """Check all targets concurrently, like `check_all()`, without blocking the event loop."""
    probers = make_all(targets, options)
    seconds = check_seconds("timeout", timeout)
    probes = [aprobe(prober, seconds) for prober in probers]
    # With return_exceptions it waits for all of them even if it is cancelled.
    results = await asyncio.gather(*probes, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result  # a bug
    return [result for result in results if isinstance(result, CheckResult)]


async def aprobe(prober: Prober, seconds: float) -> CheckResult:
    """Probe on a thread of the pool; nothing of it is left when this ends or is cancelled."""
    start = time.monotonic()
    cancel = Cancel()

    def probe() -> CheckResult:
        with cancel:
            return prober.probe(seconds, cancel)

    try:
        running = asyncio.get_running_loop().run_in_executor(pool(), probe)
    except RuntimeError:  # no thread can be started, for example at a container's pids limit
        cancel.set()  # the pool may still run it
        failure = ProbeFailure(Reason.OUT_OF_RESOURCES, "no thread can be started")
        return failed(prober.label, failure, Progress(start))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancel.set()
        await asyncio.wait([running])
        running.exception()  # `Cancelled`, unless it was done before
        raise
