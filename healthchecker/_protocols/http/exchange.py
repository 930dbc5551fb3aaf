"""One HTTP request and its response over a stream: httpx's messages, carried by httpcore.

The one place that knows httpcore's connections, and translates its errors and those of h11 and h2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import httpcore
import httpx
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, StreamReset
from h2.exceptions import H2Error

from healthchecker._net.stream import Stream, UnannouncedEnd
from healthchecker._protocols.h2_message import h2_message
from healthchecker._values.result import ProbeFailure, Reason

MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 256

ALPN_HTTP1, ALPN_HTTP2 = "http/1.1", "h2"
"""The protocols' names in a TLS handshake (RFC 7301)."""

# The most that is read for a head: interim responses and the status line count, too.
_MAX_HEAD_BYTES = 2 * MAX_HEADER_BYTES
# httpcore's 64 KiB would be mapped and unmapped for each read.
_READ_BYTES = 16 * 1024
# The first frame of a connection is one of SETTINGS (RFC 9113, sections 3.4 and 4.1).
_FRAME_HEADER_BYTES = 9
_FRAME_TYPE = 3
_SETTINGS = b"\x04"
_HTTP1_ONLY = (b"connection", b"keep-alive")


def exchange(
    stream: Stream, request: httpx.Request, port: int, *, http2: bool = False
) -> httpx.Response:
    """Send the request; return the response as soon as its head is there.

    HTTP/2 is spoken at once on a plain connection ("prior knowledge", RFC 9113, section 3.3), and
    over TLS where ALPN has agreed on it. Closing the response closes the stream.
    """
    url = httpcore.URL(
        scheme=request.url.raw_scheme,
        host=request.url.raw_host,
        port=port,
        target=request.url.raw_path,
    )
    network = _NetworkStream(stream, http2=http2)
    connection = (_Http2Connection if http2 else httpcore.HTTP11Connection)(url.origin, network)
    headers = request.headers.raw
    try:
        if http2:
            _demand_http2(stream)
            headers = [field for field in headers if field[0].lower() not in _HTTP1_ONLY]
        with _translated_errors():
            response = connection.handle_request(
                httpcore.Request(
                    request.method,
                    url,
                    headers=headers,
                    content=cast("httpx.SyncByteStream", request.stream),
                )
            )
        _check_size(response.headers)
        network.head_is_read()
    except BaseException:
        stream.close()
        raise
    return httpx.Response(
        response.status,
        headers=response.headers,
        stream=_Body(response, stream),
        extensions={"stream": stream},
    )


def stream_of(response: httpx.Response) -> Stream:
    """Return the stream by which a response of `exchange` comes."""
    return cast("Stream", response.extensions["stream"])


class _Http2Connection(httpcore.HTTP2Connection):
    """As httpcore's, which takes a response without a status for one with 200."""

    CONFIG = H2Configuration(validate_inbound_headers=True)


class _NetworkStream(httpcore.NetworkStream):
    """A `Stream` as httpcore wants it. The time-outs are the stream's own."""

    def __init__(self, stream: Stream, *, http2: bool) -> None:
        self._stream = stream
        self._http2 = http2
        self._heard = b""
        # What h2 makes of a head takes five times as much memory.
        self._head_bytes: float = MAX_HEADER_BYTES if http2 else _MAX_HEAD_BYTES

    def head_is_read(self) -> None:
        """Lift the limit that holds until the response's head is there."""
        self._head_bytes = math.inf

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._head_bytes <= 0:
            raise _invalid("the response does not come to the end of its headers")
        try:
            data = self._stream.read(int(min(max_bytes, _READ_BYTES, self._head_bytes)))
        except UnannouncedEnd:
            return b""  # h11 and h2 know whether the response is whole
        self._head_bytes -= len(data)
        if self._http2 and len(self._heard) < _FRAME_HEADER_BYTES:
            self._heard += data
            if self._heard.startswith(b"HTTP/"):
                raise _invalid("the peer speaks HTTP/1, not HTTP/2")
            if self._heard[_FRAME_TYPE : _FRAME_TYPE + 1] not in (b"", _SETTINGS):
                raise _invalid("the peer does not speak HTTP/2")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> None:
        return None


class _Body(httpx.SyncByteStream):
    """The body of a response, and the stream that ends with it."""

    def __init__(self, response: httpcore.Response, stream: Stream) -> None:
        self._response = response
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _translated_errors():
            yield from cast("httpx.SyncByteStream", self._response.stream)

    def close(self) -> None:
        self._stream.close()


def _demand_http2(stream: Stream) -> None:
    agreed = stream.application_protocol
    if stream.is_tls and agreed != ALPN_HTTP2:
        raise _invalid(f"the peer has no HTTP/2: ALPN agreed on {agreed or 'nothing'}")


def _check_size(headers: Sequence[tuple[bytes, bytes]]) -> None:
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise _invalid("the response has too many or too long headers")


def _invalid(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.INVALID_RESPONSE, message)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except httpcore.RemoteProtocolError as error:
        raise _remote_failure(error) from error
    except httpcore.ConnectionNotAvailable as error:
        problem = "the peer ends the connection without an answer: GOAWAY"
        raise ProbeFailure(Reason.CONNECTION_RESET, problem) from error
    except httpcore.LocalProtocolError as error:
        raise _invalid(h2_message(str(error))) from error  # what the peer sent does not go together
    except H2Error as error:
        raise _invalid(h2_message(str(error))) from error


def _remote_failure(error: httpcore.RemoteProtocolError) -> ProbeFailure:
    event = error.args[0] if error.args else None
    if isinstance(event, StreamReset):
        problem = f"the peer resets the request: {_error_name(event.error_code)}"
        return ProbeFailure(Reason.CONNECTION_RESET, problem)
    if isinstance(event, ConnectionTerminated):
        problem = f"the peer ends the connection: GOAWAY {_error_name(event.error_code)}"
        return ProbeFailure(Reason.CONNECTION_RESET, problem)
    return _invalid(_http1_message(str(error)))


def _error_name(code: ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else str(code)


# What h11 and httpcore say, by how it begins, and what people are told. Theirs are words for
# programmers, with the bytes in question in them.
_PROTOCOL_MESSAGES = {
    "illegal status line": "it does not begin with a status line of HTTP/1",
    "no response line received": "it does not begin with a status line of HTTP/1",
    "illegal header": "it has a header line that is none",
    "continuation line at start of headers": "it has a header line that is none",
    "receive buffer too long": "its headers are too long",
    "server disconnected": ("the connection was closed before the end of the headers"),
    "peer unexpectedly closed connection": (
        "the connection was closed before the end of the headers"
    ),
    "bad content-length": "its Content-Length is none",
    "conflicting content-length headers": "it has more than one Content-Length",
    "multiple transfer-encoding headers": "it has more than one Transfer-Encoding",
    "only transfer-encoding: chunked is supported": "its Transfer-Encoding is not just chunked",
    "illegal chunk header": "it has a chunk that is none",
    "malformed chunk footer": "it has a chunk that is none",
    "peer closed connection without sending complete message body": (
        "the connection was closed before the end of the body"
    ),
    "received server _switch_upgrade": "it switches protocols, which nobody has asked for",
}


def _http1_message(message: str) -> str:
    """Translate an error of h11, or of httpcore about HTTP/1.1."""
    said = message.lower()
    for beginning, words in _PROTOCOL_MESSAGES.items():
        if said.startswith(beginning):
            return f"not a valid HTTP response: {words}"
    return "not a valid HTTP response"
