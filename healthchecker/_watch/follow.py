"""Follow a gRPC service: the server reports changes (RPC `Watch`) instead of being polled."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from healthchecker._net.deadline import Cancel
from healthchecker._protocols.base import Prober
from healthchecker._protocols.grpc.codec import SERVING_STATUSES
from healthchecker._protocols.grpc.watch import watch_service
from healthchecker._protocols.registry import make_prober
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import CheckResult, Reason
from healthchecker._values.target import Target
from healthchecker._watch.rule import Observation, Threshold, WatchOptions
from healthchecker._watch.watch import Watch

# As in gRPC's "Connection Backoff Protocol", with a shorter maximum: seconds.
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 30.0
_BACKOFF_FACTOR = 2.0
_JITTER = 0.2


def follow(
    target: Target,
    options: CheckOptions,
    settings: WatchOptions,
    *,
    sleep: Callable[[float], object] | None = None,
    cancel: Cancel | None = None,
) -> Iterator[Observation]:
    """Yield an observation for each message and each failed call, forever.

    A status that the server sends is reported immediately. Failed calls are retried after pauses
    that double from 1 to 30 s, and go through the threshold like failed probes. A server without
    `Watch` is polled from then on (health.proto: the call must not be retried).

    Raises `BadArgumentError` at the call, and `Cancelled` from the iterator when `cancel` is set.
    """
    prober = make_prober(target, options)
    sleep = sleep or (cancel.wait if cancel else time.sleep)
    return _follow(prober, target, options, settings, sleep=sleep, cancel=cancel)


def _follow(
    prober: Prober,
    target: Target,
    options: CheckOptions,
    settings: WatchOptions,
    *,
    sleep: Callable[[float], object],
    cancel: Cancel | None,
) -> Iterator[Observation]:
    rule = FollowRule(settings.failure_threshold)
    sleep(settings.initial_delay)
    while True:
        for result in watch_service(target, options, settings.timeout, cancel):
            if result.reason is Reason.UNIMPLEMENTED:
                polled = replace(settings, initial_delay=0.0)
                yield from Watch(prober, polled, cancel=cancel, every_probe=True)
            else:
                yield rule.take(result)
        sleep(rule.pause())


class FollowRule:
    """What to report about a followed service, and when to retry a call. No clock, no I/O."""

    def __init__(self, failure_threshold: int) -> None:
        self._threshold = Threshold(failure_threshold)
        self._backoff = _FIRST_BACKOFF

    def take(self, result: CheckResult) -> Observation:
        """Take a result of the call: a message of the server, or why the call failed."""
        report = self._threshold.feed(result.healthy)
        if _is_server_status(result):
            self._backoff = _FIRST_BACKOFF
            report = result.healthy
        return Observation(result, report)

    def pause(self) -> float:
        """Return the seconds to wait before the next call; they grow until one succeeds."""
        seconds = self._backoff * random.SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)
        self._backoff = min(self._backoff * _BACKOFF_FACTOR, _LONGEST_BACKOFF)
        return seconds


def _is_server_status(result: CheckResult) -> bool:
    """Return whether it is a serving status; UNKNOWN may also be the code of a failed call."""
    return result.status in SERVING_STATUSES and (
        result.healthy or result.reason in (Reason.NOT_SERVING, Reason.UNKNOWN_SERVICE)
    )
