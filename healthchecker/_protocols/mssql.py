"""mssql://: healthy if the server replies to PRELOGIN. No credentials are sent.

Source: [MS-TDS] 2.2.3.1 (packet header) and 2.2.6.5 (PRELOGIN), which needs no login.
"""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import CodecError, read_reply
from healthchecker._values.target import Scheme

_VERSION, _ENCRYPTION, _TERMINATOR = 0, 1, 0xFF
_NOT_SUPPORTED = 2
_TOKENS = bytes([_VERSION, 0, 11, 0, 6, _ENCRYPTION, 0, 17, 0, 1, _TERMINATOR])
_OPTIONS = _TOKENS + bytes(6) + bytes([_NOT_SUPPORTED])
PRELOGIN = bytes([0x12, 0x01, 0, 8 + len(_OPTIONS), 0, 0, 1, 0]) + _OPTIONS

_RESPONSE = b"\x04\x01"  # a reply in one packet
_HEADER = 8
_SIZE = slice(2, 4)
_TOKEN_SIZE = 5
_VERSION_SIZE = 4


class MssqlProber(StreamProber):
    """Begins a login, without encryption, and stops after the version."""

    SCHEMES: ClassVar = {"mssql": Scheme("mssql://HOST", 1433, has_query=False)}

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(PRELOGIN)
        return Healthy(None, f"server version {read_reply(stream, decode_prelogin)}")


def decode_prelogin(data: bytes) -> str | None:
    """Return the version in the reply to PRELOGIN; None if it is incomplete."""
    if not _RESPONSE.startswith(data[: len(_RESPONSE)]):
        raise CodecError("not a TDS reply")
    if len(data) < _HEADER:
        return None
    size = int.from_bytes(data[_SIZE])
    if size < _HEADER + _TOKEN_SIZE:
        raise CodecError("not a TDS reply")
    if len(data) < size:
        return None
    body = data[_HEADER:size]
    position = int.from_bytes(body[1:3])
    version = body[position : position + _VERSION_SIZE]
    if body[0] != _VERSION or len(version) < _VERSION_SIZE:
        raise CodecError("not a reply to PRELOGIN")
    major, minor, *build = version
    return f"{major}.{minor}.{int.from_bytes(build)}"
