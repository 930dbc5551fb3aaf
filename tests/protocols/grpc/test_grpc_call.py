"""The state machine of a call, fed with the bytes of any peer: no sockets, no waiting."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, RequestReceived, StreamEnded
from hpack import HeaderTuple, NeverIndexedHeaderTuple

from healthchecker import Reason
from healthchecker._protocols.grpc.codec import encode_message
from healthchecker._protocols.grpc.rpc import CHECK, LIST, WATCH, Call, Method
from tests.servers.grpc import (
    HEALTHY,
    NOT_SERVING,
    OK_HEADERS,
    SERVING,
    data,
    goaway,
    headers,
    headers_in_pieces,
    ping,
    ping_ack,
    push,
    reset_stream,
    settings,
    settings_ack,
    trailers,
)

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/grpc.health.v1.Health/Check"),
    ("content-type", "application/grpc"),
]


@pytest.fixture(params=[1, 7, 1 << 20], ids=["byte by byte", "by sevens", "in one piece"])
def size(request: pytest.FixtureRequest) -> int:
    """Return the size of the pieces in which a peer's bytes arrive."""
    return int(request.param)


def fed(frames: bytes, size: int, method: Method[str] = CHECK) -> Call[str]:
    """Return a call that has received these bytes so far."""
    call = Call(method, HEADERS, b"")
    for start in range(0, len(frames), size):
        call.bytes_to_send()
        call.feed(frames[start : start + size])
    return call


def server_of(call: Call[str]) -> H2Connection:
    """Return a server that has read the whole call and sent nothing yet."""
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    server.receive_data(call.bytes_to_send())
    return server


# What is sent


def test_the_request_is_sent_immediately() -> None:
    call = Call(CHECK, HEADERS, b"\x0a\x02db")
    server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    server.initiate_connection()
    events = server.receive_data(call.bytes_to_send())
    received = [event.headers for event in events if isinstance(event, RequestReceived)]
    assert [[(str(name), str(value)) for name, value in fields] for fields in received] == [HEADERS]
    sent = [event.data for event in events if isinstance(event, DataReceived)]
    assert b"".join(sent) == encode_message(b"\x0a\x02db")
    assert any(isinstance(event, StreamEnded) for event in events)
    assert call.bytes_to_send() == b""


def test_credentials_are_never_indexed() -> None:
    call = Call(CHECK, [*HEADERS, ("authorization", "Basic bWU6c2VjcmV0")], b"")
    server = H2Connection(H2Configuration(client_side=False))
    events = server.receive_data(call.bytes_to_send())
    (request,) = (event for event in events if isinstance(event, RequestReceived))
    kinds = {field[0]: type(field) for field in request.headers}
    assert kinds[b"authorization"] is NeverIndexedHeaderTuple
    assert kinds[b"content-type"] is HeaderTuple


def test_settings_and_pings_are_acknowledged() -> None:
    assert fed(settings() + ping(), 1 << 20).bytes_to_send() == settings_ack() + ping_ack()


# Peers that are unusual, but correct


@pytest.mark.parametrize(
    "frames",
    [
        HEALTHY,
        settings() + headers() + b"".join(data(bytes([byte])) for byte in SERVING) + trailers(),
        settings() + headers() + data(b"") * 900 + data(SERVING) + data(b"") * 50 + trailers(),
        settings() + ping() * 500 + headers() + data(SERVING) + trailers(),
        settings() + headers([(":status", "103")]) * 3 + headers() + data(SERVING) + trailers(),
        settings()
        + headers_in_pieces([*OK_HEADERS, ("x", "y" * 900)], 20)
        + data(SERVING)
        + headers_in_pieces([("grpc-status", "0"), ("x", "y" * 900)], 20, last=True),
        settings() + headers() + data(SERVING) + goaway(1) + ping() + trailers(),
        settings()
        + goaway(2**31 - 1)
        + ping()
        + headers()
        + data(SERVING)
        + goaway(1)
        + trailers(),
        HEALTHY + goaway(0, 11) + b"\xff" * 100,
        HEALTHY + reset_stream(0),
        settings()
        + headers([(":status", "200"), ("content-type", "application/grpc+proto")])
        + data(SERVING)
        + trailers(),
        settings()
        + b"\x00\x00\x03\xfa\x00\x00\x00\x00\x00abc"
        + headers()
        + data(SERVING)
        + trailers(),
    ],
    ids=[
        "plain",
        "one byte in each DATA frame",
        "empty DATA frames",
        "PINGs first",
        "informational responses",
        "CONTINUATION frames",
        "GOAWAY in the call",
        "GOAWAY before the call, and again",
        "nonsense after the call",
        "RST_STREAM after the call",
        "content type with a suffix",
        "unknown frame type",
    ],
)
@pytest.mark.parametrize("ends", [False, True])
def test_a_correct_response_in_any_form(frames: bytes, ends: bool, size: int) -> None:
    call = fed(frames, size)
    if ends:
        call.feed(b"")
    assert (call.is_over, call.failure, list(call.messages)) == (True, None, ["SERVING"])


