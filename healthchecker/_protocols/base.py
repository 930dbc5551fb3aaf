"""Shared by all probers: probe once under a deadline, report a `CheckResult`, connect."""

from __future__ import annotations

import ipaddress
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, NamedTuple

from healthchecker._net.connect import open_tcp, open_unix
from healthchecker._net.deadline import Cancel, Deadline
from healthchecker._net.resolver import resolve
from healthchecker._net.stream import Stream, UnknownIssuer
from healthchecker._net.tls import TlsClient
from healthchecker._net.unbounded import UnboundedCalls
from healthchecker._protocols.proxy_protocol import UNKNOWN, encode_header
from healthchecker._protocols.repeated import without_repeated
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import (
    BadArgumentError,
    CheckResult,
    Phase,
    ProbeFailure,
    Reason,
    UnexpectedResponse,
)
from healthchecker._values.target import Endpoint, Scheme, Target
from healthchecker._values.tls_options import NO_TLS

_LEAVE_SECONDS = 0.1
_LEAVE_BYTES = 4096


class Healthy(NamedTuple):
    """What a healthy target reported."""

    status: int | str | None
    detail: str


class Progress:
    """The current phase of a probe, and the time spent in each phase."""

    def __init__(self, start: float) -> None:
        self.start = start
        """When the probe began, on the clock of `time.monotonic()`."""
        self.phase: Phase | None = None
        self._since = start
        self._spent: dict[Phase, float] = {}

    def enter(self, phase: Phase) -> None:
        """Begin a phase; the previous one ends."""
        self._stop(time.monotonic())
        self.phase = phase

    def end(self, now: float) -> dict[Phase, float]:
        """Return the milliseconds spent in each phase, the last one ending `now`."""
        self._stop(now)
        return {phase: seconds * 1000 for phase, seconds in self._spent.items()}

    def spent(self, phase: Phase) -> float:
        """Return the seconds spent in a phase that has ended."""
        return self._spent.get(phase, 0.0)

    def _stop(self, now: float) -> None:
        if self.phase is not None:
            self._spent[self.phase] = self._spent.get(self.phase, 0.0) + now - self._since
        self._since = now


class Prober(ABC):
    """Checks one target. Reusable, but not concurrently."""

    SCHEMES: ClassVar[Mapping[str, Scheme]]
    """The URL schemes of its targets."""

    def __init__(self, target: Target, options: CheckOptions) -> None:
        """Raise `BadArgumentError` if target and options do not fit together."""
        self.label = target.label
        self._target = target
        self._options = options
        self._progress = Progress(time.monotonic())
        self._result: CheckResult | None = None

    def probe(
        self, timeout: float, cancel: Cancel | None = None, start: float | None = None
    ) -> CheckResult:
        """Probe within `timeout` seconds from now, or from `start` (of `time.monotonic()`).

        Raises `Cancelled` if `cancel` is set before the end; any other exception is a bug.
        """
        self._progress = Progress(time.monotonic() if start is None else start)
        self._result = None
        result = probe_once(self.label, self._probe, timeout, cancel, self._progress)
        self._result = without_repeated(result, self._target, self._options)
        return self._result

    def result_by_now(self, failure: ProbeFailure) -> CheckResult:
        """Return the last result or, if there is none yet, that of a probe that `failure` ends.

        May be called while another thread probes, and by the handler of a signal.
        """
        if self._result is not None:
            return self._result
        return failed(self.label, failure, self._progress)

    @abstractmethod
    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        """Probe the target; raise `ProbeFailure` if it is not healthy."""


class StreamProber(Prober):
    """Exchanges messages over one connection, with TLS if the scheme has it."""

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._tls: TlsClient | None = None
        if target.tls or options.tls != NO_TLS:
            self._tls_client()  # reports a file that cannot be used
        self._upgrade: Callable[[Stream], TlsClient | None] | None = None
        """Negotiates TLS on the plain connection, for `connect`."""
        if options.starttls:
            self._upgrade = self._upgrade_by_starttls
        self._goodbye = b""
        """How to end a session politely; `_exchange` may set it, and drops it with its failure."""

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        if self._tls is not None:
            self._tls.read_files(deadline, progress.enter)
        tls = self._tls if self._target.tls else None
        with connect(
            self._target.endpoint, self._options, deadline, progress, tls, upgrade=self._upgrade
        ) as stream:
            self._goodbye = b""
            healthy = self._exchange(stream)
            if self._goodbye:
                _take_leave(stream, self._goodbye, deadline)
            return healthy

    def _tls_client(self) -> TlsClient:
        """Return the client's side of TLS, which is not made unless it is needed."""
        if self._tls is None:
            self._tls = TlsClient(self._options.tls)
        return self._tls

    def _upgrade_by_starttls(self, stream: Stream) -> TlsClient:
        self._start_tls(stream)
        return self._tls_client()

    def _start_tls(self, stream: Stream) -> None:
        """Request a switch to TLS; only for schemes with the option `starttls`."""
        raise NotImplementedError

    @abstractmethod
    def _exchange(self, stream: Stream) -> Healthy:
        """Send and receive; raise `ProbeFailure` if the peer is not healthy."""


