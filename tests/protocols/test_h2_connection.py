"""HTTP/2 frames and the client's side of a connection, compared with hyperframe and h2. No I/O."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from healthchecker._protocols.h2_connection import (
    MAX_IDLE_BYTES,
    ClientConnection,
    Data,
    End,
    Event,
    Response,
    Trailers,
)
from healthchecker._protocols.h2_frames import (
    GOAWAY,
    MAX_FRAME_SIZE,
    FrameReader,
    decode_goaway,
    error_name,
    frame_type,
)
from healthchecker._protocols.reply import CodecError
from healthchecker._values.result import ProbeFailure
from tests.servers.grpc import data, headers, settings, settings_ack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = SettingsFrame(0).serialize()
FRAMES = [
    SETTINGS,
    PingFrame(0, b"12345678").serialize(),
    DataFrame(1, b"").serialize(),
    DataFrame(1, b"x" * MAX_FRAME_SIZE).serialize(),
]


def read(reader: FrameReader, data: bytes) -> list[bytes]:
    reader.feed(data)
    return list(reader)


@pytest.mark.parametrize("size", [1, 8, 9, 10, 1000, 1_000_000])
def test_frames_are_complete_whatever_the_size_of_the_pieces(size: int) -> None:
    reader = FrameReader()
    data = b"".join(FRAMES)
    found = [
        frame
        for start in range(0, len(data), size)
        for frame in read(reader, data[start : start + size])
    ]
    assert found == FRAMES


def test_an_overlong_frame_is_refused_by_its_header() -> None:
    header = DataFrame(1, b"x" * (MAX_FRAME_SIZE + 1)).serialize()[:9]
    reader = FrameReader()
    assert read(reader, SETTINGS + header[:8]) == [SETTINGS]
    with pytest.raises(CodecError, match=f"frame too large: {MAX_FRAME_SIZE + 1} bytes"):
        read(reader, header[8:])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the peer speaks HTTP/1, not HTTP/2"),
        (b"<html>fine</html>", "the peer does not speak HTTP/2"),
        (b"220 mail.example ESMTP\r\n", "the peer does not speak HTTP/2"),
        (FRAMES[1], "the peer does not speak HTTP/2"),
        (b"\0\0\0\x05\0\0\0\0\0", "does not speak HTTP/2"),
    ],
)
def test_a_connection_must_begin_with_settings(data: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        read(FrameReader(), data)


def test_goaway_is_decoded() -> None:
    frame = GoAwayFrame(0, last_stream_id=7, error_code=11, additional_data=b"calm").serialize()
    assert frame_type(frame) == GOAWAY
    assert decode_goaway(frame) == (7, 11, b"calm")
    reserved_bit_set = frame[:9] + b"\x80" + frame[10:]
    assert decode_goaway(reserved_bit_set) == (7, 11, b"calm")


def test_a_truncated_goaway_is_refused() -> None:
    with pytest.raises(CodecError, match="truncated GOAWAY frame"):
        decode_goaway(b"\x00\x00\x04\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01")


def test_error_codes_have_names() -> None:
    assert [error_name(code) for code in (0, 11, 4711)] == ["NO_ERROR", "ENHANCE_YOUR_CALM", "4711"]


def test_settings_that_are_the_defaults_are_not_sent() -> None:
    _, frame = ClientConnection([(b":method", b"GET")], b"").bytes_to_send().split(PREFACE)
    sent, size = Frame.parse_frame_header(memoryview(frame[:9]))
    assert isinstance(sent, SettingsFrame)
    sent.parse_body(memoryview(frame[9 : 9 + size]))
    assert sent.settings == {
        SettingsFrame.ENABLE_PUSH: 0,
        SettingsFrame.MAX_HEADER_LIST_SIZE: MAX_IDLE_BYTES,
    }


REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
OK = [(":status", "200")]
STATUS = (b":status", b"200")


def events(
    frames: bytes, connection: ClientConnection | None = None
) -> tuple[ClientConnection, list[Event]]:
    connection = connection or ClientConnection(REQUEST, b"")
    connection.feed(frames)
    return connection, list(connection.events())


def parsed(sent: bytes) -> list[Frame]:
    """Return the frames that were sent, without the preface."""
    rest, frames = memoryview(sent.removeprefix(PREFACE)), []
    while rest:
        frame, size = Frame.parse_frame_header(rest[:9])
        frame.parse_body(rest[9 : 9 + size])
        frames.append(frame)
        rest = rest[9 + size :]
    return frames


def test_the_events_of_a_response() -> None:
    _, found = events(
        settings()
        + headers([(":status", "103")])
        + headers([*OK, ("x", "y")])
        + DataFrame(1, b"abc", pad_length=5, flags=["PADDED"]).serialize()
        + data(b"")
        + headers([("z", "1")], last=True)
        + b"\xff" * 50
    )
    response = Response([STATUS, (b"x", b"y")], is_all=False)
    assert found == [response, Data(b"abc"), Data(b""), Trailers([(b"z", b"1")]), End()]


def test_a_response_without_content_is_all() -> None:
    _, found = events(settings() + headers(OK, last=True))
    assert found == [Response([STATUS], is_all=True), End()]


def test_a_long_list_of_headers_is_sent_in_several_frames() -> None:
    many = [(b"x-%d" % number, b"y" * 1000) for number in range(40)]
    sent = ClientConnection([*REQUEST, *many], b"body").bytes_to_send()
    kinds = [type(frame) for frame in parsed(sent)]
    assert kinds == [SettingsFrame, HeadersFrame, ContinuationFrame, ContinuationFrame, DataFrame]
    server = H2Connection(H2Configuration(client_side=False))
    seen = server.receive_data(sent)
    (request,) = (event for event in seen if isinstance(event, RequestReceived))
    assert list(request.headers) == [*REQUEST, *many]
    assert any(isinstance(event, StreamEnded) for event in seen)


def test_windows_are_renewed_before_they_are_used_up() -> None:
    connection, _ = events(settings() + headers(OK))
    connection.bytes_to_send()
    received, renewed = 0, {0: 0, 1: 0}
    for _ in range(20):
        events(data(bytes(MAX_FRAME_SIZE)), connection)
        received += MAX_FRAME_SIZE
        for frame in parsed(connection.bytes_to_send()):
            assert isinstance(frame, WindowUpdateFrame)
            renewed[frame.stream_id] += frame.window_increment
        assert all(65535 + size - received >= MAX_FRAME_SIZE for size in renewed.values())
        assert all(size <= received for size in renewed.values())


def test_a_body_waits_for_both_windows() -> None:
    connection = ClientConnection(REQUEST, bytes(70_000))

    def sent() -> int:
        frames = parsed(connection.bytes_to_send())
        return sum(len(frame.data) for frame in frames if isinstance(frame, DataFrame))

    assert sent() == 65535
    events(settings() + WindowUpdateFrame(1, 1_000).serialize(), connection)
    assert sent() == 0
    events(WindowUpdateFrame(0, 10_000).serialize(), connection)
    assert sent() == 1_000
    events(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 65536}).serialize(), connection)
    assert sent() == 1
    events(WindowUpdateFrame(1, 10_000).serialize(), connection)
    assert sent() == 70_000 - 65535 - 1_001


def test_what_is_not_for_us_is_ignored() -> None:
    begin = settings() + settings_ack() * 2
    frames = [
        b"\0\0\x03\xfa\0\0\0\0\0abc",  # an unknown type
        PriorityFrame(3, depends_on=1).serialize(),
        RstStreamFrame(3, 8).serialize(),
        PingFrame(0, b"12345678", flags=["ACK"]).serialize(),
        b"\0\0\x02\x0a\0\0\0\0\0\0\0",  # ALTSVC
    ]
    connection, _ = events(begin + b"".join(frames))
    assert [type(one) for one in parsed(connection.bytes_to_send())][2:] == [SettingsFrame]
    _, found = events(headers(OK, last=True), connection)
    assert found == [Response([STATUS], is_all=True), End()]


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream_id.to_bytes(4, "big") + payload


OPEN_BLOCK = HeadersFrame(1, b"\x88").serialize()
LENGTH, WRONG, NOT_OPEN = "an invalid length", "on the wrong stream", "a stream that is not open"


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        (_frame(0, 0, 0, b""), WRONG),
        (_frame(1, 4, 0, b"\x88"), WRONG),
        (_frame(2, 0, 0, bytes(5)), WRONG),
        (_frame(3, 0, 0, bytes(4)), WRONG),
        (_frame(4, 0, 1, b""), WRONG),
        (_frame(5, 4, 0, bytes(4)), WRONG),
        (_frame(6, 0, 1, bytes(8)), WRONG),
        (_frame(7, 0, 1, bytes(8)), WRONG),
        (_frame(9, 4, 0, b"\x88"), WRONG),
        (_frame(0, 0, 3, b""), NOT_OPEN),
        (_frame(1, 4, 3, b"\x88"), NOT_OPEN),
        (_frame(1, 4, 2, b"\x88"), NOT_OPEN),
        (_frame(8, 0, 3, b"\0\0\0\x01"), NOT_OPEN),
        (_frame(9, 4, 3, b"\x88"), NOT_OPEN),
        (_frame(9, 4, 1, b"\x88"), "an unexpected frame"),
        (OPEN_BLOCK + OPEN_BLOCK, "interrupting the headers"),
        (OPEN_BLOCK + data(b""), "interrupting the headers"),
        (OPEN_BLOCK + _frame(7, 0, 0, bytes(8)), "interrupting the headers"),
        (OPEN_BLOCK + _frame(9, 4, 3, b""), "interrupting the headers"),
        (OPEN_BLOCK + _frame(0xFA, 0, 1, b""), "interrupting the headers"),
        (_frame(1, 0x0C, 1, b""), LENGTH),
        (_frame(1, 0x24, 1, bytes(4)), LENGTH),
        (_frame(2, 0, 1, bytes(4)), LENGTH),
        (_frame(3, 0, 1, bytes(5)), LENGTH),
        (_frame(4, 0, 0, bytes(5)), LENGTH),
        (_frame(4, 1, 0, bytes(6)), LENGTH),
        (_frame(6, 0, 0, bytes(7)), LENGTH),
        (_frame(8, 0, 0, bytes(3)), LENGTH),
        (_frame(1, 0x0C, 1, b"\x02\x88"), "invalid padding"),
        (headers(OK) + _frame(0, 8, 1, b"\x03ab"), "invalid padding"),
        (headers(OK) + _frame(0, 8, 1, b""), LENGTH),
        (_frame(2, 0, 1, b"\0\0\0\x01\0"), "depends on itself"),
        (_frame(1, 0x24, 1, b"\x80\0\0\x01\0\x88"), "depends on itself"),
        (_frame(8, 0, 0, bytes(4)), "invalid content"),
        (_frame(8, 0, 1, b"\x80\0\0\0"), "invalid content"),
        *(
            (_frame(4, 0, 0, bytes.fromhex(setting)), "a setting with an invalid value")
            for setting in (
                *("0002 00000001", "0002 00000002", "0004 80000000", "0005 00003fff"),
                *("0005 01000000", "0008 00000002"),
            )
        ),
        (headers([(":status", "103")], last=True), "an interim response that ends"),
        (headers(OK) + headers([("x", "y")]), "trailers that do not end"),
        (headers(OK) + headers(OK, last=True), "a pseudo-header in the trailers"),
        (headers([("x", "y"), *OK]), "a pseudo-header after other headers"),
        (headers([*OK, *OK]), "a duplicate pseudo-header"),
        (headers([*OK, (":path", "/")]), "request-only headers"),
        (headers([*OK, (":x", "/")]), "an unknown pseudo-header"),
        *(
            (headers([*OK, field]), problem)
            for field, problem in (
                (("", "x"), "a header without a name"),
                (("a b", "x"), "an illegal character"),
                (("a:b", "x"), "an illegal character"),
                (("\u00e4", "x"), "an illegal character"),
                (("x", "a\nb"), "an illegal character"),
                (("x", "a\rb"), "an illegal character"),
                (("x", "a\0b"), "an illegal character"),
                (("x", " a"), "surrounding whitespace"),
                (("x", "a\t"), "surrounding whitespace"),
                (("te", "gzip"), "a connection-specific header"),
                (("upgrade", "h2c"), "a connection-specific header"),
                (("content-length", ""), "an invalid content-length"),
                (("content-length", "-1"), "an invalid content-length"),
                (("content-length", "9" * 5000), "an invalid content-length"),
            )
        ),
        (
            headers([*OK, ("content-length", "1"), ("content-length", "2")]),
            "conflicting content lengths",
        ),
        (
            headers([*OK, ("content-length", "1")]) + data(b"ab"),
            "a body that does not match its content-length",
        ),
    ],
)
def test_a_violation_is_reported(frames: bytes, problem: str) -> None:
    with pytest.raises(ProbeFailure, match=f"not valid HTTP/2: .*{problem}"):
        events(settings() + frames)


def test_a_peer_that_ignores_the_window_is_refused() -> None:
    connection = ClientConnection(REQUEST, b"")
    connection.feed(settings() + headers(OK) + data(bytes(MAX_FRAME_SIZE)) * 4)
    found = connection.events()
    assert isinstance(next(found), Response)
    connection._receive_window = MAX_FRAME_SIZE - 1  # noqa: SLF001 - it is renewed by each part
    with pytest.raises(ProbeFailure, match="more data than the flow control window allows"):
        next(found)