def test_a_long_message_in_many_data_frames(size: int) -> None:
    message = encode_message(b"\x08\x01" * 1_000)
    frames = b"".join(data(bytes([byte])) for byte in message)
    call = fed(settings() + headers() + frames + trailers(), size)
    assert (call.is_over, call.failure, list(call.messages)) == (True, None, ["SERVING"])


def test_a_list(size: int) -> None:
    listed = b"\x0a\x06\x0a\x00\x12\x02\x08\x01\x0a\x08\x0a\x02db\x12\x02\x08\x02"
    frames = settings() + headers() + data(encode_message(listed)) + trailers()
    call = Call(LIST, HEADERS, b"")
    for start in range(0, len(frames), size):
        call.feed(frames[start : start + size])
    assert list(call.messages) == [{"": "SERVING", "db": "NOT_SERVING"}]


def test_flow_control_keeps_a_call_going() -> None:
    call = Call(WATCH, HEADERS, b"")
    server = server_of(call)
    server.send_headers(1, OK_HEADERS)
    message = encode_message(b"\x08\x01" * 10_000)
    for _ in range(30):
        for start in range(0, len(message), server.max_outbound_frame_size):
            server.send_data(1, message[start : start + server.max_outbound_frame_size])
        call.feed(server.data_to_send())
        server.receive_data(call.bytes_to_send())
    server.send_headers(1, [("grpc-status", "14")], end_stream=True)
    call.feed(server.data_to_send())
    assert list(call.messages) == ["SERVING"] * 30
    assert call.failure is not None
    assert call.failure.reason is Reason.NOT_SERVING


# Peers that are incorrect

TEXT = ((":status", "200"), ("content-type", "text/html"))
COMPRESSED = b"\x01" + SERVING[1:]


