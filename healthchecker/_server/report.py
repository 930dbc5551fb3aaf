"""The values of a health server: the outcome of a check, and the report of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class HealthState(StrEnum):
    """The state of a program as a whole."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Only checks that are not critical fail: the program still serves."""
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """The outcome of one run of a check. Truthy when it passed."""

    healthy: bool
    detail: str = ""
    """Why it failed, for the clients of the server; for a target also how it passed."""
    elapsed: float = 0.0
    """Seconds that the check took."""
    critical: bool = True
    """Whether the program is not ready while the check fails."""
    private: str = field(default="", repr=False, compare=False)
    """For the program's log only: the message of an exception may contain a secret."""

    def __bool__(self) -> bool:
        return self.healthy


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The outcomes of checks, by name. Truthy unless a critical check failed."""

    checks: Mapping[str, CheckOutcome]

    def __bool__(self) -> bool:
        return self.state is not HealthState.UNHEALTHY

    @property
    def state(self) -> HealthState:
        """`UNHEALTHY` if a critical check failed, `DEGRADED` if only others did."""
        failed = [one for one in self.checks.values() if not one.healthy]
        if any(one.critical for one in failed):
            return HealthState.UNHEALTHY
        return HealthState.DEGRADED if failed else HealthState.HEALTHY

    def to_dict(self) -> dict[str, object]:
        """Return the report as the JSON object of the server; times are in milliseconds."""
        return {
            "healthy": bool(self),
            "state": str(self.state),
            "checks": [
                {
                    "name": name,
                    "healthy": one.healthy,
                    "critical": one.critical,
                    "detail": one.detail,
                    "elapsed_ms": round(one.elapsed * 1000, 1),
                }
                for name, one in self.checks.items()
            ],
        }
