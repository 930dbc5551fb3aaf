"""HTTP/1, fed with bytes: no sockets, no waiting."""

from __future__ import annotations

import random
import time

import h11
import httpx
import pytest

from healthchecker import Reason
from healthchecker._protocols.http import plain
from healthchecker._protocols.http.http1 import Http1
from healthchecker._protocols.http.messages import MAX_HEADER_BYTES, MAX_HEADERS, Head
from healthchecker._values.result import ProbeFailure

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 4\r\n\r\nbody"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SETTINGS = bytes.fromhex("00000c040000000000") + bytes(12)


@pytest.fixture(params=[1, 7, 1 << 20], ids=["byte by byte", "by sevens", "in one piece"])
def size(request: pytest.FixtureRequest) -> int:
    """Return the size of the pieces in which a response arrives."""
    return int(request.param)


def request(method: str = "GET", content: bytes | None = None, **headers: str) -> httpx.Request:
    return httpx.Request(
        method, "http://127.0.0.1:8080/health?a=b", content=content, headers=headers
    )


def received(
    data: bytes, size: int, *, ends: bool = True, sent: httpx.Request | None = None
) -> tuple[Head, bytes]:
    """Return the head and the body of a response that arrives in pieces."""
    client = Http1(sent or request())
    client.bytes_to_send()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    pieces += [b""] * ends
    while (head := client.read_head()) is None:
        client.feed(pieces.pop(0))
    body = b""
    while True:
        part = client.read_body()
        if part == b"":
            return head, body
        if part is None:
            client.feed(pieces.pop(0))
        else:
            body += part


def test_a_request() -> None:
    client = Http1(request(Host="example.org", Accept="*/*"))
    sent = client.bytes_to_send()
    assert sent.startswith(b"GET /health?a=b HTTP/1.1\r\nHost: example.org\r\n")
    assert sent.endswith(b"\r\n\r\n")
    assert client.bytes_to_send() == b""


def test_a_request_with_a_body() -> None:
    sent = Http1(request("POST", b"a=b", Host="example.org")).bytes_to_send()
    assert sent.startswith(b"POST /health?a=b HTTP/1.1\r\n")
    assert b"Content-Length: 3\r\n" in sent
    assert sent.endswith(b"\r\n\r\na=b")


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (SIZED, b"body"),
        (SIZED + b"more", b"body"),
        (
            CHUNKED + b"2;a=b\r\nbo\r\n2\r\ndy\r\n0\r\nX: y\r\n\r\n",
            b"body",
        ),
        (OK + b"\r\nbody", b"body"),
        (b"HTTP/1.0 200 OK\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n" + SIZED, b"body"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (SIZED.replace(b"\r\n", b"\n"), b"body"),
    ],
)
def test_a_response(data: bytes, body: bytes, size: int) -> None:
    head, found = received(data, size)
    assert (head.status, found) == (200, body)


def test_the_fields_of_a_response(size: int) -> None:
    head, _ = received(OK + b"X-State: a\r\n b\r\nx-state: c\r\nContent-Length: 0\r\n\r\n", size)
    assert head.fields == [(b"X-State", b"a b"), (b"x-state", b"c"), (b"Content-Length", b"0")]


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", request()),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", request()),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", request("HEAD")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", request("HEAD")),
    ],
)
def test_a_response_without_content_ends_with_its_head(
    data: bytes, sent: httpx.Request, size: int
) -> None:
    assert received(data, size, ends=False, sent=sent)[1] == b""


def test_switching_protocols_ends_a_response_that_was_requested(size: int) -> None:
    sent = request(Upgrade="x", Connection="Upgrade")
    head, body = received(b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n??", size, ends=False, sent=sent)
    assert (head.status, body) == (101, b"")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "connection closed before the end of the headers"),
        (b"HTTP/1.1 103 Hints\r\n\r\n", "connection closed before the end of the headers"),
        (OK + b"X: y", "connection closed before the end of the headers"),
        (SIZED[:-1], "connection closed before the end of the body"),
        (CHUNKED + b"4\r\nbody", "before the end of the body"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "expected an HTTP/1 status line, got HTTP/2.0"),
        (b"HTTP/9.9 200 OK\r\n\r\n", "expected an HTTP/1 status line, got HTTP/9.9"),
        (b"HTTP/0.9 200 OK\r\n\r\n", "expected an HTTP/1 status line, got HTTP/0.9"),
        (b"HTTP/2.0 103 Hints\r\n\r\n" + SIZED, "expected an HTTP/1 status line, got HTTP/2.0"),
        (b"HTTP/2 200\r\n\r\n", "no HTTP/1 status line"),
        (b"<html>fine</html>\r\n\r\n", "no HTTP/1 status line"),
        (b"\r\n\r\n", "no HTTP/1 status line"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "status below 100"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "unexpected protocol switch (101)"),
        (OK + b"no colon\r\n\r\n", "malformed header line"),
        (OK + b" folded\r\n\r\n", "malformed header line"),
        (OK + b"Content-Length: -1\r\n\r\n", "invalid Content-Length"),
        (
            OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "conflicting Content-Length headers",
        ),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "only chunked is supported"),
        (
            OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "more than one Transfer-Encoding header",
        ),
        (CHUNKED + b"x\r\n", "malformed chunk"),
        (CHUNKED + b"1\r\nxyz", "malformed chunk"),
        (OK + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", "too many headers"),
        (OK + b"a: " + b"b" * MAX_HEADER_BYTES + b"\r\n\r\n", "headers too long"),
    ],
)
def test_an_invalid_response_is_refused(data: bytes, problem: str, size: int) -> None:
    with pytest.raises(ProbeFailure) as caught:
        received(data, size)
    assert caught.value.reason is Reason.INVALID_RESPONSE
    assert problem in caught.value.message


