"""The table of gRPC peers that misbehave: what each does, and the verdict on it."""

from __future__ import annotations

import struct

from hyperframe.frame import (
    AltSvcFrame,
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from healthchecker import Reason
from tests.servers.grpc import (
    HEALTHY,
    OK_HEADERS,
    SERVING,
    data,
    goaway,
    headers,
    headers_in_pieces,
    ping,
    push,
    reset_stream,
    respond_to_call,
    settings,
    trailers,
)
from tests.servers.peers import (
    Behaviour,
    Connection,
    blurt,
    close,
    drip,
    flood,
    half_close,
    hold,
    reset,
)
from tests.tables.hostile_http import Hostile

MIB = 1024 * 1024


def _sends(
    name: str, frames: bytes, reason: Reason, detail: str = "", as_http: Reason | None = None
) -> Hostile:
    behaviour = respond_to_call(frames)
    return Hostile(name, behaviour, reason, detail, scheme="grpc", as_http=as_http)


def _floods(name: str, frames: bytes, reason: Reason, detail: str = "") -> Hostile:
    def then(connection: Connection) -> None:
        connection.flood(frames * (MIB // len(frames)))

    return Hostile(name, respond_to_call(settings(), then), reason, detail, scheme="grpc")


def _does(name: str, behaviour: Behaviour, reason: Reason, detail: str = "") -> Hostile:
    return Hostile(name, behaviour, reason, detail, scheme="grpc")


def _block(block: bytes) -> bytes:
    """Return any header block in as many frames as it needs."""
    parts = [block[start : start + 16_000] for start in range(0, len(block), 16_000)]
    frames: list[Frame] = [HeadersFrame(1, parts[0])]
    frames += [ContinuationFrame(1, part) for part in parts[1:]]
    frames[-1].flags.add("END_HEADERS")
    return b"".join(frame.serialize() for frame in frames)


def _settings_of_many_kinds() -> bytes:
    frames = []
    for first in range(100, 60_000, 2700):
        body = b"".join(struct.pack("!HI", kind, 1) for kind in range(first, first + 2700))
        frames.append(len(body).to_bytes(3, "big") + b"\x04\0\0\0\0\0" + body)
    return b"".join(frames)


def _window_update(stream_id: int, increment: int) -> bytes:
    return WindowUpdateFrame(stream_id, increment).serialize()


def _padded(payload: bytes) -> bytes:
    return DataFrame(1, payload, pad_length=255, flags=["PADDED"]).serialize()


_ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b2J\u202e%1b[2J%0a%00%"
_LITERAL = b"\x88\x5f\x10application/grpc"  # :status 200 and the content type

_REFUSED = "a (different) client certificate"

HOSTILE_GRPC = [
    _does("gRPC: silence", respond_to_call(settings()), Reason.TIMEOUT, "(response)"),
    *(
        Hostile(
            f"gRPC: {name} after TLS",
            behaviour,
            reason,
            detail,
            tls=True,
            scheme="grpcs",
            as_http=as_http,
        )
        for name, behaviour, reason, detail, as_http in (
            ("silence", hold, Reason.TIMEOUT, "(response)", Reason.TIMEOUT),
            ("closed", close, Reason.INVALID_RESPONSE, "before the call completed", None),
            ("cut off", half_close, Reason.TLS_FAILURE, _REFUSED, Reason.INVALID_RESPONSE),
            ("reset", reset, Reason.TLS_FAILURE, _REFUSED, Reason.CONNECTION_RESET),
        )
    ),
    _does("gRPC: dripped frames", drip(settings()), Reason.TIMEOUT, "(response)"),
    _does("gRPC: a response before the call", blurt(HEALTHY, hold), Reason.OK),
    _does("gRPC: endless zeros", flood(bytes(MIB)), Reason.INVALID_RESPONSE, "HTTP/2"),
    _sends(
        "gRPC: a banner",
        b"220 mail.example ESMTP\r\n",
        Reason.INVALID_RESPONSE,
        "does not speak HTTP/2",
    ),
    _floods("gRPC: SETTINGS flood", settings(), Reason.INVALID_RESPONSE, "1000 frames"),
    _floods("gRPC: PING flood", ping(), Reason.INVALID_RESPONSE, "1000 frames"),
    _floods(
        "gRPC: WINDOW_UPDATE flood", _window_update(0, 1), Reason.INVALID_RESPONSE, "1000 frames"
    ),
    _floods(
        "gRPC: PRIORITY flood",
        PriorityFrame(1, depends_on=3).serialize(),
        Reason.INVALID_RESPONSE,
        "1000 frames",
    ),
    _floods(
        "gRPC: ALTSVC flood",
        AltSvcFrame(0, b"a", b"b" * 900).serialize(),
        Reason.INVALID_RESPONSE,
        "32768 bytes",
    ),
    _floods(
        "gRPC: early hints flood",
        headers([(":status", "103"), *((("x", "y"),) * 1500)]),
        Reason.INVALID_RESPONSE,
        "oversized header block",
    ),
    _floods("gRPC: DATA without data", _padded(b""), Reason.INVALID_RESPONSE, "data before"),
    _sends(
        "gRPC: settings of many kinds",
        _settings_of_many_kinds(),
        Reason.INVALID_RESPONSE,
        "32768 bytes",
    ),
    _sends(
        "gRPC: a message in padded frames",
        settings() + headers() + b"".join(map(_padded, struct.unpack("7c", SERVING))) + trailers(),
        Reason.OK,
    ),
    _sends(
        "gRPC: endless CONTINUATION",
        settings() + _block(b"\x20" * 2 * MIB),
        Reason.INVALID_RESPONSE,
        "32768 bytes",
    ),
    _sends(
        "gRPC: empty CONTINUATION frames",
        settings() + HeadersFrame(1, b"").serialize() + ContinuationFrame(1, b"").serialize() * 900,
        Reason.INVALID_RESPONSE,
        "too many continuation frames",
    ),
    _sends(
        "gRPC: headers of table sizes",
        settings() + _block(b"\x20" * 30_000 + _LITERAL) + data(SERVING) + trailers(),
        Reason.OK,
    ),
    _sends(
        "gRPC: a table that is too large",
        settings() + _block(b"\x3f\xe1\xff\x03" + _LITERAL),
        Reason.INVALID_RESPONSE,
        "cannot be decoded",
    ),
    _sends(
        "gRPC: a long Huffman code",
        settings() + _block(_LITERAL + b"\0\x01x\xff\xb1\xe9\x01" + bytes(30_000)),
        Reason.INVALID_RESPONSE,
        "oversized header block",
    ),
    _sends(
        "gRPC: a header bomb",
        settings() + headers([*OK_HEADERS, *(("x" * 50, "y" * 50),) * 60_000]),
        Reason.INVALID_RESPONSE,
        "frame too large",
    ),
    _sends(
        "gRPC: headers in many pieces",
        settings() + headers_in_pieces([*OK_HEADERS, ("x", "y" * 900)], 70),
        Reason.INVALID_RESPONSE,
        "too many continuation frames",
    ),
    _sends(
        "gRPC: no window",
        SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}).serialize() + HEALTHY,
        Reason.OK,
    ),
    _sends(
        "gRPC: too large a window",
        settings() + _window_update(0, 2**31 - 1),
        Reason.INVALID_RESPONSE,
        "flow control window",
    ),
    _sends(
        "gRPC: too large a window of the call",
        settings() + _window_update(1, 2**31 - 1),
        Reason.INVALID_RESPONSE,
        "a flow control window that is too large",
    ),
    _sends("gRPC: a pushed stream", settings() + push(), Reason.INVALID_RESPONSE, "pushed stream"),
    _sends("gRPC: reset after the response", HEALTHY + reset_stream(8), Reason.OK),
    _sends(
        "gRPC: reset instead of a response",
        settings() + reset_stream(7),
        Reason.CONNECTION_RESET,
        "REFUSED_STREAM",
    ),
    _sends(
        "gRPC: GOAWAY for the terminal",
        settings() + goaway(0, 2**32 - 1, _ESCAPES.encode()),
        Reason.CONNECTION_RESET,
        "GOAWAY 4294967295",
    ),
    _sends(
        "gRPC: a message for the terminal",
        settings()
        + headers([*OK_HEADERS, ("grpc-status", "2"), ("grpc-message", "%1b[2J%")], last=True),
        Reason.UNEXPECTED_STATUS,
        "UNKNOWN",
        as_http=Reason.OK,
    ),
    _sends(
        "gRPC: a content type for the terminal",
        settings() + headers([(":status", "200"), ("content-type", "\u202e\x9b2J")]),
        Reason.INVALID_RESPONSE,
        "content-type",
        as_http=Reason.TIMEOUT,
    ),
    _sends(
        "gRPC: a duplicate status",
        settings() + headers([*OK_HEADERS[:1], *OK_HEADERS]),
        Reason.INVALID_RESPONSE,
        "a duplicate pseudo-header",
    ),
    _sends(
        "gRPC: no status",
        settings() + headers(OK_HEADERS[1:]),
        Reason.INVALID_RESPONSE,
        "without a status",
    ),
    _sends(
        "gRPC: a pseudo-header in the trailers",
        settings() + headers() + data(SERVING) + headers([(":status", "200")], last=True),
        Reason.INVALID_RESPONSE,
        "in the trailers",
    ),
    _sends(
        "gRPC: an uppercase header name",
        settings() + headers([*OK_HEADERS, ("Token", "secret")]),
        Reason.INVALID_RESPONSE,
        "an uppercase header name",
    ),
    _sends(
        "gRPC: a stream that does not exist",
        settings() + headers() + DataFrame(3, SERVING).serialize(),
        Reason.INVALID_RESPONSE,
    ),
    _sends(
        "gRPC: a message of 4 GiB",
        settings() + headers() + data(b"\0\xff\xff\xff\xff"),
        Reason.INVALID_RESPONSE,
        "message too large",
        as_http=Reason.TIMEOUT,
    ),
    *(
        _sends(
            f"gRPC: HTTP status {status}",
            settings() + headers([(":status", str(status))], last=True),
            Reason.NOT_SERVING,
            f"gRPC status UNAVAILABLE: HTTP status {status}",
            Reason.UNEXPECTED_STATUS,
        )
        for status in (429, 502, 503, 504)
    ),
]
