"""A byte stream under a deadline: read, write, TLS. Every protocol over TCP is built on it.

TLS is done in memory (`ssl.MemoryBIO`), and the socket is read and written here: so the size of a
handshake can be bounded before OpenSSL parses it.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Self, TypeVar

from healthchecker._net.deadline import Deadline
from healthchecker._net.unbounded import UnboundedCalls
from healthchecker._values.result import ProbeFailure, Reason

T = TypeVar("T")

REASON_BY_ERRNO = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.ECONNRESET: Reason.CONNECTION_RESET,
    errno.ECONNABORTED: Reason.CONNECTION_RESET,
    errno.EPIPE: Reason.CONNECTION_RESET,
    errno.EMFILE: Reason.OUT_OF_RESOURCES,
    errno.ENFILE: Reason.OUT_OF_RESOURCES,
    errno.ENOMEM: Reason.OUT_OF_RESOURCES,
}

_MAX_HANDSHAKE_BYTES = 14 * 1024
"""What a server may send until the handshake is done.

OpenSSL's own limit, 100 KiB for a certificate chain, is no protection: some certificates take
memory and time by the square of their size (CVE-2026-35189: 45 KB, 300 MB, seconds), and they are
parsed before they are verified. At this size they take less than 64 MiB; real chains take 2 to
10 KB.
"""
_MAX_FAST_HANDSHAKE_BYTES = 4 * 1024
"""Up to this size OpenSSL takes no more than about 60 ms, whatever the certificates."""
_READ_BYTES = 1 << 14
_MAX_RECORD_BYTES = 1 << 14  # RFC 8446, section 5.1

_OUT_OF = {
    errno.EMFILE: "out of file descriptors",
    errno.ENFILE: "out of file descriptors",
    errno.ENOMEM: "out of memory",
}


def os_message(error: OSError | int | None) -> str:
    """Return the message for users about an error of the system, or about its errno."""
    code = (error.errno if isinstance(error, OSError) else error) or 0
    return _OUT_OF.get(code) or os.strerror(code)


def demand_resources(error: OSError) -> None:
    """Raise a `ProbeFailure` if the error means that we are out of memory or descriptors."""
    if error.errno in _OUT_OF:
        raise ProbeFailure(Reason.OUT_OF_RESOURCES, os_message(error)) from error


class UnannouncedEnd(ProbeFailure):
    """The peer closed the connection without a TLS close_notify, as after a truncation.

    A protocol with its own framing may treat this as the end of the stream.
    """


class UnknownIssuer(ProbeFailure):
    """The peer's certificate leads to no trusted CA certificate."""


