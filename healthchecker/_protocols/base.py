"""What every prober has in common: ask once under a deadline, and report a `CheckResult`."""

from __future__ import annotations

import ipaddress
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from healthchecker._net.connect import open_tcp, open_unix
from healthchecker._net.deadline import Cancel, Deadline
from healthchecker._net.resolver import resolve
from healthchecker._net.stream import Stream, UnknownIssuer
from healthchecker._net.tls import TlsClient
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import (
    CheckResult,
    Phase,
    ProbeFailure,
    Reason,
    UnexpectedResponse,
)
from healthchecker._values.target import Endpoint, Scheme, Target

DEFAULT_USER = "healthchecker"
"""Who asks, where a protocol wants a name and the target has none."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """What a target that is healthy said."""

    status: int | str | None
    detail: str


class Progress:
    """The phase that a probe is in, and the time that it has spent in each."""

    def __init__(self, start: float) -> None:
        self.phase: Phase | None = None
        self._since = start
        self._spent: dict[Phase, float] = {}

    def enter(self, phase: Phase) -> None:
        """Begin a phase; the one before is over."""
        self._stop(time.monotonic())
        self.phase = phase

    def end(self, now: float) -> dict[Phase, float]:
        """Return the milliseconds spent in each phase, the last one ending `now`."""
        self._stop(now)
        return {phase: seconds * 1000 for phase, seconds in self._spent.items()}

    def _stop(self, now: float) -> None:
        if self.phase is not None:
            self._spent[self.phase] = self._spent.get(self.phase, 0.0) + now - self._since
        self._since = now


class Prober(ABC):
    """Asks one target how it is. May be used again and again, one probe at a time."""

    SCHEMES: ClassVar[Mapping[str, Scheme]]
    """The targets that it can ask, by URL scheme."""

    def __init__(self, target: Target, options: CheckOptions) -> None:
        """Take what to ask, and how; `BadArgumentError` where that makes no sense together."""
        self.label = target.label
        self._target = target
        self._options = options

    def probe(
        self, timeout: float, cancel: Cancel | None = None, start: float | None = None
    ) -> CheckResult:
        """Ask within `timeout` seconds from now, or from `start` (of `time.monotonic()`).

        Raises `Cancelled` when `cancel` is set meanwhile; any other exception is a bug.
        """
        return probe_once(self.label, self._probe, timeout, cancel, start)

    @abstractmethod
    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        """Ask the target; raise `ProbeFailure` when it is not healthy."""


def probe_once(
    label: str,
    ask: Callable[[Deadline, Progress], Healthy],
    timeout: float,
    cancel: Cancel | None = None,
    start: float | None = None,
) -> CheckResult:
    """Carry out what asks a target: for `Prober.probe`, and for what is asked in another way."""
    start = time.monotonic() if start is None else start
    progress = Progress(start)
    try:
        healthy = ask(Deadline(timeout, cancel, start), progress)
    except ProbeFailure as failure:
        return failed(label, failure, progress, start)
    except MemoryError:
        out_of_memory = ProbeFailure(Reason.CONNECTION_FAILED, "out of memory")
        return failed(label, out_of_memory, progress, start)
    now = time.monotonic()
    return CheckResult(
        target=label,
        healthy=True,
        reason=Reason.OK,
        detail=healthy.detail,
        status=healthy.status,
        elapsed=now - start,
        phases_ms=progress.end(now),
    )


def failed(label: str, failure: ProbeFailure, progress: Progress, start: float) -> CheckResult:
    """Return the result of a probe that a failure has ended."""
    now = time.monotonic()
    detail = failure.message
    if progress.phase is not None and not isinstance(failure, UnexpectedResponse):
        if failure.reason is Reason.TIMEOUT:
            detail = f"{detail} ({progress.phase})"
        else:
            detail = f"{progress.phase}: {detail}"
    return CheckResult(
        target=label,
        healthy=False,
        reason=failure.reason,
        detail=detail,
        status=failure.status,
        elapsed=now - start,
        phase=progress.phase,
        phases_ms=progress.end(now),
        excerpt=failure.excerpt if isinstance(failure, UnexpectedResponse) else "",
    )


def connect(
    endpoint: Endpoint,
    options: CheckOptions,
    deadline: Deadline,
    progress: Progress,
    tls: TlsClient | None = None,
) -> Stream:
    """Look up, connect and, for a client of TLS, do the handshake; what follows is the response.

    The one place that knows the order of the phases.
    """
    connecting = deadline
    if options.connect_timeout is not None:
        connecting = deadline.tightened(options.connect_timeout)
    stream = _open(endpoint, options, connecting, progress)
    while tls is not None:
        progress.enter(Phase.TLS)
        try:
            stream.start_tls(tls.context(), tls.name_of(endpoint.host))
            tls.demand_lifetime(stream.certificate_end())
            break
        except BaseException as error:
            stream.close()
            if not (isinstance(error, UnknownIssuer) and tls.trust_more()):
                raise
        stream = _open(endpoint, options, connecting, progress)
    progress.enter(Phase.RESPONSE)
    stream.extend(deadline)
    return stream


def _open(
    endpoint: Endpoint, options: CheckOptions, deadline: Deadline, progress: Progress
) -> Stream:
    if endpoint.unix_socket is not None:
        progress.enter(Phase.CONNECT)
        return open_unix(endpoint.unix_socket, deadline)
    progress.enter(Phase.LOOKUP)
    addresses = resolve(endpoint.host, deadline)
    if options.loopback_only:
        _refuse_others_than_loopback(endpoint.host, addresses)
    progress.enter(Phase.CONNECT)
    return open_tcp(addresses, endpoint.port, deadline)


def _refuse_others_than_loopback(host: str, addresses: Sequence[str]) -> None:
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        if not (mapped or parsed).is_loopback:
            raise ProbeFailure(
                Reason.NOT_LOOPBACK, f"{host} is {address}, which is not a loopback address"
            )
