"""The messages of grpc.health.v1 and their framing in DATA frames. Pure: bytes in, values out.

Sources: grpc/health/v1/health.proto, the protocol buffers encoding, PROTOCOL-HTTP2.md of gRPC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from healthchecker._protocols.reply import CodecError

MAX_SERVICES = 1000
"""The most services in a List response; health.proto limits servers to 100."""

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
"""gRPC status codes, by number."""

_MESSAGE_HEADER = struct.Struct("!BI")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_SHIFT = 63


class MessageReader:
    """Cuts the payload of DATA frames into gRPC messages (Length-Prefixed-Message)."""

    def __init__(self, max_size: int) -> None:
        self._data = bytearray()
        self._max_size = max_size

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield the messages that are complete."""
        self._data += data
        while len(self._data) >= _MESSAGE_HEADER.size:
            compressed, size = _MESSAGE_HEADER.unpack_from(self._data)
            if compressed:
                raise CodecError("unexpected compressed message")
            if size > self._max_size:
                raise CodecError(f"message too large: {size} bytes (limit {self._max_size})")
            end = _MESSAGE_HEADER.size + size
            if len(self._data) < end:
                return
            message = bytes(self._data[_MESSAGE_HEADER.size : end])
            del self._data[:end]
            yield message

    def finish(self) -> None:
        """Raise `CodecError` if the last message is incomplete. For the end of the stream."""
        if self._data:
            raise CodecError("truncated message")


def encode_message(message: bytes) -> bytes:
    """Return a message as it is in DATA frames, uncompressed."""
    return _MESSAGE_HEADER.pack(0, len(message)) + message


def encode_check_request(service: str) -> bytes:
    """Return a HealthCheckRequest; the empty name means the whole server."""
    name = service.encode()
    if not name:
        return b""  # proto3 omits a field with its default value
    return bytes((1 << 3 | _BYTES,)) + _encode_varint(len(name)) + name


def decode_check_response(message: bytes) -> str:
    """Return the serving status of a HealthCheckResponse: its name, or an unnamed one's number.

    As in proto3, a missing status is 0 (UNKNOWN), and the last of several counts.
    """
    status = 0
    for field, value in _fields(message):
        if field == 1 and isinstance(value, int):
            status = value & 0xFFFFFFFF
    return SERVING_STATUSES[status] if status < len(SERVING_STATUSES) else str(status)


def decode_list_response(message: bytes) -> dict[str, str]:
    """Return the serving status (see `decode_check_response`) of every service, by name."""
    statuses: dict[str, str] = {}
    for field, entry in _fields(message):
        if field != 1 or not isinstance(entry, bytes):
            continue
        name, response = b"", b""
        for part, value in _fields(entry):
            if part == 1 and isinstance(value, bytes):
                name = value
            elif part == 2 and isinstance(value, bytes):  # noqa: PLR2004 - StatusesEntry.value
                response += value  # merges repeated message fields
        try:
            statuses[name.decode()] = decode_check_response(response)
        except UnicodeDecodeError as error:
            raise CodecError("service name is not valid UTF-8") from error
        if len(statuses) > MAX_SERVICES:
            raise CodecError(f"more than {MAX_SERVICES} services")
    return statuses


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field; fields of a fixed size are skipped."""
    position = 0
    while position < len(message):
        key, position = _decode_varint(message, position)
        field, wire_type = key >> 3, key & 7
        if field == 0:
            raise CodecError("malformed message: field number 0")
        if wire_type == _VARINT:
            number, position = _decode_varint(message, position)
            yield field, number
            continue
        if wire_type == _BYTES:
            size, position = _decode_varint(message, position)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise CodecError(f"malformed message: unknown wire type {wire_type}")
        end = position + size
        if end > len(message):
            raise CodecError("malformed message: truncated field")
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
            raise CodecError("malformed message: varint longer than 10 bytes")
    raise CodecError("malformed message: truncated varint")


def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - more than seven bits
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
