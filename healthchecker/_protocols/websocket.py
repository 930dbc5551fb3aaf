"""ws:// and wss://: healthy if the WebSocket handshake succeeds.

Source: RFC 6455, sections 1.3 and 4.1 (handshake) and 5.5.1 (close).
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from hashlib import sha1
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import CodecError, read_reply
from healthchecker._values.options import CheckOptions, basic_authorization
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_OPTIONS = frozenset({"headers", "basic_auth"})
_SWITCHING_PROTOCOLS = 101
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE = b"\x88\x82"  # the last frame of a message, masked, of two bytes
_NORMAL_CLOSURE = 1000
_MASK_BYTES = 4
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
_STATUS_START = b"HTTP/1."
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_ACCEPT = re.compile(rb"(?im)^sec-websocket-accept:[ \t]*([^\s]*)[ \t]*\r?$")


class WebSocketProber(StreamProber):
    """Sends the opening handshake, and the closing one if it was accepted."""

    SCHEMES: ClassVar = {
        "ws": Scheme("ws[s]://HOST", 80, options=_OPTIONS),
        "wss": Scheme("ws[s]://HOST", 443, tls=True, options=_OPTIONS),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        headers = {"Host": target.url.netloc.decode("ascii"), "User-Agent": "healthchecker"}
        auth = options.basic_auth or target.basic_auth
        if auth is not None:
            headers["Authorization"] = basic_authorization(auth)
        for name, _ in options.headers:
            headers.pop(name.title(), None)
        self._head = "".join(
            f"{name}: {value}\r\n" for name, value in (*headers.items(), *options.headers)
        )

    def _exchange(self, stream: Stream) -> Healthy:
        key = b64encode(os.urandom(16))
        stream.write(self._request(key))
        status, accept = read_reply(stream, decode_response)
        if status != _SWITCHING_PROTOCOLS:
            problem = f"HTTP status {status}, expected {_SWITCHING_PROTOCOLS}"
            raise UnexpectedResponse(Reason.UNEXPECTED_STATUS, problem, status)
        if accept != accept_of(key):
            raise ProbeFailure(Reason.INVALID_RESPONSE, "wrong Sec-WebSocket-Accept", status)
        mask = os.urandom(_MASK_BYTES)
        code = _NORMAL_CLOSURE.to_bytes(2)
        self._goodbye = _CLOSE + mask + bytes(a ^ b for a, b in zip(code, mask, strict=False))
        return Healthy(status, "WebSocket handshake accepted")

    def _request(self, key: bytes) -> bytes:
        return (
            b"GET %s HTTP/1.1\r\n%sUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
            % (self._target.url.raw_path, self._head.encode("utf-8", "surrogateescape"), key)
        )


def accept_of(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept for a key."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def decode_response(data: bytes) -> tuple[int, bytes] | None:
    """Return the status and Sec-WebSocket-Accept of a response head; None if it is incomplete."""
    if not (data.startswith(_STATUS_START) or _STATUS_START.startswith(data)):
        raise CodecError("not an HTTP/1 response")
    line = _STATUS_LINE.match(data)
    if line is None:
        if b"\n" in data:
            raise CodecError("not an HTTP/1 response")
        return None
    end = _HEAD_END.search(data)
    if end is None:
        return None
    accept = _ACCEPT.search(data, 0, end.start() + 2)
    return int(line[1]), accept[1] if accept else b""
