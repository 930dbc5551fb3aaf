"""What every prober has in common: ask once under a deadline, and report a `CheckResult`."""

from __future__ import annotations

import ssl
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from healthchecker._deadline import Cancel, Deadline
from healthchecker._options import CheckOptions
from healthchecker._result import CheckResult, Phase, ProbeFailure, Reason
from healthchecker._stream import Endpoint, Stream, open_stream


@dataclass(frozen=True, slots=True)
class Healthy:
    """What a target that is healthy said."""

    status: int | str | None
    detail: str


class Prober(ABC):
    """Asks one target how it is. May be used again and again, one probe at a time."""

    def __init__(self, shown_as: str) -> None:
        self.shown_as = shown_as

    def probe(
        self, timeout: float, cancel: Cancel | None = None, start: float | None = None
    ) -> CheckResult:
        """Ask within `timeout` seconds from now, or from `start` (of `time.monotonic()`).

        Raises `Cancelled` when `cancel` is set meanwhile; any other exception is a bug.
        """
        start = time.monotonic() if start is None else start
        try:
            healthy = self._ask(Deadline(timeout, cancel, start))
        except ProbeFailure as failure:
            return CheckResult(
                target=self.shown_as,
                healthy=False,
                reason=failure.reason,
                detail=f"{failure.phase}: {failure.message}",
                status=failure.status,
                elapsed=time.monotonic() - start,
            )
        return CheckResult(
            target=self.shown_as,
            healthy=True,
            reason=Reason.OK,
            detail=healthy.detail,
            status=healthy.status,
            elapsed=time.monotonic() - start,
        )

    @abstractmethod
    def _ask(self, deadline: Deadline) -> Healthy:
        """Ask the target; raise `ProbeFailure` when it is not healthy."""


def connect(
    endpoint: Endpoint, options: CheckOptions, deadline: Deadline, context: ssl.SSLContext | None
) -> Stream:
    """Look up, connect and, with a context, do the TLS handshake; what follows is the response."""
    connecting = deadline
    if options.connect_timeout is not None:
        connecting = deadline.tightened(options.connect_timeout)
    stream = open_stream(endpoint, connecting, loopback_only=options.loopback_only)
    try:
        if context is not None:
            stream.start_tls(context, options.tls.server_name or endpoint.host.rstrip("."))
    except BaseException:
        stream.close()
        raise
    deadline.phase = Phase.RESPONSE
    stream.extend(deadline)
    return stream
