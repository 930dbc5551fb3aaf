"""The first frame of an AMQP 0-9-1 broker. Pure: bytes in, values out.

Source: AMQP 0-9-1 specification, sections 2.2.4 (protocol header), 2.3.5 (frames) and 1.4.2.1
(Connection.Start).
"""

from __future__ import annotations

from healthchecker._protocols.codec import MAX_REPLY_BYTES, CodecError

_NAME = b"AMQP"
PROTOCOL_HEADER = _NAME + b"\0\0\x09\x01"

_METHOD_ON_CHANNEL_0 = b"\x01\0\0"
_SIZE = slice(3, 7)
_CONNECTION_START = b"\0\x0a\0\x0a"
_FRAME_END = b"\xce"
_LEAST_SIZE = 6  # of the method and the version


def decode_start(data: bytes) -> str | None:
    """Return the version that a broker starts to speak; None where its frame is not there yet."""
    if data and _NAME.startswith(data[:4]):
        _refuse_header(data)
        return None
    if not _METHOD_ON_CHANNEL_0.startswith(data[:3]):
        raise CodecError("the answer is not AMQP's")
    if len(data) < _SIZE.stop:
        return None
    size = int.from_bytes(data[_SIZE])
    if not _LEAST_SIZE <= size < MAX_REPLY_BYTES - _SIZE.stop:
        raise CodecError("the answer is not AMQP's")
    payload = data[_SIZE.stop : _SIZE.stop + size]
    end = data[_SIZE.stop + size :][:1]
    if not end:
        return None
    if not payload.startswith(_CONNECTION_START) or end != _FRAME_END:
        raise CodecError("the answer is not AMQP's Connection.Start")
    major, minor = payload[4:6]
    return f"{major}-{minor}"


def _refuse_header(data: bytes) -> None:
    """Name the version in the protocol header that a broker sends who wants another one."""
    if len(data) >= len(PROTOCOL_HEADER):
        version = "-".join(map(str, data[5:8]))
        raise CodecError(f"the broker does not speak AMQP 0-9-1 but {version}")
