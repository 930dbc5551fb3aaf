"""Dapr's health client on the calling thread: one probe per interval, and a threshold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self, Unpack

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.base import Prober
from healthchecker._run.check import TargetText, make_all
from healthchecker._run.stop import Stop, probe
from healthchecker._values.options import OptionValues
from healthchecker._watch.rule import (
    Observation,
    Threshold,
    Ticks,
    WatchOptions,
    make_watch_options,
)


class Watch:
    """Reports on one target until closed: what `watch()` returns. Iterate it on any one thread.

    With `every_probe`, also those of which there is nothing to report (see `Observation`).
    """

    def __init__(
        self,
        prober: Prober,
        options: WatchOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        cancel: Cancel | None = None,
        every_probe: bool = False,
    ) -> None:
        self._prober = prober
        self._timeout = options.timeout
        self._every_probe = every_probe
        self._threshold = Threshold(options.failure_threshold)
        self._clock = clock
        self._stop = Stop(cancel)
        self._sleep = sleep or self._stop.wait
        self._ticks = Ticks(clock(), options.initial_delay, options.interval)
        self._one_at_a_time = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Observation:
        while True:
            observation = self._observe()
            if self._every_probe or observation.report is not None:
                return observation

    def _observe(self) -> Observation:
        """Wait for the next tick and probe."""
        with self._one_at_a_time:
            wait = self._ticks.wait(self._clock())
            try:
                if wait:
                    self._sleep(wait)
                if self._stop.is_set:
                    raise StopIteration
                self._ticks.fired(self._clock())
                result = probe(self._prober, self._timeout, self._stop)
            except Cancelled:
                raise StopIteration from None
            return Observation(result, self._threshold.feed(result.healthy))

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
    target: TargetText,
    *,
    initial_delay: float = 1.0,
    interval: float = 5.0,
    failure_threshold: int = 2,
    timeout: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] | None = None,
    **options: Unpack[OptionValues],
) -> Watch:
    """Watch `target` and iterate over what becomes of it: true when healthy, false when not.

    The behaviour and the defaults are those of Dapr's `StartEndpointHealthCheck`: after
    `initial_delay` seconds one probe per `interval` seconds, never two at once, each limited to
    `timeout` seconds: 2, or the interval where that is shorter. Every success is reported; of
    failures in a row only the `failure_threshold`th, once. What is reported is an `Observation`,
    whose `result` is the `CheckResult`. The options are those of `check()`.

    Times count from the call. The first probe comes at the end of the initial delay. (Dapr's
    ticker starts with the call, so its own first probe comes after the interval.) While
    nobody asks for the next value nothing is probed, as Dapr's channel blocks.

    `clock` returns seconds and `sleep` waits for some; with a `sleep` of your own, `close()` ends
    a wait only as soon as that returns. A bad argument is a `BadArgumentError`, as is a `timeout`
    longer than the interval.
    """
    settings = make_watch_options(initial_delay, interval, failure_threshold, timeout)
    (prober,) = make_all([target], options)
    return Watch(prober, settings, clock=clock, sleep=sleep)
