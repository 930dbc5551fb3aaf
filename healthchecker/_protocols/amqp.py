"""amqp:// and amqps://: healthy if the broker starts the protocol. No credentials are sent.

Source: AMQP 0-9-1 specification, sections 2.2.4 (protocol header), 2.3.5 (frames) and 1.4.2.1
(Connection.Start).
"""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import MAX_REPLY_BYTES, CodecError, read_reply
from healthchecker._values.target import Scheme

_NAME = b"AMQP"
PROTOCOL_HEADER = _NAME + b"\0\0\x09\x01"

_FORM = "amqp[s]://HOST"
_METHOD_ON_CHANNEL_0 = b"\x01\0\0"
_SIZE = slice(3, 7)
_MIN_SIZE = 6  # of the method and the version
_CONNECTION_START = b"\0\x0a\0\x0a"
_FRAME_END = b"\xce"


class AmqpProber(StreamProber):
    """Sends the protocol header and waits for Connection.Start."""

    SCHEMES: ClassVar = {
        "amqp": Scheme(_FORM, 5672, has_query=False),
        "amqps": Scheme(_FORM, 5671, tls=True, has_query=False),
    }

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(PROTOCOL_HEADER)
        return Healthy(None, f"broker speaks AMQP {read_reply(stream, decode_start)}")


def decode_start(data: bytes) -> str | None:
    """Return the protocol version of a broker's Connection.Start; None if it is incomplete."""
    if data and _NAME.startswith(data[:4]):
        _refuse_header(data)
        return None
    if not _METHOD_ON_CHANNEL_0.startswith(data[:3]):
        raise CodecError("not an AMQP frame")
    if len(data) < _SIZE.stop:
        return None
    size = int.from_bytes(data[_SIZE])
    if not _MIN_SIZE <= size < MAX_REPLY_BYTES - _SIZE.stop:
        raise CodecError("not an AMQP frame")
    payload = data[_SIZE.stop : _SIZE.stop + size]
    end = data[_SIZE.stop + size :][:1]
    if not end:
        return None
    if not payload.startswith(_CONNECTION_START) or end != _FRAME_END:
        raise CodecError("expected Connection.Start, got another AMQP frame")
    major, minor = payload[4:6]
    return f"{major}-{minor}"


def _refuse_header(data: bytes) -> None:
    """Name the version in the protocol header, with which a broker refuses another version."""
    if len(data) >= len(PROTOCOL_HEADER):
        version = "-".join(map(str, data[5:8]))
        raise CodecError(f"expected AMQP 0-9-1, got {version}")
