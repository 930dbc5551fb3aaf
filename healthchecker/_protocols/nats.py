"""nats://: healthy if the server sends INFO and replies to PING. No credentials are sent.

Source: NATS Client Protocol (INFO, CONNECT, PING and PONG, -ERR).
"""

from __future__ import annotations

import re
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._net.tls import TlsClient
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import CodecError, read_reply, shown_text
from healthchecker._values.options import TLS_OPTIONS, CheckOptions
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

PING = b'CONNECT {"verbose":false,"pedantic":false,"name":"healthchecker"}\r\nPING\r\n'

_LINE_END = b"\r\n"
_INFO, _PONG, _ERROR = b"INFO ", b"PONG", b"-ERR "
_SKIPPED = (_INFO, b"+OK", b"PING")
"""The server may send these at any time."""
_TLS_REQUIRED = re.compile(rb'"tls_required"\s*:\s*true')
_LAME_DUCK = re.compile(rb'"ldm"\s*:\s*true')
_ALIVE = (b"authorization violation", b"authentication")
"""The beginnings of errors of a server that requires a login, in lower case."""


class NatsProber(StreamProber):
    """Reads INFO, does the TLS handshake if INFO requires it, and sends PING."""

    SCHEMES: ClassVar = {
        "nats": Scheme("nats://HOST", 4222, has_path=False, options=TLS_OPTIONS),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._upgrade = self._read_info

    def _read_info(self, stream: Stream) -> TlsClient | None:
        info = read_reply(stream, decode_info)
        if _LAME_DUCK.search(info):
            raise UnexpectedResponse(Reason.NOT_SERVING, "the server is in lame duck mode")
        return self._tls_client() if _TLS_REQUIRED.search(info) else None

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(PING)
        reply = read_reply(stream, decode_pong)
        if reply == _PONG:
            return Healthy(None, "PONG")
        error = shown_text(reply)
        if reply.removeprefix(_ERROR).strip(b" '").lower().startswith(_ALIVE):
            return Healthy(error, "alive, authentication required")
        raise UnexpectedResponse(Reason.NOT_SERVING, error, error)


def decode_info(data: bytes) -> bytes | None:
    """Return the JSON text of INFO; None if it is incomplete."""
    line, end, _ = data.partition(_LINE_END)
    if not line.startswith(_INFO) and (end or not _INFO.startswith(line)):
        raise CodecError("not a NATS server")
    return line.removeprefix(_INFO) if end else None


def decode_pong(data: bytes) -> bytes | None:
    """Return the line of PONG or of an error; None if neither has arrived."""
    for line in data.split(_LINE_END)[:-1]:
        if line == _PONG or line.startswith(_ERROR):
            return line
        if not line.startswith(_SKIPPED):
            raise CodecError("not a NATS reply")
    return None