@pytest.mark.parametrize(
    ("frames", "reason", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "invalid_response", "HTTP/1"),
        (b"HTTP/1.0 200 OK\r\n\r\n", "invalid_response", "HTTP/1"),
        (b"220 mail.example ESMTP\r\n", "invalid_response", "does not speak HTTP/2"),
        (headers() + data(SERVING), "invalid_response", "does not speak HTTP/2"),
        (settings() + headers(TEXT) + trailers(), "invalid_response", "content-type is text/html"),
        (
            settings() + headers([(":status", "200")]) + trailers(),
            "invalid_response",
            "no content-type",
        ),
        (
            settings() + headers([(":status", "200"), ("content-type", "application/grpc-web")]),
            "invalid_response",
            "content-type is application/grpc-web",
        ),
        *(
            (
                settings() + headers([(":status", status)]),
                "not_serving",
                f"UNAVAILABLE: HTTP status {status}",
            )
            for status in ("429", "502", "503", "504")
        ),
        *(
            (settings() + headers([(":status", status)]), "invalid_response", f"status {status}")
            for status in ("204", "302", "400", "401", "403", "404", "500")
        ),
        (
            settings()
            + headers([(":status", "503"), OK_HEADERS[1], ("grpc-status", "5")], last=True),
            "unknown_service",
            "NOT_FOUND",  # the gRPC status counts if there is one
        ),
        (
            settings() + headers([*OK_HEADERS, ("grpc-status", "5")], last=True),
            "unknown_service",
            "NOT_FOUND",
        ),
        (
            settings() + headers([*OK_HEADERS, ("grpc-status", "12")], last=True),
            "unimplemented",
            "UNIMPLEMENTED",
        ),
        (
            settings() + headers([*OK_HEADERS, ("grpc-status", "0")], last=True),
            "invalid_response",
            "without a message",
        ),
        (settings() + headers(last=True), "invalid_response", "no gRPC status"),
        (settings() + headers() + data(SERVING, last=True), "invalid_response", "missing trailers"),
        (
            settings() + headers() + data(SERVING) + headers([("x", "y")], last=True),
            "invalid_response",
            "no gRPC status",
        ),
        (settings() + headers() + data(SERVING) + trailers("-1"), "invalid_response", "no gRPC"),
        (settings() + headers() + data(SERVING) + trailers("1e3"), "invalid_response", "no gRPC"),
        (settings() + headers() + data(SERVING) + trailers("99"), "unexpected_status", "99"),
        (settings() + headers() + data(SERVING) + trailers("14"), "not_serving", "UNAVAILABLE"),
        (settings() + headers() + data(SERVING * 2) + trailers(), "invalid_response", "more than"),
        (
            settings() + headers() + data(SERVING[:-1]) + trailers(),
            "invalid_response",
            "truncated message",
        ),
        (settings() + headers() + data(COMPRESSED) + trailers(), "invalid_response", "compressed"),
        (
            settings() + headers() + data(b"\x00\x00\x00\x00\x01\x08") + trailers(),
            "invalid_response",
            "truncated varint",
        ),
        (
            settings() + headers() + data(b"\x00\x7f\xff\xff\xff"),
            "invalid_response",
            "message too large: 2147483647 bytes (limit 65536)",
        ),
        (settings() + data(SERVING), "invalid_response", "data before headers"),
        (settings() + goaway(0), "connection_reset", "GOAWAY NO_ERROR"),
        (
            settings() + goaway(1, 11, b"too_many_pings"),
            "connection_reset",
            "GOAWAY ENHANCE_YOUR_CALM (too_many_pings)",
        ),
        (settings() + goaway(1, 4711), "connection_reset", "GOAWAY 4711"),
        (settings() + reset_stream(7), "connection_reset", "REFUSED_STREAM"),
        (settings() + headers() + reset_stream(8), "connection_reset", "CANCEL"),
        (settings() + headers() + data(SERVING) + reset_stream(0), "connection_reset", "NO_ERROR"),
        (settings() + b"\xff" * 64, "invalid_response", "frame too large"),
        (settings() + b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", "invalid_response", "16385 bytes"),
        (settings() + ping() * 1100, "invalid_response", "more than 1000 frames"),
        (settings() + goaway(1) * 1100, "invalid_response", "more than 1000 frames"),
        (settings() * 1100, "invalid_response", "more than 1000 frames"),
        (settings() + headers() + data(b"") * 1100, "invalid_response", "more than 1000 frames"),
        (
            settings() + headers([(":status", "103")]) * 1100,
            "invalid_response",
            "more than 1000 frames",
        ),
        (
            settings() + headers_in_pieces([*OK_HEADERS, ("x", "y" * 900)], 70),
            "invalid_response",
            "too many continuation frames",
        ),
        (
            settings() + headers([*OK_HEADERS, *(("x" * 50, "y" * 50),) * 1000]),
            "invalid_response",
            "oversized header block",  # 1,000 references of one byte each
        ),
        (
            settings() + headers([*OK_HEADERS, *(("x", "y" * 1000),) * 100]),
            "invalid_response",
            "oversized header block",
        ),
        (settings() + push(), "invalid_response", "pushed stream"),
        (settings() + settings_ack() + trailers(), "invalid_response", "not valid HTTP/2"),
        *(
            (settings() + headers([(":status", status)]), "invalid_response", f"got '{status}'")
            for status in ("", "abc", "+200", "20", "2000", "099", "1x")
        ),
        (settings() + headers([(":status", "101")]), "invalid_response", "status 101"),
        (
            settings() + b"\x00\x00\x04\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02",
            "invalid_response",
            "not valid HTTP/2",
        ),
        (settings() + b"\x00\x00\x02\x07\x00\x00\x00\x00\x00ab", "invalid_response", "GOAWAY"),
    ],
)
def test_an_incorrect_response_is_reported(
    frames: bytes, reason: str, text: str, size: int
) -> None:
    call = fed(frames, size)
    assert call.is_over
    assert call.failure is not None
    assert call.failure.reason == reason, call.failure
    assert text in call.failure.message


@pytest.mark.parametrize(
    "frames",
    [b"", settings(), settings() + headers(), settings() + headers() + data(SERVING)],
    ids=["immediately", "after SETTINGS", "after headers", "after the message"],
)
def test_a_connection_that_ends_too_early(frames: bytes, size: int) -> None:
    call = fed(frames, size)
    assert not call.is_over
    call.feed(b"")
    assert call.is_over
    assert call.failure is not None
    assert call.failure.reason is Reason.INVALID_RESPONSE


@pytest.mark.parametrize(
    "frames",
    [
        b"",
        settings(),
        settings() + headers()[:12],
        settings() + headers(),
        settings() + headers() + data(SERVING[:3]),
        settings() + headers() + data(SERVING),
        settings() + goaway(1),
    ],
    ids=["immediately", "SETTINGS", "in headers", "headers", "in message", "message", "GOAWAY"],
)
def test_an_incomplete_response_is_waited_for(frames: bytes, size: int) -> None:
    call = fed(frames, size)
    assert (call.is_over, call.failure) == (False, None)


