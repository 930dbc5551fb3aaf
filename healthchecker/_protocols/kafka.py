"""kafka:// and kafkas://: healthy if the broker replies to ApiVersions. No credentials are sent.

Source: Kafka's protocol guide: requests and responses, ApiVersions (key 18) version 0, which
needs no SASL login.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import MAX_REPLY_BYTES, CodecError, read_reply
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme

_FORM = "kafka[s]://HOST"
_API_VERSIONS, _VERSION = 18, 0
_CORRELATION = 0x68636B72
_CLIENT = b"healthchecker"
_BODY = struct.pack("!hhih", _API_VERSIONS, _VERSION, _CORRELATION, len(_CLIENT)) + _CLIENT
REQUEST = len(_BODY).to_bytes(4) + _BODY

_HEADER = struct.Struct("!iih")  # size, correlation id, error
_COUNT = struct.Struct("!i")
_API_SIZE = 6
_NO_ERROR, _UNSUPPORTED_VERSION = 0, 35


class KafkaProber(StreamProber):
    """Requests the versions of the broker's requests."""

    SCHEMES: ClassVar = {
        "kafka": Scheme(_FORM, 9092, has_path=False),
        "kafkas": Scheme(_FORM, 9092, tls=True, has_path=False),
    }

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(REQUEST)
        error, count = read_reply(stream, decode_api_versions)
        if error == _NO_ERROR:
            return Healthy(None, f"ApiVersions lists {count} APIs")
        if error == _UNSUPPORTED_VERSION:
            return Healthy(error, "alive, ApiVersions 0 is not supported")
        raise UnexpectedResponse(Reason.NOT_SERVING, f"ApiVersions failed: error {error}", error)


def decode_api_versions(data: bytes) -> tuple[int, int] | None:
    """Return the error and the number of APIs of a response; None if it is incomplete."""
    if len(data) < _HEADER.size:
        if not 0 <= int.from_bytes(data[:4].ljust(4, b"\0")) <= MAX_REPLY_BYTES:
            raise CodecError("not a Kafka response")
        return None
    size, correlation, error = _HEADER.unpack_from(data)
    if correlation != _CORRELATION or not _HEADER.size - 4 <= size <= MAX_REPLY_BYTES - 4:
        raise CodecError("not a Kafka response")
    body = data[_HEADER.size : 4 + size]
    if len(data) < 4 + size:
        return None
    if error != _NO_ERROR:
        return error, 0
    count = _COUNT.unpack_from(body)[0] if len(body) >= _COUNT.size else 0
    if count < 1 or len(body) != _COUNT.size + count * _API_SIZE:
        raise CodecError("malformed ApiVersions response")
    return error, count
