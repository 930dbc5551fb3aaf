"""Dapr's health client on the calling thread: one probe per interval, and a threshold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self, Unpack

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.base import Prober
from healthchecker._run.check import TargetText, make_all
from healthchecker._values.options import OptionValues
from healthchecker._watch.rule import Observation, Watched, WatchOptions, make_watch_options


class Watch:
    """The iterator that `watch()` returns: reports on one target until closed.

    Only one thread at a time may iterate it. With `every_probe`, it also yields probes that
    report nothing (see `Observation`).
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
        self._clock = clock
        self._cancel = Cancel(cancel)
        self._sleep = sleep or self._cancel.wait
        self._watched = Watched(options, clock())
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
            wait = self._watched.wait(self._clock())
            try:
                with self._cancel:
                    if wait:
                        self._sleep(wait)
                    if self._cancel.is_set:
                        raise StopIteration
                    self._watched.begin(self._clock())
                    result = self._prober.probe(self._timeout, self._cancel)
            except Cancelled:
                raise StopIteration from None
            return self._watched.take(result)

    def close(self) -> None:
        """End the watch immediately, even during a wait or a probe.

        May be called from any thread, from a signal handler, and repeatedly.
        """
        self._cancel.set()

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
    every_probe: bool = False,
    **options: Unpack[OptionValues],
) -> Watch:
    """Watch `target`, yielding an observation per report: truthy when healthy, falsy when not.

    The behaviour and the defaults are those of Dapr's `StartEndpointHealthCheck`: after
    `initial_delay` seconds, one probe per `interval` seconds, never two concurrently, each limited
    to `timeout` seconds (2, or the interval if that is shorter). Every success is reported; of
    consecutive failures only the `failure_threshold`th is, once. With `every_probe`, it also yields
    probes that report nothing. Each value is an `Observation`, whose `result` is the
    `CheckResult`. The options are those of `check()`.

    Times count from the call, and the first probe runs after the initial delay. (Dapr's ticker
    starts with the call, so its first probe runs after the interval.) No probe runs until the next
    value is requested, just as Dapr's channel blocks.

    `clock` returns seconds and `sleep` waits for a number of them; `close()` cannot interrupt a
    `sleep` of your own. Raises `BadArgumentError` for a bad argument, also for a `timeout` longer
    than the interval.
    """
    settings = make_watch_options(initial_delay, interval, failure_threshold, timeout)
    (prober,) = make_all([target], options)
    return Watch(prober, settings, clock=clock, sleep=sleep, every_probe=every_probe)
