"""What HTTP/1 and HTTP/2 have in common: the head of a response, its limits, how a client is used.

`http1` and `http2` do no I/O. Both are fed with bytes, and both raise `ProbeFailure` for a response
that is malformed, cut off or too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from healthchecker._values.result import ProbeFailure, Reason

ALPN_HTTP1, ALPN_HTTP2 = "http/1.1", "h2"
"""The protocols' names in a TLS handshake (RFC 7301)."""

MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 256

CLOSED_IN_HEAD = "connection closed before the end of the headers"
CLOSED_IN_BODY = "connection closed before the end of the body"

Fields = Sequence[tuple[bytes, bytes]]


class Head(NamedTuple):
    """The status and the header fields of a final response."""

    status: int
    fields: Fields


class Client(Protocol):
    """The client's side of one request."""

    def bytes_to_send(self) -> bytes:
        """Return the bytes to send to the peer now: first the request, then acknowledgements."""

    def feed(self, data: bytes) -> None:
        """Take what the peer has sent; no bytes mean that it sends no more."""

    def read_head(self) -> Head | None:
        """Return the head of the final response, or None if more must be fed first."""

    def read_body(self) -> bytes | None:
        """Return the next part of the body, `b""` at its end, or None if more must be fed first.

        A response may consist of thousands of parts; the work for one is bounded.
        """


def checked_head(status: int, fields: Fields) -> Head:
    """Return the head; raise `ProbeFailure` if it is longer than accepted."""
    size = sum(len(name) + len(value) for name, value in fields)
    if len(fields) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise invalid("too many headers, or headers too long")
    return Head(status, fields)


def invalid(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.INVALID_RESPONSE, message)
