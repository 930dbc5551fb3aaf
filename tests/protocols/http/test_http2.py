"""HTTP/2, fed with bytes: no sockets, no waiting."""

from __future__ import annotations

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from healthchecker import Reason
from healthchecker._protocols.http.http2 import Http2
from healthchecker._protocols.http.messages import Head
from healthchecker._values.result import ProbeFailure
from tests.servers.grpc import (
    data,
    goaway,
    headers,
    ping,
    push,
    reset_stream,
    settings,
)

OK = ((":status", "200"), ("x-state", "fine"))
SIZED = (*OK, ("content-length", "4"))
END = data(b"", last=True)
TRAILERS = headers([("x", "y")], last=True)
BODY = data(b"body", last=True)
HEALTHY = settings() + headers(OK) + BODY


@pytest.fixture(params=[1, 7, 1 << 20], ids=["byte by byte", "by sevens", "in one piece"])
def size(request: pytest.FixtureRequest) -> int:
    """Return the size of the pieces in which a response arrives."""
    return int(request.param)


def request(method: str = "GET", content: bytes | None = None, **fields: str) -> httpx.Request:
    return httpx.Request(
        method, "http://127.0.0.1:8080/health?a=b", content=content, headers=fields
    )


def received(frames: bytes, size: int, method: str = "GET") -> tuple[Head, bytes]:
    """Return the head and the body of a response that arrives in pieces."""
    client = Http2(request(method))
    pieces = [frames[start : start + size] for start in range(0, len(frames), size)] + [b""]
    while (head := client.read_head()) is None:
        client.bytes_to_send()
        client.feed(pieces.pop(0))
    body = b""
    while True:
        part = client.read_body()
        if part == b"":
            return head, body
        if part is None:
            client.bytes_to_send()
            client.feed(pieces.pop(0))
        else:
            body += part


def test_a_request() -> None:
    client = Http2(
        request(Host="example.org", Connection="close", Upgrade="x", TE="gzip", Accept="*/*")
    )
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    events = server.receive_data(client.bytes_to_send())
    (seen,) = (event for event in events if isinstance(event, RequestReceived))
    fields = dict(seen.headers)
    assert fields[b":method"] == b"GET"
    assert fields[b":scheme"] == b"http"
    assert fields[b":authority"] == b"example.org"
    assert fields[b":path"] == b"/health?a=b"
    assert fields[b"accept"] == b"*/*"
    assert not fields.keys() & {b"host", b"connection", b"upgrade", b"te"}
    assert any(isinstance(event, StreamEnded) for event in events)


def test_a_long_request_body_waits_for_the_window_of_the_peer() -> None:
    content = bytes(range(256)) * 1000
    client = Http2(request("POST", content))
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    body = b""
    is_over = False
    while not is_over:
        sent = client.bytes_to_send()
        assert sent
        for event in server.receive_data(sent):
            if isinstance(event, DataReceived):
                body += event.data
                server.acknowledge_received_data(event.flow_controlled_length, 1)
            is_over = is_over or isinstance(event, StreamEnded)
        if not is_over:
            client.feed(server.data_to_send())
            assert client.read_head() is None
    assert body == content


@pytest.mark.parametrize(
    "frames",
    [
        HEALTHY,
        settings() + headers(SIZED) + BODY,
        settings()
        + headers(OK)
        + b"".join(data(bytes([one])) for one in b"body")
        + data(b"", last=True),
        settings() + headers(SIZED) + data(b"body") + TRAILERS,
        settings() + headers([(":status", "103")]) * 3 + headers(OK) + BODY,
        settings() + ping() * 500 + headers(OK) + BODY,
        settings() + goaway(1) + headers(OK) + BODY,
        settings() + goaway(2**31 - 1) + headers(OK) + goaway(1) + BODY,
        HEALTHY + goaway(0, 11) + b"\xff" * 100,
        HEALTHY + reset_stream(0),
    ],
    ids=[
        "plain",
        "with its length",
        "one byte in each DATA frame",
        "trailers",
        "interim responses",
        "PINGs first",
        "GOAWAY before the response",
        "GOAWAY before the response, and again",
        "garbage after the response",
        "RST_STREAM after the response",
    ],
)
def test_a_response(frames: bytes, size: int) -> None:
    head, body = received(frames, size)
    assert (head.status, body) == (200, b"body")
    assert (b"x-state", b"fine") in head.fields


