"""Batches: the probes of many watches, run together on few threads.

Probers are synchronous. A thread and two wake-ups of the event loop for each probe would cost more
than the probe, so probes that are due at about the same time form a batch: one thread runs them
one after the other, and their results are delivered together. Jobs that a batch has not started
after a short time get their own threads, so that one hanging target delays no other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from healthchecker._watch.rule import Watched

BATCH_SIZE = 20
"""How many watches may make their first probe in the same slot."""

_LONGEST_SLOT = 0.1
_SLOTS_PER_INTERVAL = 20
_BATCH_SECONDS = 0.05


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """The part of an event loop that batches need: asyncio's, or that of `many`."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer: ...

    def call_soon_threadsafe(self, callback: Callable[[], object], /) -> object:
        """Schedule a call from any thread; raise `RuntimeError` if the loop is closed."""


class Job(ABC):
    """One probe: waiting in a batch, running on a thread, or done."""

    @abstractmethod
    def run(self) -> None:
        """Probe, on a thread; store the outcome."""

    @abstractmethod
    def finish(self) -> None:
        """Deliver the outcome, on the event loop."""


class Batch:
    """Jobs that are due at the same time."""

    def __init__(self, use_thread: Callable[[Callable[[], None]], object]) -> None:
        self.waiting: deque[Job] = deque()
        self._use_thread = use_thread
        self._over: deque[Job] = deque()
        self._unfinished = 0
        self._late = False

    def start(self, loop: Loop) -> None:
        self._unfinished = len(self.waiting)
        self._loop = loop
        self._timer = loop.call_later(_BATCH_SECONDS, self._spread)
        self._take_thread()

    def remove(self, job: Job) -> bool:
        """Take a job out; return whether it was still waiting."""
        try:
            self.waiting.remove(job)
        except (ValueError, IndexError):  # IndexError: a thread took one concurrently
            return False
        self._unfinished -= 1
        return True

    def _take_thread(self) -> bool:
        try:
            self._use_thread(self._work)
        except RuntimeError:  # no more threads available; the existing ones go on
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
        except RuntimeError:  # the loop is closed, so nothing waits any more
            return

    def _finish(self) -> None:
        while self._over:
            self._over.popleft().finish()
            self._unfinished -= 1
        if self._unfinished <= 0:
            self._timer.cancel()

    def _spread(self) -> None:
        """Start a thread for each job that is still waiting."""
        self._late = True
        self._finish()
        if not all(self._take_thread() for _ in range(len(self.waiting))):
            self._timer = self._loop.call_later(_BATCH_SECONDS, self._spread)


class Batches:
    """The batches of one event loop that are not due yet."""

    def __init__(self, use_thread: Callable[[Callable[[], None]], object]) -> None:
        """Run work with `use_thread`, which may raise `RuntimeError` if no thread is available."""
        self._use_thread = use_thread
        self._by_time: dict[float, Batch] = {}

    def place(self, job: Job, watched: Watched, interval: float, loop: Loop) -> tuple[Batch, float]:
        """Put the next probe of a target into the batch of its slot; return it and its start.

        The first probe may go to a later slot, up to one interval, so that watches that start
        together do not probe together forever. Later probes keep their times.
        """
        now = loop.time()
        due = now + watched.wait(now)
        slot = slot_of(interval)
        slots = round(interval / slot)

        def load(index: int) -> int:
            batch = self._by_time.get(index * slot)
            return len(batch.waiting) if batch else 0

        index = math.ceil(due / slot - 1e-6)
        if watched.is_first and load(index) >= BATCH_SIZE:
            candidates = range(index, index + slots)
            free = (one for one in candidates if load(one) < BATCH_SIZE)
            index = next(free, None) or min(candidates, key=load)
        when = index * slot
        watched.postpone_first(when)
        batch = self._by_time.get(when)
        if batch is None:
            batch = self._by_time[when] = Batch(self._use_thread)
            loop.call_at(when, partial(self._start, loop, when))
        batch.waiting.append(job)
        return batch, when

    def _start(self, loop: Loop, when: float) -> None:
        batch = self._by_time.pop(when)
        if batch.waiting:
            batch.start(loop)


def slot_of(interval: float) -> float:
    """Return the length of a slot in seconds: probes due in the same slot form a batch."""
    return interval / max(_SLOTS_PER_INTERVAL, math.ceil(interval / _LONGEST_SLOT))