def test_interim_responses_count_as_headers() -> None:
    with pytest.raises(ProbeFailure, match="headers too long"):
        received(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000, 1024)


def test_a_peer_that_speaks_http2_is_recognized() -> None:
    with pytest.raises(ProbeFailure, match="the peer speaks HTTP/2; use --http2"):
        received(SETTINGS, 1 << 20)


# Plain requests and responses are not read by h11, but mean the same there

PLAIN = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody",
    b"HTTP/1.0 503 \r\nServer:any/1 (x) \t\r\nX-Empty:\r\ncontent-length:\t4\r\n\r\nbody",
    b"HTTP/1.1 404\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
)
PIECES = (
    *(b" ", b"\t", b"\r\n", b"\n", b":", b"\0", b"\x80", b" folded\r\n", b"X: y\r\n", b"1", b"-"),
    *(b"Content-Length: 3\r\n", b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/2.0", b"204", b"304", b"199", b"600", b"101"),
)


def changed(chance: random.Random, data: bytes) -> bytes:
    """Return the response with a few pieces inserted, replaced or left out."""
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        start = chance.randrange(len(changed) + 1)
        end = start + chance.choice((0, 0, 1, 3, 20))
        changed[start:end] = chance.choice((b"", *PIECES))
    return bytes(changed)


def outcome(data: bytes, size: int, method: str) -> tuple[object, ...]:
    try:
        return received(data, size, sent=request(method, Host="example.org"))
    except ProbeFailure as failure:
        return failure.reason, failure.message


@pytest.mark.parametrize("seed", range(10))
def test_a_plain_response_means_the_same_to_h11(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    cases = [
        (changed(chance, chance.choice(PLAIN)), chance.choice((1, 30, 1 << 20)), method)
        for method in ("GET", "GET", "HEAD", "DELETE")
        for _ in range(100)
    ]
    plain_heads: list[bool] = []

    def read_response(data: bytes) -> plain.Response | None:
        found = read(data)
        plain_heads.append(found is not None)
        return found

    read = plain.read_response
    monkeypatch.setattr(plain, "read_response", read_response)
    found = [outcome(*case) for case in cases]
    assert sum(plain_heads) > len(cases) // 20
    monkeypatch.setattr(plain, "encode_request", lambda _: None)
    assert found == [outcome(*case) for case in cases]


@pytest.mark.parametrize(
    "sent",
    [
        request(Host="example.org"),
        request(Host="example.org", Accept="*/*", X="a  b"),
        request("OPTIONS", Host="[::1]:8080"),
        request("POST", None, Host="a", **{"Content-Length": "0"}),
        request(Accept="*/*", Host="not the first"),
        request("POST", b"body", Host="a"),
        request("HEAD", Host="a"),
        request(Host="a", X=""),
    ],
)
def test_a_plain_request_is_that_of_h11(
    sent: httpx.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Http1(sent).bytes_to_send()
    monkeypatch.setattr(plain, "encode_request", lambda _: None)
    assert found == Http1(sent).bytes_to_send()


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Host", b"a"), (b"X", b"a\r\nY: b")],
        [(b"Host", b"a"), (b"X", b"a\nY: b")],
        [(b"Host", b"a"), (b"X ", b"a")],
        [(b"Host", b"a"), (b"X: a", b"a")],
        [(b"Host", b"a"), (b"Content-Length", b"abc")],
        [(b"Host", b"a"), (b"Transfer-Encoding", b"gzip")],
        [(b"Host", b"a\r\nX: b")],
        [(b"X", b"a")],
    ],
)
def test_a_request_that_cannot_be_sent_is_left_to_h11(fields: list[tuple[bytes, bytes]]) -> None:
    sent = httpx.Request("GET", "http://a/")
    sent.headers = httpx.Headers(fields)
    assert plain.encode_request(sent) is None
    with pytest.raises(h11.LocalProtocolError):
        Http1(sent)


@pytest.mark.parametrize("piece", [b" ", b"a", b"a: b\r\n", b"a:", b": ", b"\r\n a", b"1"])
def test_no_head_makes_the_search_go_back(piece: bytes) -> None:
    data = b"HTTP/1.1 200 OK\r\na:" + piece * 60_000
    begin = time.process_time()
    assert plain.read_response(data) is None
    assert time.process_time() - begin < 0.5  # going back takes 10 s