@pytest.mark.parametrize(
    ("before", "dripped"),
    [
        (b"", settings()),
        (b"", b"HTTP"),
        (settings(), ping()),
        (settings(), headers([*OK_HEADERS, ("x", "y" * 5000)])),
        (settings() + headers(), data(b"")),
        (settings() + headers(), data(encode_message(b"\x08\x01" * 1000))),
        (settings() + headers() + data(SERVING), headers([("x", "y" * 5000)], last=True)),
    ],
    ids=["SETTINGS", "text", "PING", "headers", "empty DATA", "message", "trailers"],
)
def test_repeated_frames_are_not_a_response(before: bytes, dripped: bytes, size: int) -> None:
    call = fed(before + dripped * 3, size)
    assert not call.is_over or call.failure is not None
    assert call.failure is None or call.failure.reason is Reason.INVALID_RESPONSE


def test_nothing_counts_after_the_end(size: int) -> None:
    call = fed(settings() + headers() + trailers("5") + HEALTHY, size)
    assert call.failure is not None
    assert call.failure.reason is Reason.UNKNOWN_SERVICE
    call.feed(HEALTHY)
    assert (call.failure.reason, list(call.messages)) == (Reason.UNKNOWN_SERVICE, [])


def test_the_http_status_is_reported() -> None:
    failure = fed(settings() + headers([(":status", "404")], last=True), 1 << 20).failure
    assert failure is not None
    assert (failure.reason, failure.status) == (Reason.INVALID_RESPONSE, 404)


@pytest.mark.parametrize(
    ("encoded", "shown"),
    [
        ("gr%C3%B6%C3%9Fer", "größer"),
        ("größer", "größer"),
        ("100 %", "100 %"),
        ("%zz%1", "%zz%1"),
        ("%ff%fe", "\ufffd\ufffd"),
        ("%F0%9F%98", "\ufffd"),
        ("%00%0a", "\0\n"),
    ],
)
def test_the_message_of_the_server_is_decoded(encoded: str, shown: str) -> None:
    failure = fed(settings() + headers() + trailers("2", encoded), 1 << 20).failure
    assert failure is not None
    assert failure.message == f"gRPC status UNKNOWN: {shown}"


def test_a_long_message_of_the_server_is_cut() -> None:
    text = "%F0%9F%98%80" * 1000
    failure = fed(settings() + headers() + trailers("2", text), 1 << 20).failure
    assert failure is not None
    assert failure.reason is Reason.UNEXPECTED_STATUS
    assert len(failure.message) < 300


# Calls that stream


@pytest.mark.parametrize(
    ("frames", "reasons"),
    [
        (
            headers() + data(SERVING + NOT_SERVING) + trailers(),
            ["ok", "not_serving", "invalid_response"],
        ),
        (headers() + data(SERVING) + trailers("14"), ["ok", "not_serving"]),
        (headers() + data(NOT_SERVING) + goaway(0, 2), ["not_serving", "connection_reset"]),
        (headers() + data(SERVING) + reset_stream(2), ["ok", "connection_reset"]),
        (headers() + data(SERVING) + data(COMPRESSED), ["ok", "invalid_response"]),
        (headers() + data(SERVING) + b"\xff" * 9, ["ok", "invalid_response"]),
        (headers() + data(SERVING) + ping() * 1100, ["ok", "invalid_response"]),
        (headers() + data(SERVING) + goaway(1) + data(NOT_SERVING), ["ok", "connection_reset"]),
        (headers([(":status", "404")]), ["invalid_response"]),
    ],
)
def test_messages_before_a_failure_are_kept(frames: bytes, reasons: list[str], size: int) -> None:
    call = fed(settings() + frames, size, WATCH)
    results = ["ok" if status == "SERVING" else "not_serving" for status in call.messages]
    assert call.is_over
    assert call.failure is not None
    assert [*results, call.failure.reason] == reasons


@pytest.mark.parametrize("first", [b"", settings_ack() * 3], ids=["correct", "too many ACKs"])
def test_a_sign_of_life_is_an_acknowledgement(first: bytes) -> None:
    call = Call(WATCH, HEADERS, b"")
    assert not call.has_shown_life
    server = server_of(call)
    call.feed(server.data_to_send() + first)
    for _ in range(3):
        assert call.has_shown_life
        call.request_sign_of_life()
        assert not call.has_shown_life
        events = server.receive_data(call.bytes_to_send())
        assert any(isinstance(event, RemoteSettingsChanged) for event in events)
        call.feed(server.data_to_send())
    assert call.has_shown_life


def test_a_sign_of_life_resets_the_limit_on_frames() -> None:
    call = fed(settings() + headers() + data(SERVING) + ping() * 900, 1 << 20, WATCH)
    call.request_sign_of_life()
    call.feed(settings_ack() + ping() * 900)
    assert call.failure is None
    call.feed(ping() * 200)
    assert call.failure is not None
    assert "more than 1000 frames" in call.failure.message
