"""The outcome of a check: one result type for all protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """The reason for the outcome of a check. The names are stable: scripts may rely on them."""

    OK = "ok"
    UNEXPECTED_STATUS = "unexpected_status"
    UNEXPECTED_BODY = "unexpected_body"
    UNEXPECTED_HEADER = "unexpected_header"
    UNEXPECTED_REPLY = "unexpected_reply"
    REDIRECT = "redirect"
    DNS_FAILURE = "dns_failure"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_RESET = "connection_reset"
    CONNECTION_FAILED = "connection_failed"
    TLS_FAILURE = "tls_failure"
    CERTIFICATE_EXPIRES = "certificate_expires"
    TIMEOUT = "timeout"
    INVALID_RESPONSE = "invalid_response"
    NOT_SERVING = "not_serving"
    UNKNOWN_SERVICE = "unknown_service"
    UNIMPLEMENTED = "unimplemented"
    MISSING = "missing"
    STALE = "stale"
    NOT_LOOPBACK = "not_loopback"
    REACHABLE = "reachable"
    OUT_OF_RESOURCES = "out_of_resources"
    INTERRUPTED = "interrupted"
    USAGE_ERROR = "usage_error"
    INTERNAL_ERROR = "internal_error"


class Phase(StrEnum):
    """The phases of a check, in order. The detail of a failure names the phase that failed."""

    LOOKUP = "lookup"
    CONNECT = "connect"
    TLS = "tls"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check of one target. True in a boolean context when healthy."""

    target: str
    """The target as it is shown: without credentials."""
    healthy: bool
    reason: Reason
    detail: str
    """A description of what happened. It starts with the phase if that was not completed; for a
    complete response that is not as expected it has no such prefix."""
    status: int | str | None
    """The HTTP status code, the name of the gRPC serving status or error code, or the error code
    that a database replied with; None if there is none, or the check did not get that far."""
    elapsed: float
    """Seconds from the start of the check to its end."""
    phase: Phase | None = None
    """The phase in which the check failed: `RESPONSE` for a response that is not as expected,
    None for a healthy target and for what failed before there was any phase."""
    phases_ms: Mapping[Phase, float] = field(default_factory=dict, compare=False)
    """Milliseconds spent in each phase reached, including redirects."""
    excerpt: str = ""
    """The start of the body of an unexpected HTTP response: at most 200 bytes, as text."""

    def __bool__(self) -> bool:
        return self.healthy

    def to_dict(self) -> dict[str, object]:
        """Return the result as the JSON object that `--output json` prints for it.

        Times are in milliseconds; `phases_ms` and `body` are missing if they are empty.
        """
        shown: dict[str, object] = {
            "target": self.target,
            "healthy": self.healthy,
            "reason": str(self.reason),
            "detail": self.detail,
            "status": self.status,
            "elapsed_ms": round(self.elapsed * 1000, 1),
        }
        if self.phases_ms:
            shown["phases_ms"] = {str(phase): round(ms, 1) for phase, ms in self.phases_ms.items()}
        if self.excerpt:
            shown["body"] = self.excerpt
        return shown

    def raise_for_unhealthy(self) -> Self:
        """Return the result itself when healthy; raise `UnhealthyError` when not."""
        if not self.healthy:
            raise UnhealthyError(self)
        return self


_PLAIN = (str, int, float, bytes, type(None))


def _picklable(value: object) -> object:
    """Return the value, or a stand-in with the same repr if another process might not load it."""
    items = [*value, *value.values()] if type(value) is dict else value
    if isinstance(items, (list, tuple)) and type(value) in (list, tuple, dict):
        is_plain = all(type(item) in _PLAIN for item in items)
    else:
        is_plain = type(value) in (*_PLAIN, bool)
    return value if is_plain else _Shown(repr(value))


class _Shown:
    """Shown like the value that it stands in for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class UnhealthyError(Exception):
    """A target is not healthy; raised by `CheckResult.raise_for_unhealthy()`."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(f"{result.target}: {result.reason}: {result.detail}")
        self.result = result

    def __reduce__(self) -> tuple[type[UnhealthyError], tuple[CheckResult]]:
        return type(self), (self.result,)  # an exception may have to cross to another process


class ProbeFailure(Exception):  # noqa: N818 - a failed probe becomes a result; it is not an error
    """Ends a probe from within; a `Prober` turns it into a `CheckResult`.

    It does not know which phase it ends; the prober that started the phase does.
    """

    def __init__(self, reason: Reason, message: str, status: int | str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.status = status


class UnexpectedResponse(ProbeFailure):
    """A complete response that is not what a healthy target would send."""

    excerpt = ""
    """The start of its body, if it has one."""


class BadArgumentError(ValueError):
    """An unusable argument: a mistake of the caller, never a state of the target."""

    def __init__(self, argument: str, value: object, problem: str) -> None:
        super().__init__(f"{argument}: {value!r}: {problem}")
        self.argument = argument
        """The name of the parameter."""
        self.value = value
        self.problem = problem
        """The fault of the value, and the correction."""

    def __reduce__(self) -> tuple[type[BadArgumentError], tuple[str, object, str]]:
        return type(self), (self.argument, _picklable(self.value), self.problem)
