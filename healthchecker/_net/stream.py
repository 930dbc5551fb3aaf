"""A byte stream under a deadline: TLS, read, write. Every protocol over TCP stands on it."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Self, TypeVar

from healthchecker._net.deadline import Deadline
from healthchecker._values.result import ProbeFailure, Reason

T = TypeVar("T")

REASON_BY_ERRNO = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.ECONNRESET: Reason.CONNECTION_RESET,
    errno.ECONNABORTED: Reason.CONNECTION_RESET,
    errno.EPIPE: Reason.CONNECTION_RESET,
}


_OUT_OF = {
    errno.EMFILE: "out of file descriptors",
    errno.ENFILE: "out of file descriptors",
    errno.ENOMEM: "out of memory",
}


def os_message(error: OSError | int | None) -> str:
    """Return what people are told of an error of the system, or of its number."""
    code = (error.errno if isinstance(error, OSError) else error) or 0
    return _OUT_OF.get(code) or os.strerror(code)


def demand_resources(error: OSError) -> None:
    """Raise a `ProbeFailure` where we lack what nothing can be tried without."""
    if error.errno in _OUT_OF:
        raise ProbeFailure(Reason.CONNECTION_FAILED, os_message(error)) from error


class UnannouncedEnd(ProbeFailure):
    """The peer closed a connection without ending TLS before, as whoever cuts it would do.

    A protocol that knows by itself whether it has been told all may take it for a mere end.
    """


class UnknownIssuer(ProbeFailure):
    """The peer's certificate leads to no authority that is trusted."""


class Stream:
    """A connected socket whose every operation ends by the deadline or in a `ProbeFailure`."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._write_failure: ProbeFailure | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def read(self, max_bytes: int) -> bytes:
        """Return at least one byte and at most `max_bytes`; nothing at the end of the stream."""
        data = self._run(partial(self._sock.recv, max_bytes), select.POLLIN)
        if not data and self._write_failure is not None:
            raise self._write_failure  # the kernel tells of a reset only once
        return data

    def read_exactly(self, size: int) -> bytes:
        """Return `size` bytes; an earlier end of the stream is a `ProbeFailure`."""
        data = b""
        while len(data) < size:
            more = self.read(size - len(data))
            if not more:
                raise ProbeFailure(Reason.INVALID_RESPONSE, "connection closed too early")
            data += more
        return data

    def write(self, data: bytes) -> None:
        """Send all of `data`.

        A peer may answer without having read all, and what it says is worth more than what it did
        not want to hear: where it resets the connection meanwhile, the rest of `data` is dropped,
        and the failure comes only at the end of what can be read.
        """
        view = memoryview(data)
        try:
            while view and self._write_failure is None:
                view = view[self._run(partial(self._sock.send, view), select.POLLOUT) :]
        except ProbeFailure as failure:
            if failure.reason is not Reason.CONNECTION_RESET:
                raise
            self._write_failure = failure

    def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Do the TLS handshake; from here on the stream is encrypted."""
        try:
            sock = context.wrap_socket(
                self._sock,
                server_hostname=server_name,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,  # who cuts a connection must not pass as who ends it
            )
        except ValueError as error:
            message = f"{server_name} is no name that a certificate can have"
            raise ProbeFailure(Reason.TLS_FAILURE, message) from error
        except OSError as error:
            raise _failure(error) from error
        self._sock = sock
        self._run(sock.do_handshake, select.POLLIN)

    @property
    def is_tls(self) -> bool:
        return isinstance(self._sock, ssl.SSLSocket)

    @property
    def application_protocol(self) -> str | None:
        """What was agreed on by ALPN (RFC 7301) in the TLS handshake, if anything."""
        sock = self._sock
        return sock.selected_alpn_protocol() if isinstance(sock, ssl.SSLSocket) else None

    def certificate_end(self) -> str | None:
        """Return the end of the peer's verified certificate, such as `Jun 26 21:41:46 2027 GMT`."""
        if not isinstance(self._sock, ssl.SSLSocket):
            return None
        certificate = self._sock.getpeercert() or {}
        return str(certificate["notAfter"]) if "notAfter" in certificate else None

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
                raise _failure(self._end_under_tls(error)) from error
            except OSError as error:
                raise _failure(error) from error
            self._deadline.wait(self._sock.fileno(), wanted)

    def _end_under_tls(self, error: ssl.SSLEOFError) -> OSError:
        """Tell a reset from a mere end: Python 3.11 calls both an end while it reads.

        A reset that has been read leaves a socket without a peer and without an error. So does not
        one that comes after an end: there OpenSSL has sent an alert, and who has closed the
        connection answers that with a reset, at once or later.
        """
        if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            return error
        try:
            self._sock.getpeername()
        except OSError:
            return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return error


def _failure(error: OSError) -> ProbeFailure:
    """Translate the errors of sockets and of OpenSSL; the one place that does."""
    if isinstance(error, ssl.SSLCertVerificationError):
        kind = UnknownIssuer if error.verify_code in _UNKNOWN_ISSUER else ProbeFailure
        return kind(Reason.TLS_FAILURE, f"certificate refused: {error.verify_message}")
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        message = "the peer closed the connection during TLS"
        return UnannouncedEnd(Reason.TLS_FAILURE, message)
    if isinstance(error, ssl.SSLError):
        return ProbeFailure(Reason.TLS_FAILURE, _tls_message(error.reason or ""))
    reason = REASON_BY_ERRNO.get(error.errno or 0, Reason.CONNECTION_FAILED)
    return ProbeFailure(reason, os_message(error))


_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
"""What X509_verify_cert() says where another store might know more: X509_V_ERR_*."""

_TLS_MESSAGES = {
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
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the client certificate",
}
_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_(?:ALERT_)?(\w+)")


def _tls_message(reason: str) -> str:
    """Say what OpenSSL calls by one of its names, which are English, but for programmers."""
    known = _TLS_MESSAGES.get(reason)
    if known is not None:
        return known
    alert = _ALERT.fullmatch(reason)
    words = (alert[1] if alert else reason or "error").lower().replace("_", " ")
    return f"the peer sent the alert: {words}" if alert else f"no valid TLS: {words}"
