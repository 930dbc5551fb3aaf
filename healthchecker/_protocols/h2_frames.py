"""Frames of HTTP/2 (RFC 9113, sections 4 and 6): cut out of a byte stream, taken apart, made."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from healthchecker._protocols.reply import CodecError

MAX_FRAME_SIZE = 16 * 1024
"""The longest frame payload that each side may send (the default of RFC 9113)."""
MAX_WINDOW = 2**31 - 1
"""The largest flow control window, in bytes."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0x00, 0x01, 0x02, 0x03, 0x04
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x05, 0x06, 0x07, 0x08, 0x09
"""Frame types."""

ACK = END_STREAM = 0x01
END_HEADERS, PADDED, HAS_PRIORITY = 0x04, 0x08, 0x20
"""Flags; the first one depends on the type."""

ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE = 0x2, 0x4, 0x6
"""Settings (RFC 9113, section 6.5.2)."""
_MAX_FRAME_SIZE, _ENABLE_CONNECT_PROTOCOL = 0x5, 0x8
_ACCEPTED = {
    ENABLE_PUSH: range(1),  # 1 is for clients
    INITIAL_WINDOW_SIZE: range(MAX_WINDOW + 1),
    _MAX_FRAME_SIZE: range(MAX_FRAME_SIZE, 2**24),
    _ENABLE_CONNECT_PROTOCOL: range(2),  # RFC 8441
}
"""The values that these settings may have."""

_HEADER_SIZE = 9
_MIN_GOAWAY = 8
_SETTING = struct.Struct("!HI")
_PRIORITY_SIZE = 5
_STREAM_IDS = 0x7FFFFFFF
"""Without the reserved bit."""


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Goaway(NamedTuple):
    """The content of a GOAWAY frame."""

    last_stream_id: int
    """The last stream that the peer has accepted."""
    code: int
    debug: bytes


class FrameReader:
    """Cuts a byte stream into HTTP/2 frames, header included. Iterate after each `feed`."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._knows_peer = False

    def feed(self, data: bytes) -> None:
        self._data += data

    def __iter__(self) -> Iterator[bytes]:
        """Yield the frames that are complete; raise `CodecError` for anything else than HTTP/2."""
        while len(self._data) >= _HEADER_SIZE:
            size = int.from_bytes(self._data[:3], "big")
            if not self._knows_peer:
                self._check_preface()
            if size > MAX_FRAME_SIZE:
                raise CodecError(f"frame too large: {size} bytes (limit {MAX_FRAME_SIZE})")
            end = _HEADER_SIZE + size
            if len(self._data) < end:
                return
            frame = bytes(self._data[:end])
            del self._data[:end]
            yield frame

    def _check_preface(self) -> None:
        """Check that a connection begins with SETTINGS (RFC 9113, section 3.4)."""
        if self._data.startswith(b"HTTP/"):
            raise CodecError("the peer speaks HTTP/1, not HTTP/2")
        if frame_type(self._data) != SETTINGS or self._data[0]:
            raise CodecError("the peer does not speak HTTP/2")
        self._knows_peer = True


def frame_type(frame: bytes | bytearray) -> int:
    return frame[3]


def frame_flags(frame: bytes) -> int:
    return frame[4]


def frame_stream_id(frame: bytes) -> int:
    """Return the number of the stream; that of the whole connection is 0."""
    return int.from_bytes(frame[5:9], "big") & _STREAM_IDS


def frame_payload(frame: bytes, size: int | None = None) -> bytes:
    """Return what follows the header; raise `CodecError` if it is not `size` bytes long."""
    payload = frame[_HEADER_SIZE:]
    if size is not None and len(payload) != size:
        raise invalid("a frame with an invalid length")
    return payload


def frame_content(frame: bytes) -> bytes:
    """Return the content of a DATA or HEADERS frame, without padding and priority."""
    flags, content = frame_flags(frame), frame[_HEADER_SIZE:]
    if flags & PADDED:
        if not content:
            raise invalid("a frame with an invalid length")
        padding = content[0]
        if padding >= len(content):
            raise invalid("a frame with invalid padding")
        content = content[1 : len(content) - padding]
    if flags & HAS_PRIORITY and frame_type(frame) == HEADERS:
        check_priority(content[:_PRIORITY_SIZE], frame_stream_id(frame))
        content = content[_PRIORITY_SIZE:]
    return content


def check_priority(priority: bytes, stream_id: int) -> None:
    """Check what a stream depends on (RFC 9113, section 5.3.1)."""
    if len(priority) != _PRIORITY_SIZE:
        raise invalid("a frame with an invalid length")
    if int.from_bytes(priority[:4], "big") & _STREAM_IDS == stream_id:
        raise invalid("a stream that depends on itself")


def decode_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield number and value of each setting; those of an unknown one may be anything."""
    if len(payload) % _SETTING.size:
        raise invalid("a frame with an invalid length")
    for kind, value in _SETTING.iter_unpack(payload):
        if kind in _ACCEPTED and value not in _ACCEPTED[kind]:
            raise invalid("a setting with an invalid value")
        yield kind, value


def decode_increment(payload: bytes) -> int:
    """Return by how much a WINDOW_UPDATE frame increases a window."""
    increment = int.from_bytes(payload, "big") & MAX_WINDOW
    if not increment:
        raise invalid("a frame with invalid content")
    return increment


def decode_goaway(frame: bytes) -> Goaway:
    body = frame[_HEADER_SIZE:]
    if len(body) < _MIN_GOAWAY:
        raise CodecError("truncated GOAWAY frame")
    last_stream_id = int.from_bytes(body[:4], "big") & _STREAM_IDS
    return Goaway(last_stream_id, int.from_bytes(body[4:8], "big"), body[8:])


def error_name(code: int) -> str:
    """Return the name of an HTTP/2 error code, or its number."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)


def encode_frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    size = len(payload).to_bytes(3, "big")
    return b"%b%c%c%b%b" % (size, kind, flags, stream_id.to_bytes(4, "big"), payload)


def encode_settings(settings: dict[int, int]) -> bytes:
    payload = b"".join(_SETTING.pack(kind, value) for kind, value in settings.items())
    return encode_frame(SETTINGS, 0, 0, payload)


def invalid(problem: str) -> CodecError:
    """Return the error for bytes that violate RFC 9113."""
    return CodecError(f"not valid HTTP/2: {problem}")
