"""Carries one HTTP request and its response over a stream: the I/O for `http1` and `http2`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import httpx

from healthchecker._net.stream import Stream, UnannouncedEnd
from healthchecker._protocols.http.http1 import Http1
from healthchecker._protocols.http.http2 import Http2
from healthchecker._protocols.http.messages import ALPN_HTTP2, Client, invalid

T = TypeVar("T")

# A much larger buffer would be mapped and unmapped for each read. Most responses fit in a page.
_READ_BYTES = 16 * 1024
_FIRST_READ_BYTES = 4000


def exchange(stream: Stream, request: httpx.Request, *, http2: bool = False) -> httpx.Response:
    """Send the request; return the response as soon as its head has arrived.

    HTTP/2 is spoken on a plain connection with prior knowledge (RFC 9113, section 3.3), and over
    TLS if ALPN has selected it. Closing the response closes the stream.
    """
    try:
        if http2:
            _demand_http2(stream)
        client: Client = Http2(request) if http2 else Http1(request)
        head = _wait(stream, client, client.read_head, _FIRST_READ_BYTES)
    except BaseException:
        stream.close()
        raise
    return httpx.Response(
        head.status,
        headers=list(head.fields),
        stream=_Body(stream, client),
        extensions={"stream": stream},
    )


def stream_of(response: httpx.Response) -> Stream:
    """Return the stream that carries a response of `exchange`."""
    return cast("Stream", response.extensions["stream"])


class _Body(httpx.SyncByteStream):
    """The body of a response; closing it closes the stream."""

    def __init__(self, stream: Stream, client: Client) -> None:
        self._stream = stream
        self._client = client

    def __iter__(self) -> Iterator[bytes]:
        while part := _wait(self._stream, self._client, self._client.read_body, _READ_BYTES):
            yield part

    def close(self) -> None:
        self._stream.close()


def _wait(stream: Stream, client: Client, read: Callable[[], T | None], size: int) -> T:
    """Move bytes between the peer and the client until `read` returns something."""
    while (found := read()) is None:
        data = client.bytes_to_send()
        if data:
            stream.write(data)
        try:
            data = stream.read(size)
        except UnannouncedEnd:
            data = b""  # the client knows whether the response is complete
        client.feed(data)
    return found


def _demand_http2(stream: Stream) -> None:
    selected = stream.application_protocol
    if stream.is_tls and selected != ALPN_HTTP2:
        raise invalid(f"the peer does not offer HTTP/2 (ALPN selected {selected or 'nothing'})")