class _Tls:
    """The TLS session of a stream: OpenSSL's side, and the encrypted bytes that go in and out."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self.received = ssl.MemoryBIO()
        self.to_send = ssl.MemoryBIO()
        self.session = context.wrap_bio(self.received, self.to_send, server_hostname=server_name)
        self.server_name = server_name
        self.is_established = False
        self.handshake_bytes = 0
        """What the peer has sent before the handshake was done."""


class Stream:
    """A connected socket whose every operation ends by the deadline or in a `ProbeFailure`."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._tls: _Tls | None = None
        self._write_failure: ProbeFailure | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def read(self, max_bytes: int) -> bytes:
        """Return at least one byte and at most `max_bytes`; nothing at the end of the stream."""
        if self._tls is None:
            return self._receive(max_bytes)
        return self._run_tls(self._tls, partial(self._tls.session.read, max_bytes))

    def read_exactly(self, size: int) -> bytes:
        """Return `size` bytes; an earlier end of the stream is a `ProbeFailure`."""
        data = b""
        while len(data) < size:
            more = self.read(size - len(data))
            if not more:
                raise ProbeFailure(Reason.INVALID_RESPONSE, "connection closed prematurely")
            data += more
        return data

    def write(self, data: bytes) -> None:
        """Send all of `data`.

        A peer may respond before reading everything, and its response is more useful than the
        write error. If it resets the connection, the rest of `data` is dropped, and the failure is
        raised once the readable data is exhausted.
        """
        tls = self._tls
        if tls is None:
            self._send(data)
            return
        view = memoryview(data)
        while view and self._write_failure is None:
            sent = self._run_tls(tls, partial(tls.session.write, view[:_MAX_RECORD_BYTES]))
            view = view[sent:]

    def start_tls(
        self,
        context: ssl.SSLContext,
        server_name: str,
        calls: UnboundedCalls,
        *,
        reads_files: bool,
    ) -> None:
        """Do the TLS handshake; from here on the stream is encrypted.

        OpenSSL may take its time in it: with `reads_files` it looks CA certificates up in a
        directory, and a long certificate may be made to be slow. This is when it gets a thread,
        which `calls` makes.
        """
        try:
            tls = self._tls = _Tls(context, server_name)
        except ValueError as error:
            message = f"{server_name} is not a name that a certificate can have"
            raise ProbeFailure(Reason.TLS_FAILURE, message) from error
        except OSError as error:
            raise _failure(error) from error

        def handshake() -> None:
            if tls.handshake_bytes > (0 if reads_files else _MAX_FAST_HANDSHAKE_BYTES):
                calls.call(tls.session.do_handshake, self._deadline)
            else:
                tls.session.do_handshake()

        self._run_tls(tls, handshake)
        tls.is_established = True

    @property
    def addresses(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """Our own address and port, and those of the peer; None unless the socket has them."""
        if self._sock.family == socket.AF_UNIX:
            return None
        try:
            local, peer = self._sock.getsockname(), self._sock.getpeername()
        except OSError:
            return None  # the peer has reset the connection
        return (local[0], local[1]), (peer[0], peer[1])

    @property
    def is_tls(self) -> bool:
        return self._tls is not None

    @property
    def application_protocol(self) -> str | None:
        """The protocol that ALPN (RFC 7301) agreed on in the TLS handshake, if any."""
        return self._tls.session.selected_alpn_protocol() if self._tls is not None else None

    def certificate_end(self) -> str | None:
        """Return the end of the peer's verified certificate, such as `Jun 26 21:41:46 2027 GMT`."""
        if self._tls is None:
            return None
        certificate = self._tls.session.getpeercert() or {}
        return str(certificate["notAfter"]) if "notAfter" in certificate else None

    def remaining(self) -> float:
        """Return the seconds left, never zero: a passed deadline is a `ProbeFailure`."""
        return self._deadline.remaining()

    def extend(self, deadline: Deadline) -> None:
        """Put the stream under another deadline: connecting may have a tighter one."""
        self._deadline = deadline

    def close(self) -> None:
        self._sock.close()

    def _run_tls(self, tls: _Tls, operation: Callable[[], T]) -> T:
        """Carry out an operation of OpenSSL, passing bytes between it and the socket."""
        while True:
            self._deadline.remaining()
            try:
                result = operation()
            except ssl.SSLWantReadError:
                self._flush(tls)
                self._fill(tls)
            except OSError as error:
                if not isinstance(error, ssl.SSLEOFError):
                    self._send_alert(tls)
                raise _failure(error, tls.server_name) from error
            else:
                self._flush(tls)
                return result

    def _flush(self, tls: _Tls) -> None:
        if tls.to_send.pending:
            self._send(tls.to_send.read())

    def _send_alert(self, tls: _Tls) -> None:
        """Tell the peer why the session ends, if that can be done without waiting."""
        with suppress(OSError):
            self._sock.send(tls.to_send.read())

    def _fill(self, tls: _Tls) -> None:
        size = _READ_BYTES
        if not tls.is_established:
            size = min(size, _MAX_HANDSHAKE_BYTES - tls.handshake_bytes)
            if size == 0:
                problem = f"the peer's handshake is longer than {_MAX_HANDSHAKE_BYTES} bytes"
                raise ProbeFailure(Reason.TLS_FAILURE, problem)
        data = self._receive(size)
        if not tls.is_established:
            tls.handshake_bytes += len(data)
        if data:
            tls.received.write(data)
        else:
            tls.received.write_eof()

    def _receive(self, max_bytes: int) -> bytes:
        data = self._run(partial(self._sock.recv, max_bytes), select.POLLIN)
        if not data and self._write_failure is not None:
            raise self._write_failure  # the kernel reports a reset only once
        return data

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view and self._write_failure is None:
                view = view[self._run(partial(self._sock.send, view), select.POLLOUT) :]
        except ProbeFailure as failure:
            if failure.reason is not Reason.CONNECTION_RESET:
                raise
            self._write_failure = failure

    def _run(self, operation: Callable[[], T], events: int) -> T:
        while True:
            self._deadline.remaining()
            try:
                return operation()
            except BlockingIOError:
                self._deadline.wait(self._sock.fileno(), events)
            except OSError as error:
                raise _failure(error) from error


def _failure(error: OSError, server_name: str = "") -> ProbeFailure:
    """Translate the errors of sockets and of OpenSSL; the one place that does."""
    if isinstance(error, ssl.SSLCertVerificationError):
        kind = UnknownIssuer if error.verify_code in _UNKNOWN_ISSUER else ProbeFailure
        message = f"certificate verification failed: {error.verify_message.removesuffix('.')}"
        if error.verify_code in _WRONG_NAME:
            message += _NAMES_NEEDED
        return kind(Reason.TLS_FAILURE, message)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        message = "the peer closed the connection during TLS"
        return UnannouncedEnd(Reason.TLS_FAILURE, message)
    if isinstance(error, ssl.SSLError):
        return ProbeFailure(Reason.TLS_FAILURE, _tls_message(error.reason or "", server_name))
    reason = REASON_BY_ERRNO.get(error.errno or 0, Reason.CONNECTION_FAILED)
    return ProbeFailure(reason, os_message(error))


_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
"""The results of X509_verify_cert() if another store may know more: X509_V_ERR_*."""
_WRONG_NAME = (62, 64)
"""The same for a certificate with other names or addresses."""
_NAMES_NEEDED = (
    ": it must have the name as a subject alternative name (a common name is not enough); or give"
    " a name that it has with --server-name"
)

_TLS_MESSAGES = {
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS on this port",
    "HTTP_REQUEST": "the peer speaks plain HTTP on this port",
    "PACKET_LENGTH_TOO_LONG": "the peer does not speak TLS on this port",
    "RECORD_LAYER_FAILURE": "the peer does not speak TLS on this port",
    "UNSUPPORTED_PROTOCOL": "the peer does not support TLS 1.2 or later",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer does not support TLS 1.2 or later",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "the peer refused the handshake: no common cipher, or it requires a client certificate"
    ),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer requires a client certificate",
    "TLSV1_UNRECOGNIZED_NAME": (
        "the peer does not know the name {name}; give one that it knows with --server-name"
    ),
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the client certificate",
}
_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_(?:ALERT_)?(\w+)")


def _tls_message(reason: str, server_name: str) -> str:
    """Translate an OpenSSL reason code, which is English for programmers."""
    known = _TLS_MESSAGES.get(reason)
    if known is not None:
        return known.format(name=server_name)
    alert = _ALERT.fullmatch(reason)
    text = (alert[1] if alert else reason or "unknown").lower().replace("_", " ")
    return f"the peer sent a TLS alert: {text}" if alert else f"TLS error: {text}"
