"""When to probe and what to report: Dapr's rule. Pure: no clock, no I/O.

`Watched` is the whole rule for one target. `watch.py` applies it on the calling thread,
`awatch.py` on asyncio, and `many.py` to many targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from healthchecker._values.result import BadArgumentError, CheckResult
from healthchecker._values.validate import check_seconds


class Threshold:
    """Turns probe outcomes into reports, following Dapr's `StartEndpointHealthCheck`.

    Every success is reported and resets the count; of consecutive failures only the Nth is.
    """

    def __init__(self, failures: int) -> None:
        self._limit = failures
        self._failures = 0

    def feed(self, healthy: bool) -> bool | None:
        """Take the outcome of one probe; return the report, or None if there is none."""
        if healthy:
            self._failures = 0
            return True
        self._failures += 1
        return False if self._failures == self._limit else None


class Ticks:
    """The times at which to probe: after an initial delay, then one per interval.

    As with Go's ticker, ticks keep their times however long a probe takes; of missed ticks, one
    fires immediately and the rest are dropped. All values are seconds.
    """

    def __init__(self, now: float, initial_delay: float, interval: float) -> None:
        self._due = now + initial_delay
        self._interval = interval
        self._longest_wait = initial_delay

    @property
    def due(self) -> float:
        """The time of the next tick."""
        return self._due

    def wait(self, now: float) -> float:
        """Return the seconds until the next tick; setting the clock back does not lengthen it."""
        return max(min(self._due - now, self._longest_wait), 0.0)

    def move(self, due: float) -> None:
        """Move the next tick to `due`; the ticks after it follow at whole intervals."""
        self._due = due

    def fire(self, now: float) -> None:
        """Advance to the tick after the one that fired at `now`."""
        self._longest_wait = self._interval
        self._due = min(self._due, now)
        self._due += self._interval * (math.floor((now - self._due) / self._interval) + 1)


@dataclass(frozen=True, slots=True)
class Observation:
    """One probe of a watched target. Truthy when the target was healthy."""

    result: CheckResult
    report: bool | None
    """The report that the threshold made of this probe: True, False, or None for no report."""

    def __bool__(self) -> bool:
        return self.result.healthy


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """When to probe and when to report, in seconds; the defaults are Dapr's."""

    initial_delay: float = 1.0
    interval: float = 5.0
    failure_threshold: int = 2
    timeout: float = 2.0


class Watched:
    """The rule for one target: when the next probe is due, and what each result reports.

    For each probe: wait for `wait()` seconds, call `begin()`, probe, and pass the result to
    `take()`.
    """

    def __init__(self, options: WatchOptions, now: float) -> None:
        self._ticks = Ticks(now, options.initial_delay, options.interval)
        self._threshold = Threshold(options.failure_threshold)
        self._has_begun = False

    @property
    def is_first(self) -> bool:
        """Whether the next probe is the first one."""
        return not self._has_begun

    def wait(self, now: float) -> float:
        """Return the seconds until the next probe is due."""
        return self._ticks.wait(now)

    def postpone_first(self, due: float) -> None:
        """Set the time of the first probe, and thereby those of all later ones.

        For schedulers that spread the first probes of many targets; no effect on later probes.
        """
        if self.is_first:
            self._ticks.move(due)

    def begin(self, now: float) -> None:
        """Note that the probe that was due begins at `now`."""
        self._has_begun = True
        self._ticks.fire(now)

    def take(self, result: CheckResult) -> Observation:
        """Take the result of a probe; return it with its report."""
        return Observation(result, self._threshold.feed(result.healthy))


def make_watch_options(
    initial_delay: float, interval: float, failure_threshold: int, timeout: float | None
) -> WatchOptions:
    """Verify the values; raise `BadArgumentError` naming the first bad one.

    The default `timeout` is Dapr's, or the interval if that is shorter.
    """
    if type(failure_threshold) is not int or failure_threshold < 1:
        raise BadArgumentError("failure_threshold", failure_threshold, "must be 1 or more")
    delay = check_seconds("initial_delay", initial_delay, zero=True)
    interval = check_seconds("interval", interval)
    if timeout is None:
        timeout = min(WatchOptions().timeout, interval)
    timeout = check_seconds("timeout", timeout)
    if timeout > interval:
        raise BadArgumentError(
            "timeout",
            timeout,
            f"longer than the interval ({interval:g} s)",
        )
    return WatchOptions(delay, interval, failure_threshold, timeout)
