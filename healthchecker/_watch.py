"""Dapr's health client: one probe per interval, and a threshold before bad news is told.

The rule itself (`Threshold`) and the times of the probes (`Ticks`) are pure: no clock, no I/O.
`_awatch.py` puts the same two on asyncio.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Self, Unpack

from healthchecker._check import make_prober
from healthchecker._deadline import Cancel, Cancelled
from healthchecker._options import OptionValues, check_seconds, make_options
from healthchecker._prober import Prober
from healthchecker._result import BadArgumentError, CheckResult, Phase, Reason
from healthchecker._target import parse_target


class Threshold:
    """Decides what a run of probes says about a service, as Dapr's `StartEndpointHealthCheck` does.

    Every success is reported and resets the count; of failures in a row only the Nth is reported.
    """

    def __init__(self, failures: int) -> None:
        self._limit = failures
        self._failures = 0

    def feed(self, healthy: bool) -> bool | None:
        """Take one probe's outcome; return what is to be reported, or None for nothing."""
        if healthy:
            self._failures = 0
            return True
        self._failures += 1
        return False if self._failures == self._limit else None


class Ticks:
    """The moments at which to probe: after an initial delay, then one per interval.

    As with Go's ticker, ticks keep their times however long a probe takes; of those that are
    missed meanwhile one fires at once and the others are dropped. All values are seconds.
    """

    def __init__(self, now: float, initial_delay: float, interval: float) -> None:
        self.due = now + initial_delay
        self._interval = interval
        self._longest_wait = initial_delay

    def wait(self, now: float) -> float:
        """Return the seconds until the next tick; a clock that was set back adds none."""
        return max(min(self.due - now, self._longest_wait), 0.0)

    def fired(self, now: float) -> None:
        """Go on to the tick after this one, which came at `now`."""
        self._longest_wait = self._interval
        self.due = min(self.due, now)
        self.due += self._interval * (math.floor((now - self.due) / self._interval) + 1)


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


@dataclass(frozen=True, slots=True)
class Observation:
    """One probe of a watched target."""

    result: CheckResult
    report: bool | None
    """What the threshold lets through: True, False, or None for nothing new."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """When to probe and when to report, in seconds; the defaults are Dapr's."""

    initial_delay: float = 1.0
    interval: float = 5.0
    failure_threshold: int = 2
    request_timeout: float = 2.0


def make_watch_options(
    initial_delay: float,
    interval: float,
    failure_threshold: int,
    request_timeout: float,
    *,
    timeout_name: str = "request_timeout",
) -> WatchOptions:
    """Verify the values; raise `BadArgumentError` naming the first bad one."""
    if not isinstance(failure_threshold, int) or failure_threshold < 1:
        raise BadArgumentError("failure_threshold", failure_threshold, "must be 1 or more")
    options = WatchOptions(
        check_seconds("initial_delay", initial_delay, zero=True),
        check_seconds("interval", interval),
        failure_threshold,
        check_seconds(timeout_name, request_timeout),
    )
    if options.request_timeout > options.interval:
        raise BadArgumentError(
            timeout_name,
            request_timeout,
            f"is longer than the interval of {interval:g} s, so one probe would run into the next",
        )
    return options


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
        return CheckResult(
            target=prober.shown_as,
            healthy=False,
            reason=Reason.CONNECTION_FAILED,
            detail=f"{Phase.CONNECT}: {error.strerror}",
            status=None,
            elapsed=time.monotonic() - start,
        )


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
