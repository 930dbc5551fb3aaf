"""One request over HTTP/1.1 (RFC 9112). No I/O: `plain` and h11 do the work."""

from __future__ import annotations

import h11
import httpx

from healthchecker._protocols.http import plain
from healthchecker._protocols.http.messages import (
    CLOSED_IN_BODY,
    CLOSED_IN_HEAD,
    MAX_HEADER_BYTES,
    Head,
    checked_head,
    invalid,
)

_MAX_HEAD_BYTES = 2 * MAX_HEADER_BYTES
"""The most that is read before the end of the head; interim responses count as well."""

_FRAME_TYPE_AND_STREAM = slice(3, 9)
_HTTP2_SETTINGS = b"\x04\0\0\0\0\0"
"""An HTTP/2 server speaks first, with SETTINGS on stream 0 (RFC 9113, section 3.4)."""


class Http1:
    """See `messages.Client`."""

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._h11: _H11 | None = None
        """What reads a response that is not plain."""
        self._to_send = plain.encode_request(request) or b""
        if not self._to_send:
            self._h11 = _H11(request)
            self._to_send = self._h11.request
        self._received = b""
        """What is still to be read of a plain response."""
        self._missing = 0
        """The bytes of its content that are still to be read."""
        self._head_bytes = 0
        self._first_bytes = b""
        self._has_head = False

    def bytes_to_send(self) -> bytes:
        data, self._to_send = self._to_send, b""
        return data

    def feed(self, data: bytes) -> None:
        if not self._has_head:
            self._check_start(data)
        if self._h11 is not None:
            self._h11.feed(data)
        elif data:
            self._received += data
        else:
            raise invalid(_message(_CUT_OFF))

    def read_head(self) -> Head | None:
        if not self._first_bytes:
            return None
        head = self._read_plain_head() if self._h11 is None else self._h11.read_head()
        self._has_head = head is not None
        return head

    def read_body(self) -> bytes | None:
        if self._h11 is not None:
            return self._h11.read_body()
        if not self._missing:
            return b""
        data, self._received = self._received[: self._missing], b""
        self._missing -= len(data)
        return data or None

    def _read_plain_head(self) -> Head | None:
        response = plain.read_response(self._received)
        if response is None:
            self._h11 = _H11(self._request)
            self._h11.feed(self._received)
            return self._h11.read_head()
        self._received, self._missing = self._received[response.start :], response.length
        return response.head

    def _check_start(self, data: bytes) -> None:
        """Check what h11 does not: the length of all heads together, and who is speaking."""
        if not data:
            raise invalid(CLOSED_IN_HEAD)
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_HEAD_BYTES:
            raise invalid("headers too long")
        if len(self._first_bytes) < _FRAME_TYPE_AND_STREAM.stop:
            self._first_bytes += data[: _FRAME_TYPE_AND_STREAM.stop]
            if self._first_bytes[_FRAME_TYPE_AND_STREAM] == _HTTP2_SETTINGS:
                raise invalid("the peer speaks HTTP/2; use --http2, or a grpc:// target")


class _H11:
    """A connection of h11, for one request."""

    def __init__(self, request: httpx.Request) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        self.request = self._connection.send(head) or b""
        # No `EndOfMessage`, which neither sends a byte here nor is needed to read the response.
        if request.content:
            self.request += self._connection.send(h11.Data(request.content)) or b""

    def feed(self, data: bytes) -> None:
        self._connection.receive_data(data)

    def read_head(self) -> Head | None:
        while True:
            event = self._next_event()
            if event is h11.NEED_DATA:
                return None
            if isinstance(event, (h11.Response, h11.InformationalResponse)):
                _check_version(event.http_version)
                if isinstance(event, h11.Response) or _switches_protocols(event):
                    return checked_head(event.status_code, event.headers.raw_items())

    def read_body(self) -> bytes | None:
        event = self._next_event()
        if event is h11.NEED_DATA:
            return None
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    def _next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        try:
            return self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise invalid(_message(str(error))) from error


def _check_version(version: bytes) -> None:
    if not version.startswith(b"1."):
        raise invalid(f"expected an HTTP/1 status line, got HTTP/{version.decode('ascii')}")


def _switches_protocols(response: h11.InformationalResponse) -> bool:
    """Return whether the connection is no longer HTTP after this response."""
    return response.status_code == httpx.codes.SWITCHING_PROTOCOLS


_CUT_OFF = "peer closed connection without sending complete message body"

# Maps the start of h11's messages to those for users; h11's contain raw bytes and internals.
_MESSAGES = {
    "illegal status line": "no HTTP/1 status line",
    "illegal request line": "no HTTP/1 status line",
    "no response line received": "no HTTP/1 status line",
    "illegal header": "malformed header line",
    "continuation line at start of headers": "malformed header line",
    "receive buffer too long": "headers too long",
    "peer unexpectedly closed connection": CLOSED_IN_HEAD,
    "informationalresponse status_code": "status below 100",
    "bad content-length": "invalid Content-Length",
    "conflicting content-length headers": "conflicting Content-Length headers",
    "multiple transfer-encoding headers": "more than one Transfer-Encoding header",
    "only transfer-encoding: chunked is supported": (
        "unsupported Transfer-Encoding (only chunked is supported)"
    ),
    "illegal chunk header": "malformed chunk",
    "malformed chunk footer": "malformed chunk",
    _CUT_OFF: CLOSED_IN_BODY,
    "received server _switch_upgrade": "unexpected protocol switch (101)",
}


def _message(error: str) -> str:
    error = error.lower()
    for beginning, message in _MESSAGES.items():
        if error.startswith(beginning):
            return f"not a valid HTTP response: {message}"
    return "not a valid HTTP response"
