"""HTTP/2 frames, fed with bytes and compared with hyperframe. No I/O."""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, PingFrame, SettingsFrame

from healthchecker._protocols.h2_connection import (
    GOAWAY,
    MAX_FRAME_SIZE,
    MAX_IDLE_BYTES,
    ClientConnection,
    FrameReader,
    decode_goaway,
    error_name,
    frame_type,
)
from healthchecker._protocols.reply import CodecError

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
    _, frame = ClientConnection([(":method", "GET")], b"").bytes_to_send().split(PREFACE)
    sent, size = Frame.parse_frame_header(memoryview(frame[:9]))
    assert isinstance(sent, SettingsFrame)
    sent.parse_body(memoryview(frame[9 : 9 + size]))
    assert sent.settings == {
        SettingsFrame.ENABLE_PUSH: 0,
        SettingsFrame.MAX_HEADER_LIST_SIZE: MAX_IDLE_BYTES,
    }


@pytest.mark.parametrize(
    ("field", "block"),
    [
        ((":method", "POST"), "83"),  # RFC 7541, section 6.1
        (("user-agent", "me"), "0f2b 02 6d65"),  # 6.2.2
        (("x-token", "abc"), "00 07 782d746f6b656e 03 616263"),
        (("x-token", "b" * 127), "00 07 782d746f6b656e 7f00" + "62" * 127),
    ],
)
def test_headers_are_sent_by_the_static_table(field: tuple[str, str], block: str) -> None:
    sent = ClientConnection([field], b"").bytes_to_send()
    assert sent.endswith(bytes.fromhex(block))
