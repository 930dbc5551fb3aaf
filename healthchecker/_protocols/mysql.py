"""mysql://, MySQL and MariaDB: healthy if the server greets its clients.

Source: MySQL's "Client/Server Protocol", Connection Phase (Protocol::HandshakeV10,
Protocol::HandshakeResponse41, ERR_Packet), and MariaDB's "Connecting".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import MAX_REPLY_BYTES, CodecError, read_reply, shown_text
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme

_DEFAULT_USER = "healthchecker"

_NO_PASSWORD = b"\0\0\0\x03"
"""An empty packet: the reply to an authentication switch request."""
_QUIT = b"\x01\0\0\0\x01"
"""The command that ends a session."""

_HEADER = 4
_PROTOCOL_10 = 10
_ERROR = 0xFF
_PROTOCOL_41, _SECURE_CONNECTION, _PLUGIN_AUTH = 0x200, 0x8000, 0x80000
_MAX_PACKET = 1 << 24
_UTF8 = 45
_PREFIX = b"5.5.5-"  # hides MariaDB 10 from old replicas, which would take it for MySQL 1
# The fields between the version and the plugin name in a greeting.
_CAPABILITIES_LOW, _CAPABILITIES_HIGH, _SCRAMBLE_LENGTH = 13, 18, 20
_FIXED = 31
_SCRAMBLE_FIRST, _SCRAMBLE_REST = 8, 13


class MysqlProber(StreamProber):
    """Reads the greeting, then logs in without a password and ends the session.

    That is the only way to disconnect that the server does not count as an error: after
    `max_connect_errors` connections dropped without a login it blocks the whole client host. Any
    reply to the login proves that the server is alive.
    """

    SCHEMES: ClassVar = {"mysql": Scheme("mysql://HOST", 3306, has_query=False)}

    def _exchange(self, stream: Stream) -> Healthy:
        greeting = read_reply(stream, decode_greeting)
        if greeting.error is not None:
            raise UnexpectedResponse(Reason.NOT_SERVING, greeting.text, greeting.error)
        stream.write(encode_login(self._target.user or _DEFAULT_USER, greeting.plugin))
        reply = read_reply(stream, decode_login_reply)
        if reply is LoginReply.SWITCH:
            stream.write(_NO_PASSWORD)
            reply = read_reply(stream, decode_login_reply)
        if reply is LoginReply.SESSION:
            self._goodbye = _QUIT
        return Healthy(None, f"server version {greeting.text}")


@dataclass(frozen=True, slots=True)
class Greeting:
    """A server's first packet."""

    error: int | None
    """The code of an error; None for a proper greeting."""
    text: str
    """The message of the error, or the version of the server."""
    plugin: bytes = b""
    """The default authentication plugin; empty if the server does not name one."""


class LoginReply(Enum):
    """The server's reply to a login attempt."""

    SESSION = "session"
    SWITCH = "switch"
    """The user has another authentication plugin, for which the server waits for a proof."""
    REFUSED = "refused"


_LOGIN_REPLIES = {
    0x00: LoginReply.SESSION,
    0x01: LoginReply.SWITCH,
    0xFE: LoginReply.SWITCH,
    _ERROR: LoginReply.REFUSED,
}
_LOGIN_REPLY_NUMBERS = (2, 4)  # after our first and our second packet


def decode_greeting(data: bytes) -> Greeting | None:
    """Return a server's first packet; None if it is incomplete."""
    if not b"\0\0".startswith(data[2:4]):  # short, and the first packet of the connection
        raise CodecError("not a MySQL greeting")
    body = _body(data)
    if body is None:
        return None
    if body[0] == _ERROR:
        return _decode_error(body)
    version, end, rest = body[1:].partition(b"\0")
    if body[0] != _PROTOCOL_10 or not end:
        raise CodecError("not a MySQL greeting")
    plugin = b""
    if _capabilities(rest) & _PLUGIN_AUTH:
        scramble = int.from_bytes(rest[_SCRAMBLE_LENGTH : _SCRAMBLE_LENGTH + 1])
        plugin = rest[_FIXED + max(_SCRAMBLE_REST, scramble - _SCRAMBLE_FIRST) :]
    return Greeting(None, shown_text(version.removeprefix(_PREFIX)), plugin.partition(b"\0")[0])


def encode_login(user: str, plugin: bytes) -> bytes:
    """Return the reply to a greeting: a user without a password."""
    capabilities = _PROTOCOL_41 | _SECURE_CONNECTION | (_PLUGIN_AUTH if plugin else 0)
    body = (
        capabilities.to_bytes(4, "little")
        + _MAX_PACKET.to_bytes(4, "little")
        + bytes([_UTF8])
        + bytes(23)
        + (user.encode() + b"\0")
        + b"\0"  # the length of the password's proof
        + (plugin + b"\0" if plugin else b"")
    )
    return len(body).to_bytes(3, "little") + b"\x01" + body


def decode_login_reply(data: bytes) -> LoginReply | None:
    """Return the reply to a login; None if it is incomplete."""
    body = _body(data)
    if body is None:
        return None
    reply = _LOGIN_REPLIES.get(body[0])
    if reply is None or data[3] not in _LOGIN_REPLY_NUMBERS:
        raise CodecError("not a MySQL packet")
    return reply


def _body(data: bytes) -> bytes | None:
    if len(data) < _HEADER:
        return None
    length = int.from_bytes(data[:3], "little")
    if not 0 < length <= MAX_REPLY_BYTES - _HEADER:
        raise CodecError("not a MySQL packet")
    body = data[_HEADER : _HEADER + length]
    return body if len(body) == length else None


def _capabilities(rest: bytes) -> int:
    low = rest[_CAPABILITIES_LOW : _CAPABILITIES_LOW + 2]
    high = rest[_CAPABILITIES_HIGH : _CAPABILITIES_HIGH + 2]
    return int.from_bytes(low, "little") | int.from_bytes(high, "little") << 16


def _decode_error(body: bytes) -> Greeting:
    message = body[3:]
    if message[:1] == b"#":
        message = message[6:]  # an SQLSTATE
    return Greeting(int.from_bytes(body[1:3], "little"), shown_text(message))
