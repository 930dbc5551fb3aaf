"""The results of a command that ends before it has a verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence

from healthchecker._protocols.base import Prober
from healthchecker._values.result import CheckResult, ProbeFailure
from healthchecker._values.target import Target


class EarlyEnd:
    """Has, at any moment, the latest results of the targets of a command."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._start = time.monotonic()
        self.probers: Sequence[Prober] = ()
        """Those of the targets, as soon as there are any."""

    def results(self, cause: ProbeFailure) -> list[CheckResult]:
        """Return a result for each target; `cause` ends the probes that have none yet."""
        if self.probers:
            return [prober.result_by_now(cause) for prober in self.probers]
        elapsed = time.monotonic() - self._start
        return [
            CheckResult(target.label, False, cause.reason, cause.message, None, elapsed)
            for target in self._targets
        ]
