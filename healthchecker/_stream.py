"""Byte streams under a deadline: connect, TLS, read, write. Every protocol stands on these."""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from healthchecker._deadline import Deadline
from healthchecker._resolver import resolve
from healthchecker._result import Phase, ProbeFailure, Reason

T = TypeVar("T")

_ATTEMPT_DELAY = 0.25  # RFC 8305, section 5: Connection Attempt Delay
_MIN_ATTEMPT_DELAY = 0.01  # the same


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect: a host and port, or the Unix socket that stands in for them."""

    host: str
    port: int
    unix_socket: str | None = None
    """A path, or a name in the abstract namespace after a leading `@`."""


class Stream:
    """A connected socket whose every operation ends by the deadline or in a `ProbeFailure`."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def read(self, max_bytes: int) -> bytes:
        """Return at least one byte and at most `max_bytes`; nothing at the end of the stream."""
        return self._run(partial(self._sock.recv, max_bytes), select.POLLIN)

    def read_exactly(self, size: int) -> bytes:
        """Return `size` bytes; an earlier end of the stream is a `ProbeFailure`."""
        data = b""
        while len(data) < size:
            more = self.read(size - len(data))
            if not more:
                raise ProbeFailure(
                    Reason.INVALID_RESPONSE, self._deadline.phase, "connection closed too early"
                )
            data += more
        return data

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        view = memoryview(data)
        while view:
            view = view[self._run(partial(self._sock.send, view), select.POLLOUT) :]

    def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Do the TLS handshake; from here on the stream is encrypted."""
        self._deadline.phase = Phase.TLS
        try:
            sock = context.wrap_socket(
                self._sock,
                server_hostname=server_name,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,  # who cuts a connection must not pass as who ends it
            )
        except (ValueError, OSError) as error:
            raise _failure(error, Phase.TLS) from error
        self._sock = sock
        self._run(sock.do_handshake, select.POLLIN)

    def extend(self, deadline: Deadline) -> None:
        """Put the stream under another deadline: connecting may have a tighter one."""
        self._deadline = deadline

    def close(self) -> None:
        self._sock.close()

    def _run(self, operation: Callable[[], T], events: int) -> T:
        while True:
            self._deadline.remaining()
            try:
                return operation()
            except (BlockingIOError, ssl.SSLWantReadError):
                wanted = events
                if isinstance(self._sock, ssl.SSLSocket):
                    wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except ssl.SSLEOFError as error:
                raise _failure(self._end_under_tls(error), self._deadline.phase) from error
            except (OSError, ValueError) as error:
                raise _failure(error, self._deadline.phase) from error
            self._deadline.wait(self._sock.fileno(), wanted)

    def _end_under_tls(self, error: ssl.SSLEOFError) -> OSError:
        """Tell a reset from a mere end: Python 3.11 calls both an end while it reads."""
        try:
            self._sock.getpeername()
        except OSError:
            return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return error


def open_stream(endpoint: Endpoint, deadline: Deadline, *, loopback_only: bool = False) -> Stream:
    """Look the endpoint's name up and connect to the first of its addresses that answers.

    With `loopback_only`, a name of which any address is not a loopback one is refused.
    """
    if endpoint.unix_socket is not None:
        return _open_unix(endpoint.unix_socket, deadline)
    addresses = resolve(endpoint.host, deadline)
    if loopback_only:
        for address in addresses:
            if not _is_loopback(address):
                raise ProbeFailure(
                    Reason.NOT_LOOPBACK,
                    Phase.LOOKUP,
                    f"{endpoint.host} is {address}, which is not a loopback address",
                )
    deadline.phase = Phase.CONNECT
    return open_tcp(addresses, endpoint.port, deadline)


def open_tcp(addresses: Sequence[str], port: int, deadline: Deadline) -> Stream:
    """Connect to one of the addresses: each in its turn, the next when one fails or is slow.

    A simple form of Happy Eyeballs (RFC 8305): a slow attempt goes on beside the next one.
    """
    waiting = list(reversed(addresses))
    pending: dict[int, tuple[socket.socket, str]] = {}
    failures: list[ProbeFailure] = []
    next_start = 0.0
    try:
        while waiting or pending:
            now = time.monotonic()
            if waiting and (not pending or now >= next_start):
                address = waiting.pop()
                # Less than usual where there are so many that the last would get no time.
                share = deadline.remaining() / (2 * (len(waiting) + 1))
                next_start = now + max(min(_ATTEMPT_DELAY, share), _MIN_ATTEMPT_DELAY)
                try:
                    sock = _socket_for(address)
                except OSError as error:
                    failures.append(_connect_failure(error.errno, address, port))
                    continue
                pending[sock.fileno()] = (sock, address)
                code = sock.connect_ex(_socket_address(address, port))
                if code == 0:
                    return Stream(pending.pop(sock.fileno())[0], deadline)
                if code != errno.EINPROGRESS:
                    pending.pop(sock.fileno())[0].close()
                    failures.append(_connect_failure(code, address, port))
                continue
            limit = next_start - now if waiting else None
            for fd in deadline.wait_any([(fd, select.POLLOUT) for fd in pending], limit):
                sock, address = pending.pop(fd)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    return Stream(sock, deadline)
                sock.close()
                failures.append(_connect_failure(code, address, port))
                next_start = 0.0
    finally:
        for sock, _ in pending.values():
            sock.close()
    raise failures[-1]


def _open_unix(name: str, deadline: Deadline) -> Stream:
    deadline.phase = Phase.CONNECT
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    address = "\0" + name[1:] if name.startswith("@") else name
    while True:
        code = sock.connect_ex(address)
        if code == 0:
            return Stream(sock, deadline)
        if code != errno.EAGAIN:
            sock.close()
            raise _connect_failure(code, name, None)
        # The listener's queue is full, and poll() cannot tell when it no longer is.
        try:
            deadline.wait_any([], limit=0.01)
        except BaseException:
            sock.close()
            raise


def _socket_for(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _socket_address(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    host, _, zone = address.partition("%")
    if not zone:
        return (host, port)
    try:
        scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    except OSError as error:
        raise ProbeFailure(
            Reason.CONNECTION_FAILED, Phase.CONNECT, f"no network interface {zone}"
        ) from error
    return (host, port, 0, scope)


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


_BY_ERRNO = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.ECONNRESET: Reason.CONNECTION_RESET,
    errno.ECONNABORTED: Reason.CONNECTION_RESET,
    errno.EPIPE: Reason.CONNECTION_RESET,
}


def _connect_failure(code: int | None, address: str, port: int | None) -> ProbeFailure:
    place = address if port is None else f"[{address}]:{port}" if ":" in address else None
    return ProbeFailure(
        _BY_ERRNO.get(code or 0, Reason.CONNECTION_FAILED),
        Phase.CONNECT,
        f"{place or f'{address}:{port}'}: {os.strerror(code or 0)}",
    )


def _failure(error: Exception, phase: Phase) -> ProbeFailure:
    if isinstance(error, ssl.SSLError):
        return ProbeFailure(Reason.TLS_FAILURE, phase, _tls_words(error))
    if isinstance(error, OSError):
        reason = _BY_ERRNO.get(error.errno or 0, Reason.CONNECTION_FAILED)
        return ProbeFailure(reason, phase, os.strerror(error.errno or 0))
    return ProbeFailure(Reason.TLS_FAILURE, phase, str(error))


_TLS_WORDS = {
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS here",
    "HTTP_REQUEST": "the peer speaks plain HTTP here",
    "PACKET_LENGTH_TOO_LONG": "the peer does not speak TLS here",
    "RECORD_LAYER_FAILURE": "the peer does not speak TLS here",
    "UNSUPPORTED_PROTOCOL": "the peer has no TLS version from 1.2 on",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer has no TLS version from 1.2 on",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "the peer refused the handshake: no common cipher, or it requires a client certificate"
    ),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer requires a client certificate",
    "UNEXPECTED_EOF_WHILE_READING": "the peer closed the connection during TLS",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the client certificate",
}


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return _TLS_WORDS["UNEXPECTED_EOF_WHILE_READING"]
    reason = error.reason or "TLS error"
    return _TLS_WORDS.get(reason) or reason.lower().replace("_", " ")
