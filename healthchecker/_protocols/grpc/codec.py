"""The bytes of gRPC health checking: grpc.health.v1 messages, gRPC's and HTTP/2's framing. No I/O.

Sources: grpc/health/v1/health.proto, the protocol buffers encoding, PROTOCOL-HTTP2.md of gRPC,
and RFC 9113, section 4.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from healthchecker._protocols.reply import CodecError

MAX_FRAME_SIZE = 16 * 1024
"""The longest HTTP/2 frame payload a peer may send (RFC 9113's SETTINGS_MAX_FRAME_SIZE)."""
MAX_SERVICES = 1000
"""How many services a List response may hold; health.proto tells servers to stop at 100."""

DATA = 0x00
"""The frame type that carries messages (RFC 9113, section 6.1)."""
GOAWAY = 0x07
"""The frame type that announces the end of a connection (RFC 9113, section 6.8)."""

SERVING_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""HealthCheckResponse.ServingStatus, by number."""

STATUS_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""gRPC's status codes, by number."""

_FRAME_HEADER = 9
_MESSAGE_HEADER = struct.Struct("!BI")
_GOAWAY_BODY = struct.Struct("!II")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_SHIFT = 63


class FrameReader:
    """Cuts a byte stream into HTTP/2 frames, so that each can be looked at by itself."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what was received; return the frames that are now whole, header included."""
        self._data += data
        while len(self._data) >= _FRAME_HEADER:
            size = int.from_bytes(self._data[:3], "big")
            if self._data.startswith(b"HTTP/"):
                raise CodecError("the peer speaks HTTP/1, not HTTP/2")
            if size > MAX_FRAME_SIZE:
                raise CodecError(f"not HTTP/2, or a frame of {size} bytes")
            end = _FRAME_HEADER + size
            if len(self._data) < end:
                return
            frame = bytes(self._data[:end])
            del self._data[:end]
            yield frame


def frame_type(frame: bytes) -> int:
    """Return the type of an HTTP/2 frame."""
    return frame[3]


def decode_goaway(frame: bytes) -> tuple[int, int, bytes]:
    """Return the last stream id, the error code and the debug data of a GOAWAY frame."""
    body = frame[_FRAME_HEADER:]
    if len(body) < _GOAWAY_BODY.size:
        raise CodecError("a GOAWAY frame that is too short")
    last_stream_id, error_code = _GOAWAY_BODY.unpack_from(body)
    return last_stream_id & 0x7FFFFFFF, error_code, body[_GOAWAY_BODY.size :]


class MessageReader:
    """Cuts the payload of DATA frames into gRPC messages (Length-Prefixed-Message)."""

    def __init__(self, max_size: int) -> None:
        self._data = bytearray()
        self._max_size = max_size

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what was received; return the messages that are now whole."""
        self._data += data
        while len(self._data) >= _MESSAGE_HEADER.size:
            compressed, size = _MESSAGE_HEADER.unpack_from(self._data)
            if compressed:
                raise CodecError("a compressed message, although none was asked for")
            if size > self._max_size:
                raise CodecError(f"a message of {size} bytes, more than {self._max_size}")
            end = _MESSAGE_HEADER.size + size
            if len(self._data) < end:
                return
            message = bytes(self._data[_MESSAGE_HEADER.size : end])
            del self._data[:end]
            yield message

    def finish(self) -> None:
        """Say that no more will come; half a message is a `CodecError`."""
        if self._data:
            raise CodecError("the message is cut off")


def encode_message(message: bytes) -> bytes:
    """Return a message as it stands in DATA frames, uncompressed."""
    return _MESSAGE_HEADER.pack(0, len(message)) + message


def encode_check_request(service: str) -> bytes:
    """Return a HealthCheckRequest; the empty name stands for the whole server."""
    name = service.encode()
    if not name:
        return b""  # proto3 leaves a field with its default value out
    return bytes((1 << 3 | _BYTES,)) + _encode_varint(len(name)) + name


def decode_check_response(message: bytes) -> str:
    """Return the serving status of a HealthCheckResponse: its name, or its number if it has none.

    As proto3 has it, a missing status is 0, UNKNOWN, and of several the last one counts.
    """
    status = 0
    for field, value in _fields(message):
        if field == 1 and isinstance(value, int):
            status = value & 0xFFFFFFFF
    return SERVING_STATUSES[status] if status < len(SERVING_STATUSES) else str(status)


def decode_list_response(message: bytes) -> dict[str, str]:
    """Return the serving status (as `decode_check_response`) of every service, by name."""
    statuses: dict[str, str] = {}
    for field, entry in _fields(message):
        if field != 1 or not isinstance(entry, bytes):
            continue
        name, response = b"", b""
        for part, value in _fields(entry):
            if part == 1 and isinstance(value, bytes):
                name = value
            elif part == 2 and isinstance(value, bytes):  # noqa: PLR2004 - StatusesEntry.value
                response += value  # a repeated message field is merged, and bytes merge like this
        try:
            statuses[name.decode()] = decode_check_response(response)
        except UnicodeDecodeError as error:
            raise CodecError("a service name that is not UTF-8") from error
        if len(statuses) > MAX_SERVICES:
            raise CodecError(f"more than {MAX_SERVICES} services")
    return statuses


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Return the number and the value of each field; the messages have none of a fixed size."""
    position = 0
    while position < len(message):
        key, position = _decode_varint(message, position)
        field, wire_type = key >> 3, key & 7
        if field == 0:
            raise CodecError("a message with a field number 0")
        if wire_type == _VARINT:
            number, position = _decode_varint(message, position)
            yield field, number
            continue
        if wire_type == _BYTES:
            size, position = _decode_varint(message, position)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise CodecError(f"a message with the wire type {wire_type}")
        end = position + size
        if end > len(message):
            raise CodecError("a message that ends inside a field")
        if wire_type == _BYTES:
            yield field, message[position:end]
        position = end


def _decode_varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - no continuation bit
            return number & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift > _MAX_VARINT_SHIFT:
            raise CodecError("a message with a number of more than 10 bytes")
    raise CodecError("a message that ends inside a number")


def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - more than seven bits
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
