"""What a check comes to: one result type for every protocol."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a check ended as it did. The words are stable: scripts may rely on them."""

    OK = "ok"
    UNEXPECTED_STATUS = "unexpected_status"
    UNEXPECTED_BODY = "unexpected_body"
    UNEXPECTED_HEADER = "unexpected_header"
    REDIRECT = "redirect"
    DNS_FAILURE = "dns_failure"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_RESET = "connection_reset"
    CONNECTION_FAILED = "connection_failed"
    TLS_FAILURE = "tls_failure"
    TIMEOUT = "timeout"
    INVALID_RESPONSE = "invalid_response"
    NOT_SERVING = "not_serving"
    UNKNOWN_SERVICE = "unknown_service"
    UNIMPLEMENTED = "unimplemented"
    NOT_LOOPBACK = "not_loopback"
    USAGE_ERROR = "usage_error"
    INTERNAL_ERROR = "internal_error"


class Phase(StrEnum):
    """The part of a check in which it failed; the first word of a failure's detail."""

    LOOKUP = "look-up"
    CONNECT = "connect"
    TLS = "TLS"
    RESPONSE = "response"
    ASSERTION = "assertion"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check of one target. True in a boolean context when healthy."""

    target: str
    """The target as it is shown to people: without credentials."""
    healthy: bool
    reason: Reason
    detail: str
    """What happened, in words. For a failure it starts with the phase."""
    status: int | str | None
    """The HTTP status code, or the name of the gRPC serving status or error code; None where
    the check did not get that far."""
    elapsed: float
    """Seconds from the start of the check to its end."""

    def __bool__(self) -> bool:
        return self.healthy


class ProbeFailure(Exception):  # noqa: N818 - a failed probe is a result in the making, no error
    """Ends a probe from within; a `Prober` turns it into a `CheckResult`."""

    def __init__(
        self, reason: Reason, phase: Phase, message: str, status: int | str | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.phase = phase
        self.message = message
        self.status = status


class BadArgumentError(ValueError):
    """An argument that cannot be used: a mistake of the caller, never a state of the target."""

    def __init__(self, argument: str, value: object, problem: str) -> None:
        super().__init__(f"{argument}: {value!r}: {problem}")
        self.argument = argument
        self.value = value
        self.problem = problem