@pytest.mark.parametrize(
    ("status", "method"), [("304", "GET"), ("204", "GET"), ("200", "HEAD"), ("404", "HEAD")]
)
def test_a_response_without_content_may_have_a_length(status: str, method: str, size: int) -> None:
    fields = [(":status", status), ("content-length", "9")]
    head, body = received(settings() + headers(fields, last=True), size, method)
    assert head == (int(status), [(b"content-length", b"9")])
    assert body == b""


def test_flow_control_keeps_a_response_going() -> None:
    client = Http2(request())
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    server.receive_data(client.bytes_to_send())
    server.send_headers(1, [(":status", "200")])
    total = 0
    for _ in range(200):
        server.send_data(1, bytes(10_000))
        client.feed(server.data_to_send())
        if total == 0:
            assert client.read_head() is not None
        while part := client.read_body():
            total += len(part)
        server.receive_data(client.bytes_to_send())
    assert total == 2_000_000


@pytest.mark.parametrize(
    ("frames", "reason", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "invalid_response", "speaks HTTP/1, not HTTP/2"),
        (b"<html>fine</html>", "invalid_response", "does not speak HTTP/2"),
        *(
            (
                settings() + headers([(":status", status)], last=True),
                "invalid_response",
                f"expected a :status from 100 to 999, got '{status}'",
            )
            for status in ("", "abc", "+200", "20", "2000", "099", "\x1b[2J")
        ),
        (
            settings() + headers([(":status", "1x")]) + headers(OK) + BODY,
            "invalid_response",
            "got '1x'",
        ),
        (settings() + headers([(":status", "101")]), "invalid_response", "status 101"),
        (settings() + headers([("x", "y")], last=True), "invalid_response", "without a status"),
        (settings() + data(b"body"), "invalid_response", "data before headers"),
        (
            settings() + headers([*OK, ("content-length", "5")]) + BODY,
            "invalid_response",
            "a body that does not match its content-length",
        ),
        (
            settings() + headers([*OK, ("content-length", "5")], last=True),
            "invalid_response",
            "a body that does not match its content-length",
        ),
        (
            settings() + headers([*OK, ("content-length", "5")]) + data(b"body") + TRAILERS,
            "invalid_response",
            "a body that does not match its content-length",
        ),
        (
            settings() + headers([*OK, ("content-length", "x")]),
            "invalid_response",
            "an invalid content-length",
        ),
        (settings() + headers([*OK, ("X", "y")]), "invalid_response", "an uppercase header name"),
        (
            settings() + headers([*OK, ("connection", "close")]),
            "invalid_response",
            "a connection-specific header",
        ),
        (settings() + push(), "invalid_response", "a pushed stream"),
        (settings() + goaway(0), "connection_reset", "GOAWAY NO_ERROR"),
        (
            settings() + goaway(1, 11, b"calm") + headers(OK) + BODY,
            "connection_reset",
            "the peer closed the connection: GOAWAY ENHANCE_YOUR_CALM (calm)",
        ),
        (settings() + reset_stream(7), "connection_reset", "the peer reset the stream: REFUSED"),
        (settings() + headers(OK) + reset_stream(0), "connection_reset", "NO_ERROR"),
        (settings(), "invalid_response", "connection closed before the end of the headers"),
        (
            settings() + headers(OK) + data(b"body"),
            "invalid_response",
            "connection closed before the end of the body",
        ),
        (settings() + ping() * 1100, "invalid_response", "more than 1000 frames without data"),
        (
            settings() + headers(OK) + data(b"") * 1100,
            "invalid_response",
            "more than 1000 frames without data",
        ),
        (
            settings() + headers([*OK, *((("a", "b"),) * 300)]),
            "invalid_response",
            "too many headers",
        ),
    ],
)
def test_an_invalid_response_is_refused(
    frames: bytes, reason: str, problem: str, size: int
) -> None:
    with pytest.raises(ProbeFailure) as caught:
        received(frames, size)
    assert caught.value.reason == Reason(reason)
    assert problem in caught.value.message.replace("\\x1b", "\x1b")
