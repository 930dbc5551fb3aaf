"""cassandra:// and cassandras://: healthy if the node replies to OPTIONS. No credentials are sent.

Source: CQL BINARY PROTOCOL v4, sections 2 (frame header), 4.1.3 (OPTIONS), 4.2.1 (ERROR) and
4.2.4 (SUPPORTED).
"""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import MAX_REPLY_BYTES, CodecError, read_reply, shown_text
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme

_FORM = "cassandra[s]://HOST"
OPTIONS = b"\x04\0\0\x01\x05\0\0\0\0"  # version 4, stream 1, no body
_RESPONSE = 0x80
_HEADER = 9
_LENGTH = slice(5, _HEADER)
_STREAM = slice(2, 4)
_ERROR, _SUPPORTED = 0, 6
_PROTOCOL_ERROR = 0x0A
_MESSAGE = 6  # where an error's text begins, after its code and length


class CassandraProber(StreamProber):
    """Requests the options that the native transport supports."""

    SCHEMES: ClassVar = {
        "cassandra": Scheme(_FORM, 9042, has_path=False),
        "cassandras": Scheme(_FORM, 9042, tls=True, has_path=False),
    }

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(OPTIONS)
        opcode, body = read_reply(stream, decode_frame)
        if opcode == _SUPPORTED:
            return Healthy(None, "OPTIONS are supported")
        code, message = int.from_bytes(body[:4]), shown_text(body[_MESSAGE:])
        if code == _PROTOCOL_ERROR:
            return Healthy(code, f"alive: {message}")
        raise UnexpectedResponse(Reason.NOT_SERVING, message, code)


def decode_frame(data: bytes) -> tuple[int, bytes] | None:
    """Return opcode and body of a SUPPORTED or ERROR frame; None if it is incomplete."""
    if data and not data[0] & _RESPONSE:
        raise CodecError("not a CQL response")
    if len(data) < _HEADER:
        return None
    opcode, size = data[4], int.from_bytes(data[_LENGTH])
    if opcode not in (_ERROR, _SUPPORTED) or size > MAX_REPLY_BYTES - _HEADER:
        raise CodecError("not a CQL response")
    if opcode == _ERROR and size < _MESSAGE:
        raise CodecError("malformed CQL error")
    body = data[_HEADER : _HEADER + size]
    return (opcode, body) if len(body) == size else None
