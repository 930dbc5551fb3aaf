"""The table of HTTP/2 peers that misbehave: what each does, and the verdict on it."""

from __future__ import annotations

from healthchecker import Reason
from tests.servers.grpc import (
    data,
    goaway,
    headers,
    ping,
    reset_stream,
    respond_to_call,
    settings,
)
from tests.servers.peers import Connection, close, drip, hold
from tests.tables.hostile_http import Hostile

STATUS = (":status", "200")
BODY = data(b"body", last=True)
HEALTHY = settings() + headers([STATUS]) + BODY
EXPECT = ("--expect-body=body",)


def _sends(name: str, frames: bytes, reason: Reason, detail: str = "", *args: str) -> Hostile:
    return Hostile(f"HTTP/2: {name}", respond_to_call(frames), reason, detail, ("--http2", *args))


def _closes(name: str, frames: bytes, reason: Reason, detail: str = "") -> Hostile:
    behaviour = respond_to_call(frames, Connection.close)
    return Hostile(f"HTTP/2: {name}", behaviour, reason, detail, ("--http2",))


_OK, _INVALID, _RESET = Reason.OK, Reason.INVALID_RESPONSE, Reason.CONNECTION_RESET

HOSTILE_HTTP2 = [
    _sends("a response", HEALTHY, _OK, "", *EXPECT),
    Hostile("HTTP/2: silence", hold, Reason.TIMEOUT, "(response)", ("--http2",)),
    Hostile("HTTP/2: closed", close, _INVALID, "before the end of the headers", ("--http2",)),
    Hostile("HTTP/2: dripping SETTINGS", drip(settings()), Reason.TIMEOUT, "", ("--http2",)),
    # nginx with keepalive_requests 1 or keepalive_timeout 0
    _closes("GOAWAY first", settings() + goaway(1) + headers([STATUS]) + BODY, _OK),
    _closes("GOAWAY last", HEALTHY + goaway(1), _OK),
    # Go servers that shut down
    _closes(
        "GOAWAY twice", settings() + goaway(2**31 - 1) + headers([STATUS]) + goaway(1) + BODY, _OK
    ),
    _closes(
        "GOAWAY and no response",
        settings() + goaway(1),
        _INVALID,
        "before the end of the headers",
    ),
    _sends("GOAWAY without the request", settings() + goaway(0), _RESET, "GOAWAY NO_ERROR"),
    _sends(
        "GOAWAY with an error",
        settings() + goaway(1, 11, b"\x1b[2Jcalm") + HEALTHY,
        _RESET,
        "GOAWAY ENHANCE_YOUR_CALM",
    ),
    _sends("RST_STREAM", settings() + reset_stream(7), _RESET, "reset the stream: REFUSED_STREAM"),
    *(
        _sends(
            f"status {status!r}",
            settings() + headers([(":status", status)], last=True),
            _INVALID,
            "expected a :status from 100 to 999",
        )
        for status in ("", "abc", "+200", "20", "2000", "\x1b[2J", "\u0662\u0660\u0660")
    ),
    _sends("no status", settings() + headers([("x", "y")]), _INVALID, "without a status"),
    _sends("status 101", settings() + headers([(":status", "101")]), _INVALID, "status 101"),
    _sends(
        "an interim status that is not a number",
        settings() + headers([(":status", "1x")]) + headers([STATUS]) + BODY,
        _INVALID,
        "expected a :status from 100 to 999",
    ),
    _sends("status 999", settings() + headers([(":status", "999")]), Reason.UNEXPECTED_STATUS),
    _sends(
        "a length without a body",
        settings() + headers([STATUS, ("content-length", "9")], last=True),
        _INVALID,
        "does not match its content-length",
    ),
    _sends(
        "a length that is too large",
        settings() + headers([STATUS, ("content-length", "9")]) + BODY,
        _INVALID,
        "does not match its content-length",
    ),
    _sends(
        "a length that is too large, and trailers",
        settings()
        + headers([STATUS, ("content-length", "9")])
        + data(b"body")
        + headers([("x", "y")], last=True),
        _INVALID,
        "does not match its content-length",
    ),
    _sends(
        "a length that is too small",
        settings() + headers([STATUS, ("content-length", "3")]) + BODY,
        _INVALID,
        "does not match its content-length",
    ),
    _sends(
        "a length beside HEAD",
        settings() + headers([STATUS, ("content-length", "9")], last=True),
        _OK,
        "",
        "--method=HEAD",
    ),
    _sends(
        "a length beside 304",
        settings() + headers([(":status", "304"), ("content-length", "9")]) + data(b"", last=True),
        _OK,
        "",
        "--status=304",
        "--expect-header=Content-Length: 9",
    ),
    _sends(
        "a length beside 204",
        settings() + headers([(":status", "204"), ("content-length", "0")], last=True),
        _OK,
        "",
        "--status=204",
    ),
    _closes(
        "cut off in the body",
        settings() + headers([STATUS]) + data(b"body"),
        _INVALID,
        "before the end of the body",
    ),
    _sends("PING flood", settings() + ping() * 1100, _INVALID, "more than 1000 frames"),
    _sends(
        "empty DATA frames",
        settings() + headers([STATUS]) + data(b"") * 1100,
        _INVALID,
        "more than 1000 frames",
    ),
    _sends(
        "300 headers",
        settings() + headers([STATUS, *((("a", "b"),) * 300)]),
        _INVALID,
        "too many headers",
    ),
]
