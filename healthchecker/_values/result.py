"""What a check comes to: one result type for every protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why a check ended as it did. The words are stable: scripts may rely on them."""

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
    USAGE_ERROR = "usage_error"
    INTERNAL_ERROR = "internal_error"


class Phase(StrEnum):
    """The parts of a check, in their order. One that fails is the first word of the detail."""

    LOOKUP = "lookup"
    CONNECT = "connect"
    TLS = "tls"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check of one target. True in a boolean context when healthy."""

    target: str
    """The target as it is shown to people: without credentials."""
    healthy: bool
    reason: Reason
    detail: str
    """What happened, in words. It starts with the phase where that did not come to its end; a
    whole answer that is not the expected one speaks for itself."""
    status: int | str | None
    """The HTTP status code, the name of the gRPC serving status or error code, or the error code
    that a database answered with; None where there is none, or the check did not get that far."""
    elapsed: float
    """Seconds from the start of the check to its end."""
    phase: Phase | None = None
    """The phase in which the check failed: `RESPONSE` for an answer that is not the expected one,
    None for a healthy target and for what failed before there was any phase."""
    phases_ms: Mapping[Phase, float] = field(default_factory=dict, compare=False)
    """Milliseconds spent in each phase that the check came to, redirects included."""
    excerpt: str = ""
    """How the body of an unexpected HTTP answer begins: 200 bytes of it at most, as text."""

    def __bool__(self) -> bool:
        return self.healthy

    def raise_for_unhealthy(self) -> Self:
        """Return the result itself when healthy; raise `UnhealthyError` when not."""
        if not self.healthy:
            raise UnhealthyError(self)
        return self


class UnhealthyError(Exception):
    """A target is not healthy: for those who asked for an exception."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(f"{result.target}: {result.reason}: {result.detail}")
        self.result = result

    def __reduce__(self) -> tuple[type[UnhealthyError], tuple[CheckResult]]:
        return type(self), (self.result,)  # an exception may have to cross to another process


class ProbeFailure(Exception):  # noqa: N818 - a failed probe is a result in the making, no error
    """Ends a probe from within; a `Prober` turns it into a `CheckResult`.

    It does not know the phase that it ends: the prober does, which has begun it.
    """

    def __init__(self, reason: Reason, message: str, status: int | str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.status = status


class UnexpectedResponse(ProbeFailure):
    """The answer came as a whole, and says or is something else than a healthy target's."""

    excerpt = ""
    """How its body begins, where it has one."""


class BadArgumentError(ValueError):
    """An argument that cannot be used: a mistake of the caller, never a state of the target."""

    def __init__(self, argument: str, value: object, problem: str) -> None:
        super().__init__(f"{argument}: {value!r}: {problem}")
        self.argument = argument
        self.value = value
        self.problem = problem
