"""The asyncio form of `watch()`, made for thousands of targets in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self, Unpack
from weakref import WeakKeyDictionary

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.base import Prober
from healthchecker._run.check import TargetText, make_all
from healthchecker._run.pool import pool
from healthchecker._values.options import OptionValues
from healthchecker._values.result import CheckResult
from healthchecker._watch.batches import Batch, Batches, Job
from healthchecker._watch.rule import Observation, Watched, WatchOptions, make_watch_options


def _use_thread(work: Callable[[], None]) -> None:
    pool().submit(work)


_batches: WeakKeyDictionary[asyncio.AbstractEventLoop, Batches] = WeakKeyDictionary()


class _Probe(Job):
    """One probe of a watch, awaited by its reader."""

    def __init__(self, prober: Prober, timeout: float, done: asyncio.Future[None]) -> None:
        self.cancel = Cancel()
        self.done = done
        self.is_done = False  # `done` may have been cancelled instead
        self.result: CheckResult | BaseException | None = None
        self._prober = prober
        self._timeout = timeout

    def run(self) -> None:
        if self.cancel.is_set:
            return
        try:
            with self.cancel:
                self.result = self._prober.probe(self._timeout, self.cancel)
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - re-raised where the watch is iterated
            self.result = error

    def finish(self) -> None:
        self.is_done = True
        if not self.done.done():
            self.done.set_result(None)


class AsyncWatch:
    """The iterator that `awatch()` returns: reports on one target until closed.

    Only one task at a time may iterate it. With `every_probe`, it also yields probes that report
    nothing (see `Observation`).
    """

    def __init__(self, prober: Prober, options: WatchOptions, *, every_probe: bool = False) -> None:
        self._prober = prober
        self._options = options
        self._every_probe = every_probe
        self._watched: Watched | None = None
        self._closed = False
        self._job: _Probe | None = None
        self._batch: Batch | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Observation:
        if self._job is not None:
            if not self._job.cancel.is_set:
                raise RuntimeError("the watch is already being iterated")
            await asyncio.wait([self._job.done])  # its reader was cancelled; it ends immediately
            self._job = None
        while not self._closed:
            observation = await self._observe()
            if observation is None:
                break
            if self._every_probe or observation.report is not None:
                return observation
        raise StopAsyncIteration

    async def _observe(self) -> Observation | None:
        """Wait for the next tick and probe; return None if closed in the meantime."""
        loop = asyncio.get_running_loop()
        job = _Probe(self._prober, self._options.timeout, loop.create_future())
        now = loop.time()
        watched = self._watched = self._watched or Watched(self._options, now)
        batches = _batches.setdefault(loop, Batches(_use_thread))
        batch, when = batches.place(job, watched, self._options.interval, loop)
        self._job, self._batch = job, batch
        try:
            await job.done
        except asyncio.CancelledError:
            job.cancel.set()
            if not batch.remove(job):
                watched.begin(when)
                if not job.is_done:
                    job.done = loop.create_future()  # for when its thread is done with it
                    raise
            self._job = None
            raise
        self._job = None
        watched.begin(when)
        if isinstance(job.result, BaseException):
            raise job.result
        return None if job.result is None else watched.take(job.result)

    def close(self) -> None:
        """End the watch immediately, even during a wait or a probe; from any thread."""
        self._closed = True
        job, batch = self._job, self._batch
        if job is None or batch is None:
            return
        job.cancel.set()

        def wake() -> None:
            if batch.remove(job):
                job.finish()

        try:
            job.done.get_loop().call_soon_threadsafe(wake)
        except RuntimeError:  # the loop is closed, so nothing waits any more
            return

    async def aclose(self) -> None:
        """Close, and wait until the probe that was running has ended."""
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
    every_probe: bool = False,
    **options: Unpack[OptionValues],
) -> AsyncWatch:
    """Watch `target` like `watch()`, but in `async for`.

    The clock is that of the event loop, and times count from the first iteration.

    Made for many watches: probes due within a tenth of a second (a twentieth of intervals shorter
    than 2 s) run together. Of watches that start together only the first twenty keep their initial
    delay; the first probes of the others follow, twenty to each such slot, within one interval. Up
    to `MAX_THREADS` targets can hang without delaying any other.
    """
    settings = make_watch_options(initial_delay, interval, failure_threshold, timeout)
    (prober,) = make_all([target], options)
    return AsyncWatch(prober, settings, every_probe=every_probe)
