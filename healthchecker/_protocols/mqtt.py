"""mqtt:// and mqtts://: healthy if the broker accepts a client, or wants to know its credentials.

Source: MQTT 3.1.1, sections 2.2.3 (remaining length), 3.1 (CONNECT), 3.2 (CONNACK) and 3.14
(DISCONNECT).
"""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import CodecError, read_reply
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_FORM = "mqtt[s]://HOST"
_PROTOCOL = b"\0\x04MQTT\x04"
_CLEAN_SESSION, _PASSWORD, _USER = 0x02, 0x40, 0x80
_KEEP_ALIVE = b"\0\x0a"  # seconds
_CONNECT, _DISCONNECT = 0x10, b"\xe0\0"
_CONNACK = b"\x20\x02"
_SIZE = 4
_ACCEPTED, _UNAVAILABLE = 0, 3
_CREDENTIALS = (4, 5)
_MESSAGES = {
    1: "unacceptable protocol version",
    2: "client identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}


class MqttProber(StreamProber):
    """Connects with an empty client id, so that no other client is disconnected."""

    SCHEMES: ClassVar = {
        "mqtt": Scheme(_FORM, 1883, has_path=False),
        "mqtts": Scheme(_FORM, 8883, tls=True, has_path=False),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._logs_in = bool(target.user or target.password)
        self._request = encode_connect(target.user, target.password)

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(self._request)
        code = read_reply(stream, decode_connack)
        if code == _ACCEPTED:
            self._goodbye = _DISCONNECT
            return Healthy(None, "connection accepted")
        message = _MESSAGES[code]
        if code == _UNAVAILABLE:
            raise UnexpectedResponse(Reason.NOT_SERVING, message, code)
        if code in _CREDENTIALS and self._logs_in:
            raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, message, code)
        return Healthy(code, f"alive, connection refused: {message}")


def encode_connect(user: str, password: str) -> bytes:
    """Return CONNECT, with a user and a password unless both are empty."""
    flags = _CLEAN_SESSION
    fields = [b""]  # the client id
    if user or password:
        flags |= _USER
        fields.append(user.encode())
    if password:
        flags |= _PASSWORD
        fields.append(password.encode())
    payload = b"".join(len(field).to_bytes(2) + field for field in fields)
    body = _PROTOCOL + bytes([flags]) + _KEEP_ALIVE + payload
    return bytes([_CONNECT]) + _remaining_length(len(body)) + body


def _remaining_length(size: int) -> bytes:
    encoded = b""
    while size > 0x7F:  # noqa: PLR2004 - seven bits
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return encoded + bytes([size])


def decode_connack(data: bytes) -> int | None:
    """Return the return code of CONNACK; None if it is incomplete."""
    if not _CONNACK.startswith(data[: len(_CONNACK)]):
        raise CodecError("not an MQTT CONNACK")
    if len(data) < _SIZE:
        return None
    session_present, code = data[2:_SIZE]
    if session_present > 1 or code not in {_ACCEPTED, *_MESSAGES}:
        raise CodecError("not an MQTT CONNACK")
    return code
