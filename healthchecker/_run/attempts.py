"""Several attempts before a verdict: a blip is not an outage."""

from __future__ import annotations

from collections.abc import Sequence

from healthchecker._net.deadline import Cancel
from healthchecker._protocols.base import Prober
from healthchecker._run.check import probe_all
from healthchecker._values.result import CheckResult


def probe_repeatedly(
    probers: Sequence[Prober],
    timeout: float,
    *,
    attempts: int,
    interval: float,
    any_is_enough: bool,
    cancel: Cancel,
) -> list[CheckResult]:
    """Probe all; probe the unhealthy ones again until they are healthy or `attempts` are used up.

    Each attempt has `timeout` seconds, `interval` seconds after the one before. Returns the last
    result of each, like `probe_all`.
    """
    results = probe_all(probers, timeout, any_is_enough=any_is_enough, cancel=cancel)
    for _ in range(attempts - 1):
        failed = [index for index, result in enumerate(results) if not result.healthy]
        if not failed or (any_is_enough and len(failed) < len(results)):
            break
        cancel.wait(interval)
        again = [probers[index] for index in failed]
        repeated = probe_all(again, timeout, any_is_enough=any_is_enough, cancel=cancel)
        if any_is_enough:
            results = repeated  # of which the others may be missing
        else:
            for index, result in zip(failed, repeated, strict=True):
                results[index] = result
    return results
