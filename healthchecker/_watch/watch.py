"""Dapr's health client on the calling thread: one probe per interval, and a threshold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Self, Unpack

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._options import OptionValues, make_options
from healthchecker._probers.prober import Prober, Progress, failed
from healthchecker._probers.table import make_prober, parse_target
from healthchecker._result import BadArgumentError, CheckResult, Phase, ProbeFailure, Reason
from healthchecker._watch.rule import (
    Observation,
    Threshold,
    Ticks,
    WatchOptions,
    make_watch_options,
)


class Stop:
    """Ends one waiting or probing at once and for good: from any thread, or a signal's handler.

    What it is made of can be entered a second time by a handler (threading.Event cannot), and
    holds a file descriptor only while something probes. With a `parent`, what that ends raises
    `Cancelled`, also a wait.
    """

    def __init__(self, parent: Cancel | None = None) -> None:
        self.is_set = False
        self._parent = parent
        self._lock = threading.RLock()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._cancel: Cancel | None = None

    def set(self) -> None:
        with self._lock:
            if not self.is_set:
                self.is_set = True
                self._wake.put(None)
                if self._cancel is not None:
                    self._cancel.set()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until stopped."""
        if self._parent is not None:
            with self.cancel() as cancel:
                cancel.wait(seconds)
        elif not self.is_set:
            try:
                self._wake.get(timeout=seconds)
            except Empty:
                return

    @contextmanager
    def cancel(self) -> Iterator[Cancel]:
        """Return the `Cancel` for one probe."""
        cancel = Cancel(self._parent)
        with self._lock:
            self._cancel = cancel
            if self.is_set:
                cancel.set()
        try:
            yield cancel
        finally:
            with self._lock:
                self._cancel = None
            cancel.close()


def make_watched_prober(target: str, success_status: int | str, options: OptionValues) -> Prober:
    """Return the prober of a watch; its accepted status has a name of its own, which is Dapr's."""
    if "status" in options:
        raise BadArgumentError("status", options["status"], "is named success_status here")
    made = make_options(**{**options, "status": success_status})
    return make_prober(parse_target(target, made.unix_socket), made)


def probe(prober: Prober, timeout: float, stop: Stop) -> CheckResult:
    """Probe once; raise `Cancelled` when stopped."""
    start = time.monotonic()
    try:
        with stop.cancel() as cancel:
            return prober.probe(timeout, cancel)
    except OSError as error:  # no file descriptor left: one of many watches must not end by it
        failure = ProbeFailure(Reason.CONNECTION_FAILED, str(error.strerror))
        progress = Progress(start)
        progress.enter(Phase.CONNECT)
        return failed(prober.label, failure, progress, start)


class Watch:
    """Reports on one target until closed: what `watch()` returns. Iterate it on any one thread."""

    def __init__(
        self,
        prober: Prober,
        options: WatchOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self._prober = prober
        self._timeout = options.request_timeout
        self._threshold = Threshold(options.failure_threshold)
        self._clock = clock
        self._stop = Stop(cancel)
        self._sleep = sleep or self._stop.wait
        self._ticks = Ticks(clock(), options.initial_delay, options.interval)
        self._one_at_a_time = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bool:
        for observation in self.observations():
            if observation.report is not None:
                return observation.report
        raise StopIteration

    def observations(self) -> Iterator[Observation]:
        """Return every probe from here on, also those of which nothing is reported."""
        while True:
            with self._one_at_a_time:
                wait = self._ticks.wait(self._clock())
                try:
                    if wait:
                        self._sleep(wait)
                    if self._stop.is_set:
                        return
                    self._ticks.fired(self._clock())
                    result = probe(self._prober, self._timeout, self._stop)
                except Cancelled:
                    return
                observation = Observation(result, self._threshold.feed(result.healthy))
            yield observation

    def close(self) -> None:
        """End the watch at once, also in the middle of a wait or of a probe.

        May be called from any thread, from a signal handler, and again.
        """
        self._stop.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def watch(
    target: str,
    *,
    initial_delay: float = 1.0,
    interval: float = 5.0,
    failure_threshold: int = 2,
    request_timeout: float = 2.0,
    success_status: int | str = 200,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] | None = None,
    **options: Unpack[OptionValues],
) -> Watch:
    """Watch `target` and iterate over what becomes of it: True for healthy, False for not.

    The behaviour and the defaults are those of Dapr's `StartEndpointHealthCheck`: after
    `initial_delay` seconds one probe per `interval` seconds, never two at once, each limited to
    `request_timeout` seconds. Every success yields True; exactly the `failure_threshold`th failure
    in a row yields False, once. `success_status` is what `check()` calls `status`; all its other
    options are taken, too.

    Times count from the call. The first probe comes at the end of the initial delay. (Dapr's
    ticker runs from the call on, so that its own first probe comes after the interval.) While
    nobody asks for the next value nothing is probed, as Dapr's channel blocks.

    `clock` returns seconds and `sleep` waits for some; with a `sleep` of your own, `close()` ends
    a wait only as soon as that returns. A bad argument is a `BadArgumentError`, as is a
    `request_timeout` longer than the interval.
    """
    settings = make_watch_options(initial_delay, interval, failure_threshold, request_timeout)
    prober = make_watched_prober(target, success_status, options)
    return Watch(prober, settings, clock=clock, sleep=sleep)
