"""Probes of many watches, made together on few threads of their own.

Probers are synchronous. A thread and two wake-ups of the event loop for each probe would cost more
than the probe, so probes that are due at about the same time form a batch: one thread makes them
one after the other, and their results come back together. What a batch has not done after a short
while gets threads of its own, so that a target that hangs delays nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from functools import partial
from weakref import WeakKeyDictionary

from healthchecker._net.deadline import Cancelled
from healthchecker._pool import pool
from healthchecker._probers.prober import Prober
from healthchecker._result import CheckResult
from healthchecker._stop import Stop, probe

_LONGEST_SLOT = 0.1
_SLOTS_PER_INTERVAL = 20
_BATCH_SIZE = 20
_BATCH_SECONDS = 0.05


class Job:
    """One probe: waiting in a batch, on a thread, or done."""

    def __init__(self, prober: Prober, timeout: float, done: asyncio.Future[None]) -> None:
        self.stop = Stop()
        self.done = done
        self.is_done = False  # also where nobody waits for `done` any more
        self.result: CheckResult | BaseException | None = None
        self._prober = prober
        self._timeout = timeout

    def run(self) -> None:
        """Probe, on a thread of the pool."""
        if self.stop.is_set:
            return
        try:
            self.result = probe(self._prober, self._timeout, self.stop)
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised again where the watch is iterated
            self.result = error

    def finish(self) -> None:
        """Tell that it is over, on the event loop."""
        self.is_done = True
        if not self.done.done():
            self.done.set_result(None)


class Batch:
    """Jobs that are due at the same time."""

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self._over: deque[Job] = deque()
        self._unfinished = 0
        self._late = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._unfinished = len(self.waiting)
        self._loop = loop
        self._timer = loop.call_later(_BATCH_SECONDS, self._spread)
        self._take_thread()

    def remove(self, job: Job) -> bool:
        """Take a job out; tell whether it was still waiting."""
        try:
            self.waiting.remove(job)
        except (ValueError, IndexError):  # IndexError: a thread took one at the same moment
            return False
        self._unfinished -= 1
        return True

    def _take_thread(self) -> bool:
        try:
            pool().submit(self._work)
        except RuntimeError:  # no more threads to be had; those there are do what they can
            return False
        return True

    def _work(self) -> None:
        while self.waiting:
            try:
                job = self.waiting.popleft()
            except IndexError:
                break
            job.run()
            self._over.append(job)
            if self._late:
                self._announce()
        self._announce()

    def _announce(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finish)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _finish(self) -> None:
        while self._over:
            self._over.popleft().finish()
            self._unfinished -= 1
        if self._unfinished <= 0:
            self._timer.cancel()

    def _spread(self) -> None:
        """Give each job that has not been begun in time a thread."""
        self._late = True
        self._finish()
        if not all(self._take_thread() for _ in range(len(self.waiting))):
            self._timer = self._loop.call_later(_BATCH_SECONDS, self._spread)


_batches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, Batch]] = WeakKeyDictionary()


def place(job: Job, due: float, interval: float, *, first: bool) -> tuple[Batch, float]:
    """Put a job into the batch of its time slot; return the batch and when it starts.

    The first job of a watch may come to a later slot, up to one interval, so that watches that
    are started together do not probe together for ever. Later ones keep their times.
    """
    loop = asyncio.get_running_loop()
    batches = _batches.setdefault(loop, {})
    slots = max(_SLOTS_PER_INTERVAL, math.ceil(interval / _LONGEST_SLOT))
    slot = interval / slots

    def load(index: int) -> int:
        batch = batches.get(index * slot)
        return len(batch.waiting) if batch else 0

    index = math.ceil(due / slot - 1e-6)
    if first and load(index) >= _BATCH_SIZE:
        candidates = range(index, index + slots)
        free = (one for one in candidates if load(one) < _BATCH_SIZE)
        index = next(free, None) or min(candidates, key=load)
    when = index * slot
    batch = batches.get(when)
    if batch is None:
        batch = batches[when] = Batch()
        loop.call_at(when, partial(_start, loop, when))
    batch.waiting.append(job)
    return batch, when


def _start(loop: asyncio.AbstractEventLoop, when: float) -> None:
    batch = _batches[loop].pop(when)
    if batch.waiting:
        batch.start(loop)
