"""When to probe and what to report: Dapr's rule. Pure: no clock, no I/O.

`watch.py` runs it on the calling thread, `awatch.py` on asyncio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from healthchecker._values.options import check_seconds
from healthchecker._values.result import BadArgumentError, CheckResult


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


@dataclass(frozen=True, slots=True)
class Observation:
    """One probe of a watched target. True in a boolean context when the target was healthy."""

    result: CheckResult
    report: bool | None
    """What the threshold lets through: True, False, or None for nothing new."""

    def __bool__(self) -> bool:
        return self.result.healthy


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """When to probe and when to report, in seconds; the defaults are Dapr's."""

    initial_delay: float = 1.0
    interval: float = 5.0
    failure_threshold: int = 2
    timeout: float = 2.0


def make_watch_options(
    initial_delay: float, interval: float, failure_threshold: int, timeout: float | None
) -> WatchOptions:
    """Verify the values; raise `BadArgumentError` naming the first bad one.

    Without a `timeout` it is Dapr's, or the interval where that is shorter.
    """
    if not isinstance(failure_threshold, int) or failure_threshold < 1:
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
            f"is longer than the interval of {interval:g} s; shorten it, or lengthen the interval",
        )
    return WatchOptions(delay, interval, failure_threshold, timeout)