def can_read_password(stream: Stream, endpoint: Endpoint) -> bool:
    """Return whether a password in clear text reaches only the peer."""
    return stream.is_tls or endpoint.unix_socket is not None


def require_login(target: Target, options: CheckOptions) -> None:
    """Raise `BadArgumentError` for `login` without a user, or `role` without `login`."""
    if options.login and not target.user:
        problem = "needs a user (and a password) in the TARGET"
        raise BadArgumentError("login", target.label, problem)
    if options.role is not None and not options.login:
        raise BadArgumentError("role", target.label, "also needs login= here")


def require_role(expected: str | None, found: str) -> None:
    """Fail unless the server has the expected role; a replica is also called a secondary."""
    if expected is not None and (expected == "primary") != (found == "primary"):
        message = f"expected role {expected}, got {found}"
        raise UnexpectedResponse(Reason.NOT_SERVING, message, found)


def _take_leave(stream: Stream, goodbye: bytes, deadline: Deadline) -> None:
    """Send a goodbye and wait a little while for the peer to close: some log any other end."""
    stream.extend(deadline.tightened(_LEAVE_SECONDS))
    with suppress(ProbeFailure):
        stream.write(goodbye)
        while stream.read(_LEAVE_BYTES):
            pass


class LocalProber(Prober):
    """Examines something on this machine with system calls that have no timeout of their own."""

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._calls = UnboundedCalls()

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        return self._calls.call(self._examine, deadline)

    @abstractmethod
    def _examine(self) -> Healthy:
        """Examine the target; raise `ProbeFailure` if it is not healthy."""


def probe_once(
    label: str,
    probe: Callable[[Deadline, Progress], Healthy],
    timeout: float,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Run one probe and turn its outcome into a `CheckResult`; gRPC List and Watch also use it."""
    progress = progress or Progress(time.monotonic())
    try:
        healthy = probe(Deadline(timeout, cancel, progress.start), progress)
    except ProbeFailure as failure:
        return failed(label, failure, progress)
    except MemoryError:
        out_of_memory = ProbeFailure(Reason.OUT_OF_RESOURCES, "out of memory")
        return failed(label, out_of_memory, progress)
    now = time.monotonic()
    return CheckResult(
        target=label,
        healthy=True,
        reason=Reason.OK,
        detail=healthy.detail,
        status=healthy.status,
        elapsed=now - progress.start,
        phases_ms=progress.end(now),
    )


def failed(label: str, failure: ProbeFailure, progress: Progress) -> CheckResult:
    """Return the result of a probe that ended in a failure."""
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
        elapsed=now - progress.start,
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
    *,
    upgrade: Callable[[Stream], TlsClient | None] | None = None,
) -> Stream:
    """Look up the host, connect and, with `tls`, do the handshake; then enter the response phase.

    `upgrade` negotiates TLS on the plain connection by the protocol's own means, and returns the
    `tls` to go on with. Only this function knows the order of the phases.
    """
    connecting = deadline
    if options.connect_timeout is not None:
        connecting = deadline.tightened(options.connect_timeout)
    while True:
        stream = _open(endpoint, options, connecting, progress)
        try:
            if options.proxy_protocol:
                addresses = stream.addresses
                stream.write(encode_header(*addresses) if addresses else UNKNOWN)
            if upgrade is not None:
                progress.enter(Phase.RESPONSE)
                tls = upgrade(stream)
            if tls is not None:
                progress.enter(Phase.TLS)
                tls.start(stream, endpoint.host, connecting)
            break
        except UnknownIssuer:
            stream.close()
            if tls is None or not tls.trust_more(connecting):
                raise
        except BaseException:
            stream.close()
            raise
    progress.enter(Phase.RESPONSE)
    stream.extend(deadline)
    return stream


def _open(
    endpoint: Endpoint, options: CheckOptions, deadline: Deadline, progress: Progress
) -> Stream:
    if endpoint.unix_socket is not None:
        progress.enter(Phase.CONNECT)
        return open_unix(endpoint.unix_socket, deadline)
    addresses = look_up(endpoint, options, deadline, progress)
    progress.enter(Phase.CONNECT)
    return open_tcp(addresses, endpoint.port, deadline)


def look_up(
    endpoint: Endpoint, options: CheckOptions, deadline: Deadline, progress: Progress
) -> Sequence[str]:
    """Return the addresses of a host, which must be loopback addresses with `loopback_only`."""
    progress.enter(Phase.LOOKUP)
    addresses = resolve(endpoint.host, deadline)
    if options.loopback_only:
        _require_loopback(endpoint.host, addresses)
    return addresses


def _require_loopback(host: str, addresses: Sequence[str]) -> None:
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        if not (mapped or parsed).is_loopback:
            raise ProbeFailure(
                Reason.NOT_LOOPBACK,
                f"{host} resolves to {address}, which is not a loopback address",
            )
