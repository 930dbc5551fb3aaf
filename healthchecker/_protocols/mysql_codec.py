"""The first packets of a MySQL session, as far as a health check goes. Pure: bytes in, values out.

Source: MySQL's "Client/Server Protocol", Connection Phase (Protocol::HandshakeV10,
Protocol::HandshakeResponse41, ERR_Packet), and MariaDB's "Connecting".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from healthchecker._protocols.codec import MAX_REPLY_BYTES, CodecError, shown_text

NO_PASSWORD = b"\0\0\0\x03"
"""An empty packet, where the server wants to authenticate in another way than it said first."""

QUIT = b"\x01\0\0\0\x01"
"""The command that ends a session."""

_HEADER = 4
_PROTOCOL_10 = 10
_ERROR = 0xFF
_PROTOCOL_41, _SECURE_CONNECTION, _PLUGIN_AUTH = 0x200, 0x8000, 0x80000
_MAX_PACKET = 1 << 24
_UTF8 = 45
_PREFIX = b"5.5.5-"  # how MariaDB 10 keeps old replicas from taking it for MySQL 1
# What lies between the version and the name of the plugin in a greeting.
_CAPABILITIES_LOW, _CAPABILITIES_HIGH, _SCRAMBLE_LENGTH = 13, 18, 20
_FIXED = 31
_SCRAMBLE_FIRST, _SCRAMBLE_REST = 8, 13


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says to whoever connects."""

    error: int | None
    """The code of an error; None for a proper greeting."""
    words: str
    """The words of the error, or the version of the server."""
    plugin: bytes = b""
    """How it authenticates by default; empty where it does not say."""


class LoginReply(Enum):
    """What a server says to who wants to log in."""

    SESSION = "session"
    ANOTHER_WAY = "another way"
    """It would authenticate this user in another way, and waits for a proof of that kind."""
    REFUSED = "refused"


_LOGIN_REPLIES = {
    0x00: LoginReply.SESSION,
    0x01: LoginReply.ANOTHER_WAY,
    0xFE: LoginReply.ANOTHER_WAY,
    _ERROR: LoginReply.REFUSED,
}
_LOGIN_REPLY_NUMBERS = (2, 4)  # after ours, and after our next one


def decode_greeting(data: bytes) -> Greeting | None:
    """Return a server's first packet; None where it is not there as a whole."""
    if not b"\0\0".startswith(data[2:4]):  # short, and the first packet of the connection
        raise CodecError("the greeting is not MySQL's")
    body = _body(data)
    if body is None:
        return None
    if body[0] == _ERROR:
        return _decode_error(body)
    version, end, rest = body[1:].partition(b"\0")
    if body[0] != _PROTOCOL_10 or not end:
        raise CodecError("the greeting is not MySQL's")
    plugin = b""
    if _capabilities(rest) & _PLUGIN_AUTH:
        scramble = int.from_bytes(rest[_SCRAMBLE_LENGTH : _SCRAMBLE_LENGTH + 1])
        plugin = rest[_FIXED + max(_SCRAMBLE_REST, scramble - _SCRAMBLE_FIRST) :]
    return Greeting(None, shown_text(version.removeprefix(_PREFIX)), plugin.partition(b"\0")[0])


def encode_login(user: str, plugin: bytes) -> bytes:
    """Return the answer to a greeting: a user without a password."""
    capabilities = _PROTOCOL_41 | _SECURE_CONNECTION | (_PLUGIN_AUTH if plugin else 0)
    body = (
        capabilities.to_bytes(4, "little")
        + _MAX_PACKET.to_bytes(4, "little")
        + bytes([_UTF8])
        + bytes(23)
        + (user.encode() + b"\0")
        + b"\0"  # the length of what would prove a password
        + (plugin + b"\0" if plugin else b"")
    )
    return len(body).to_bytes(3, "little") + b"\x01" + body


def decode_login_reply(data: bytes) -> LoginReply | None:
    """Return what follows on a login; None where it is not there as a whole."""
    body = _body(data)
    if body is None:
        return None
    reply = _LOGIN_REPLIES.get(body[0])
    if reply is None or data[3] not in _LOGIN_REPLY_NUMBERS:
        raise CodecError("the answer is not MySQL's")
    return reply


def _body(data: bytes) -> bytes | None:
    if len(data) < _HEADER:
        return None
    length = int.from_bytes(data[:3], "little")
    if not 0 < length <= MAX_REPLY_BYTES - _HEADER:
        raise CodecError("the answer is not MySQL's")
    body = data[_HEADER : _HEADER + length]
    return body if len(body) == length else None


def _capabilities(rest: bytes) -> int:
    low = rest[_CAPABILITIES_LOW : _CAPABILITIES_LOW + 2]
    return int.from_bytes(low, "little") | (
        int.from_bytes(rest[_CAPABILITIES_HIGH : _CAPABILITIES_HIGH + 2], "little") << 16
    )


def _decode_error(body: bytes) -> Greeting:
    message = body[3:]
    if message[:1] == b"#":
        message = message[6:]  # an SQLSTATE
    return Greeting(int.from_bytes(body[1:3], "little"), shown_text(message))
