"""Any number of targets, watched concurrently on threads: for the command line.

As in `awatch`, probes run in batches, and a target that hangs delays no other. A small event loop
on the calling thread takes the place of asyncio. Each gRPC target that is followed has its own
thread, which mostly waits.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Self

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.base import Prober
from healthchecker._protocols.grpc.client import SCHEMES as FOLLOWED
from healthchecker._protocols.registry import distribute_options, make_prober, make_probers
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import CheckResult
from healthchecker._values.target import Target
from healthchecker._watch.batches import BATCH_SIZE, Batches, Job, slot_of
from healthchecker._watch.follow import follow
from healthchecker._watch.rule import Observation, Watched, WatchOptions
from healthchecker._watch.watch import Watch

MAX_THREADS = 512
"""How many targets can hang without delaying others, and how many can be followed."""

_THREAD = "watch"


def watch_all(
    targets: Sequence[Target],
    options: CheckOptions,
    settings: WatchOptions,
    cancel: Cancel,
    *,
    wake_every: float | None = None,
) -> Generator[tuple[int, Observation] | None]:
    """Yield each observation with the index of its target, forever.

    There is one for each probe, and for each message of a gRPC target, which is followed. With
    `wake_every`, it also yields None at least every that many seconds. Without it, a single target
    is watched on the calling thread, which may be the only one that a container allows.

    Raises `BadArgumentError` at the call, and `Cancelled` from the iterator when `cancel` is set.
    Closing the iterator ends all probes and calls.
    """
    own = distribute_options(targets, options)
    if len(targets) == 1 and wake_every is None:
        return ((0, one) for one in _watch(targets[0], own[0], settings, cancel))
    each = zip(targets, own, make_probers(targets, options), strict=True)
    return _watch_all(list(each), settings, cancel, wake_every)


def _watch(
    target: Target, options: CheckOptions, settings: WatchOptions, cancel: Cancel
) -> Iterator[Observation]:
    if target.scheme in FOLLOWED:
        return follow(target, options, settings, cancel=cancel)
    return Watch(make_prober(target, options), settings, cancel=cancel, every_probe=True)


def _watch_all(
    each: Sequence[tuple[Target, CheckOptions, Prober]],
    settings: WatchOptions,
    cancel: Cancel,
    wake_every: float | None,
) -> Generator[tuple[int, Observation] | None]:
    with Cancel(cancel) as end, _Loop(end) as loop, _Threads() as threads:
        shared = _Shared(settings, end, loop, threads)
        try:
            for index, (target, options, prober) in enumerate(each):
                if target.scheme not in FOLLOWED or not shared.follow(index, target, options):
                    shared.poll(index, prober)
            wake = None if wake_every is None else loop.time()
            while True:
                while shared.observed:
                    yield shared.observed.popleft()
                if wake_every is not None and wake is not None and loop.time() >= wake:
                    wake = loop.time() + wake_every
                    yield None
                loop.run_once(wake)
        finally:
            end.set()


class _Shared:
    """State shared by the targets of one watch."""

    def __init__(self, settings: WatchOptions, end: Cancel, loop: _Loop, threads: _Threads) -> None:
        self.settings = settings
        self.end = end
        self.loop = loop
        self.batches = Batches(threads.use)
        self.observed: deque[tuple[int, Observation]] = deque()
        self._threads = threads
        self._followed = 0

    def poll(self, index: int, prober: Prober) -> None:
        """Probe a target repeatedly."""
        _Polled(self, index, prober).wait()

    def follow(self, index: int, target: Target, options: CheckOptions) -> bool:
        """Follow a gRPC target; return whether there is a thread for it."""
        # Like the first probes of polled targets, the first calls are spread over an interval.
        interval = self.settings.interval
        turn = self._followed // BATCH_SIZE * slot_of(interval) % interval
        delay = self.settings.initial_delay + turn
        settings = replace(self.settings, initial_delay=delay)
        if self._followed == MAX_THREADS or not self._threads.start(
            partial(self._follow, index, target, options, settings)
        ):
            return False
        self._followed += 1
        return True

    def _follow(
        self, index: int, target: Target, options: CheckOptions, settings: WatchOptions
    ) -> None:
        try:
            for observation in follow(target, options, settings, cancel=self.end):
                self.observed.append((index, observation))
                self.loop.wake()
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that iterates
            self.loop.call_soon_threadsafe(partial(_raise, error))


def _raise(error: BaseException) -> None:
    raise error


class _Polled(Job):
    """A polled target; as a `Job`, it is always the target's next probe."""

    def __init__(self, shared: _Shared, index: int, prober: Prober) -> None:
        self._shared = shared
        self._index = index
        self._prober = prober
        self._watched = Watched(shared.settings, shared.loop.time())
        self._when = 0.0
        self._outcome: CheckResult | BaseException | None = None

    def wait(self) -> None:
        """Wait for the next tick, in a batch."""
        shared = self._shared
        _, self._when = shared.batches.place(
            self, self._watched, shared.settings.interval, shared.loop
        )

    def run(self) -> None:
        try:
            self._outcome = self._prober.probe(self._shared.settings.timeout, self._shared.end)
        except BaseException as error:  # noqa: BLE001 - re-raised on the thread that iterates
            self._outcome = error

    def finish(self) -> None:
        outcome = self._outcome
        if not isinstance(outcome, CheckResult):
            raise outcome or Cancelled
        self._watched.begin(self._when)
        self._shared.observed.append((self._index, self._watched.take(outcome)))
        self.wait()


class _Timer:
    """A scheduled call."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class _Loop:
    """Runs callbacks on one thread: at a given time, or as soon as another thread requests it."""

    def __init__(self, cancel: Cancel) -> None:
        self._cancel = cancel
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()
        self._calls: deque[Callable[[], object]] = deque()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._read)
        os.close(self._write)

    def time(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(self, delay: float, callback: Callable[[], object]) -> _Timer:
        return self.call_at(self.time() + delay, callback)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        self._calls.append(callback)
        self.wake()

    def wake(self) -> None:
        """End a wait, from any thread."""
        with suppress(BlockingIOError):  # a full pipe also wakes it
            os.write(self._write, b"x")

    def run_once(self, until: float | None) -> None:
        """Run the callbacks that are due, waiting for the next one, `until` at the latest."""
        times = [self._timers[0][0]] if self._timers else []
        if until is not None:
            times.append(until)
        seconds = max(min(times) - self.time(), 0.0) if times else None
        if self._cancel.wait_readable(self._read, seconds):
            os.read(self._read, 4096)
        while self._calls:
            self._calls.popleft()()
        while self._timers and self._timers[0][0] <= self.time():
            _, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()


class _Threads:
    """Threads that are started when none is idle, and are kept until the end."""

    def __init__(self) -> None:
        self._works: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._workers = 0
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for _ in self._threads:
            self._works.put(None)
        for thread in self._threads:
            thread.join()

    def start(self, work: Callable[[], None]) -> bool:
        """Run long work on its own thread; return whether one could be started."""
        thread = threading.Thread(target=work, name=_THREAD)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            return False
        self._threads.append(thread)
        return True

    def use(self, work: Callable[[], None]) -> None:
        """Run short work on some thread, or on this one if no other is available."""
        self._works.put(work)
        if self._idle.acquire(blocking=False):
            return
        if self._workers < MAX_THREADS and self.start(self._work):
            self._workers += 1
        elif not self._workers:
            self._works.get_nowait()
            work()

    def _work(self) -> None:
        while True:
            try:
                work = self._works.get_nowait()
            except Empty:
                self._idle.release()
                work = self._works.get()
            if work is None:
                return
            work()
