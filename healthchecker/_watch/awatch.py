"""The asyncio form of `watch()`, made for thousands of targets in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self, Unpack
from weakref import WeakKeyDictionary

from healthchecker._net.deadline import Cancelled
from healthchecker._protocols.base import Prober
from healthchecker._run.check import TargetText, make_all
from healthchecker._run.pool import pool
from healthchecker._run.stop import Stop, probe
from healthchecker._values.options import OptionValues
from healthchecker._values.result import CheckResult
from healthchecker._watch.batches import Batch, Batches, Job
from healthchecker._watch.rule import (
    Observation,
    Threshold,
    Ticks,
    WatchOptions,
    make_watch_options,
)


def _use_thread(work: Callable[[], None]) -> None:
    pool().submit(work)


_batches: WeakKeyDictionary[asyncio.AbstractEventLoop, Batches] = WeakKeyDictionary()


class _Probe(Job):
    """One probe of a watch, for which its reader waits."""

    def __init__(self, prober: Prober, timeout: float, done: asyncio.Future[None]) -> None:
        self.stop = Stop()
        self.done = done
        self.is_done = False  # also where nobody waits for `done` any more
        self.result: CheckResult | BaseException | None = None
        self._prober = prober
        self._timeout = timeout

    def run(self) -> None:
        if self.stop.is_set:
            return
        try:
            self.result = probe(self._prober, self._timeout, self.stop)
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised again where the watch is iterated
            self.result = error

    def finish(self) -> None:
        self.is_done = True
        if not self.done.done():
            self.done.set_result(None)


class AsyncWatch:
    """Reports on one target until closed: what `awatch()` returns. Iterate it in one task."""

    def __init__(self, prober: Prober, options: WatchOptions) -> None:
        self._prober = prober
        self._options = options
        self._threshold = Threshold(options.failure_threshold)
        self._ticks: Ticks | None = None
        self._closed = False
        self._job: _Probe | None = None
        self._batch: Batch | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Observation:
        if self._job is not None:
            if not self._job.stop.is_set:
                raise RuntimeError("the watch is iterated already")
            await asyncio.wait([self._job.done])  # its reader was cancelled; it ends at once
            self._job = None
        while not self._closed:
            result = await self._probe()
            if result is None:
                break
            observation = Observation(result, self._threshold.feed(result.healthy))
            if observation.report is not None:
                return observation
        raise StopAsyncIteration

    async def _probe(self) -> CheckResult | None:
        """Wait for the next tick and probe; return None when closed meanwhile."""
        loop = asyncio.get_running_loop()
        job = _Probe(self._prober, self._options.timeout, loop.create_future())
        now = loop.time()
        ticks = self._ticks or Ticks(now, self._options.initial_delay, self._options.interval)
        due = now + ticks.wait(now)
        batches = _batches.setdefault(loop, Batches(_use_thread))
        first = self._ticks is None
        batch, when = batches.place(job, due, self._options.interval, loop, first=first)
        if self._ticks is None:
            ticks.due = when
            self._ticks = ticks
        self._job, self._batch = job, batch
        try:
            await job.done
        except asyncio.CancelledError:
            job.stop.set()
            if not batch.remove(job):
                ticks.fired(when)
                if not job.is_done:
                    job.done = loop.create_future()  # for when its thread has left it
                    raise
            self._job = None
            raise
        self._job = None
        ticks.fired(when)
        if isinstance(job.result, BaseException):
            raise job.result
        return job.result

    def close(self) -> None:
        """End the watch at once, also in the middle of a wait or of a probe; from any thread."""
        self._closed = True
        job, batch = self._job, self._batch
        if job is None or batch is None:
            return
        job.stop.set()

        def wake() -> None:
            if batch.remove(job):
                job.finish()

        try:
            job.done.get_loop().call_soon_threadsafe(wake)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    async def aclose(self) -> None:
        """Close, and return when nothing of the watch is left."""
        self.close()
        if self._job is not None:
            await asyncio.wait([self._job.done])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()


def awatch(
    target: TargetText,
    *,
    initial_delay: float = 1.0,
    interval: float = 5.0,
    failure_threshold: int = 2,
    timeout: float | None = None,
    **options: Unpack[OptionValues],
) -> AsyncWatch:
    """Watch `target` as `watch()` does, in `async for`.

    The clock is that of the event loop, and times count from the first iteration.

    Made for many: probes that are due within a tenth of a second (a twentieth of an interval
    shorter than 2 s) are made together, and of watches that start together only the first twenty
    keep their initial delay; the others' first probes follow, twenty to each such slot, inside one
    interval. Up to `MAX_THREADS` targets can hang without delaying any other.
    """
    settings = make_watch_options(initial_delay, interval, failure_threshold, timeout)
    (prober,) = make_all([target], options)
    return AsyncWatch(prober, settings)
