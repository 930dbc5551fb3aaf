"""A byte stream under a deadline: TLS, read, write. Every protocol over TCP stands on it."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Self, TypeVar

from healthchecker._net.deadline import Deadline
from healthchecker._result import ProbeFailure, Reason

T = TypeVar("T")

REASON_BY_ERRNO = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.ECONNRESET: Reason.CONNECTION_RESET,
    errno.ECONNABORTED: Reason.CONNECTION_RESET,
    errno.EPIPE: Reason.CONNECTION_RESET,
}


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
        except (ValueError, OSError) as error:
            raise _failure(error) from error
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
                raise _failure(self._end_under_tls(error)) from error
            except (OSError, ValueError) as error:
                raise _failure(error) from error
            self._deadline.wait(self._sock.fileno(), wanted)

    def _end_under_tls(self, error: ssl.SSLEOFError) -> OSError:
        """Tell a reset from a mere end: Python 3.11 calls both an end while it reads."""
        try:
            self._sock.getpeername()
        except OSError:
            return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return error


def _failure(error: Exception) -> ProbeFailure:
    if isinstance(error, ssl.SSLError):
        return ProbeFailure(Reason.TLS_FAILURE, _tls_words(error))
    if isinstance(error, OSError):
        reason = REASON_BY_ERRNO.get(error.errno or 0, Reason.CONNECTION_FAILED)
        return ProbeFailure(reason, os.strerror(error.errno or 0))
    return ProbeFailure(Reason.TLS_FAILURE, str(error))


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
