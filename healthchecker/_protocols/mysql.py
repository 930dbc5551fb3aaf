"""mysql://, MySQL and MariaDB: healthy if the server greets its clients, or accepts the login.

Source: MySQL's "Client/Server Protocol", Connection Phase (Protocol::HandshakeV10,
Protocol::SSLRequest, Protocol::HandshakeResponse41, AuthSwitchRequest, AuthMoreData, ERR_Packet;
mysql_native_password, caching_sha2_password), and MariaDB's "Connecting".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from hashlib import sha1, sha256
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import (
    Healthy,
    StreamProber,
    can_read_password,
    require_login,
    require_role,
)
from healthchecker._protocols.reply import (
    MAX_REPLY_BYTES,
    CodecError,
    Messages,
    read_reply,
    refused_tls,
    require_end,
    shown_text,
)
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_DEFAULT_USER = "healthchecker"

_QUIT = b"\x01\0\0\0\x01"
"""The command that ends a session."""

_HEADER = 4
_PROTOCOL_10 = 10
_ERROR = 0xFF
_CONNECT_WITH_DATABASE, _PROTOCOL_41, _SSL = 0x8, 0x200, 0x800
_SECURE_CONNECTION, _PLUGIN_AUTH = 0x8000, 0x80000
_SALT = 20
_SALT_START = 4
_NATIVE, _CACHING = b"mysql_native_password", b"caching_sha2_password"
_CLEAR_TEXT = b"mysql_clear_password"
_BY_SOCKET = (b"auth_socket", b"unix_socket")
_OK, _MORE_DATA, _AUTH_SWITCH = 0x00, 0x01, 0xFE
_FULL_AUTHENTICATION = b"\x04"
_MAX_ROUNDS = 10
_ROLE_QUERY = b"\x03SELECT @@global.read_only"
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
    reply to the login proves that the server is alive. With the option `login`, the password is
    sent as the server's plugin wants it, and the server has to accept it.
    """

    SCHEMES: ClassVar = {
        "mysql": Scheme(
            "mysql://HOST",
            3306,
            has_query=False,
            options=frozenset({"starttls", "login", "role"}),
        )
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        require_login(target, options)
        self._greeting: Greeting | None = None

    def _start_tls(self, stream: Stream) -> None:
        greeting = read_reply(stream, decode_greeting_alone)
        _require_greeting(greeting)
        if not greeting.offers_tls:
            raise refused_tls("TLS is not enabled")
        stream.write(encode_ssl_request())
        self._greeting = greeting

    def _exchange(self, stream: Stream) -> Healthy:
        greeting = self._greeting if self._options.starttls else None
        number = 1 if greeting is None else 2
        if greeting is None:
            greeting = read_reply(stream, decode_greeting)
            _require_greeting(greeting)
        if self._options.login:
            return self._log_in(stream, greeting, number)
        stream.write(encode_login(self._target.user or _DEFAULT_USER, greeting.plugin, number))
        decode = partial(decode_login_reply, first=number + 1)
        reply = read_reply(stream, decode)
        if reply is LoginReply.SWITCH:
            # An empty packet: the reply to an authentication switch request.
            stream.write(encode_packet(b"", number + 2))
            reply = read_reply(stream, decode)
        if reply is LoginReply.SESSION:
            self._goodbye = _QUIT
        return Healthy(None, f"server version {greeting.text}")

    def _log_in(self, stream: Stream, greeting: Greeting, number: int) -> Healthy:
        target = self._target
        plugin = greeting.plugin if greeting.plugin in _PROOFS else _NATIVE
        proof = _PROOFS[plugin](target.password.encode(), greeting.salt)
        database = target.path.removeprefix("/")
        stream.write(encode_login(target.user, plugin, number, proof, database))
        session = _Session(stream, target, plugin, greeting.salt)
        session.await_ok()
        if self._options.role is not None:
            require_role(self._options.role, session.role())
        self._goodbye = _QUIT
        return Healthy(None, f"logged in, server version {greeting.text}")


def _require_greeting(greeting: Greeting) -> None:
    if greeting.error is not None:
        raise UnexpectedResponse(Reason.NOT_SERVING, greeting.text, greeting.error)


class _Session:
    """One login, of which the first packet has been sent."""

    def __init__(self, stream: Stream, target: Target, plugin: bytes, salt: bytes) -> None:
        self._stream = stream
        self._messages = Messages(stream)
        self._user, self._password = target.user, target.password.encode()
        self._reads_password = can_read_password(stream, target.endpoint)
        self._plugin, self._salt = plugin, salt
        self._number = 0

    def await_ok(self) -> None:
        """Send the proofs that the server requires until it accepts the login."""
        for _ in range(_MAX_ROUNDS):
            body = self._next()
            if body[0] == _OK:
                return
            if body[0] == _AUTH_SWITCH:
                name, _, salt = body[1:].partition(b"\0")
                self._plugin, self._salt = name, salt[:_SALT]
                self._send(self._proof())
            elif body[0] == _MORE_DATA and self._plugin == _CACHING:
                if body[1:2] == _FULL_AUTHENTICATION:
                    self._send(self._clear_text())
            else:
                break
        raise ProbeFailure(Reason.INVALID_RESPONSE, "not a reply to a login")

    def role(self) -> str:
        """Query whether the server is read-only, as replicas are."""
        self._number = 0
        self._send(_ROLE_QUERY)
        for _ in range(4):  # the number of columns, a column, the end of columns, a row
            row = self._next()
        value = row[1 : 1 + row[0]]
        return "primary" if value in (b"0", b"OFF") else "replica"

    def _next(self) -> bytes:
        self._number, body = self._messages.next(decode_packet)
        if body[0] == _ERROR:
            error = _decode_error(body)
            message = error.text.replace(self._user, "...")
            raise UnexpectedResponse(Reason.NOT_SERVING, message, error.error)
        return body

    def _send(self, body: bytes) -> None:
        self._stream.write(encode_packet(body, self._number))
        self._number += 1

    def _proof(self) -> bytes:
        if self._plugin == _CLEAR_TEXT:
            return self._clear_text()
        if self._plugin in _PROOFS:
            return _PROOFS[self._plugin](self._password, self._salt)
        if self._plugin in _BY_SOCKET:
            return b""
        problem = f"unsupported authentication plugin {shown_text(self._plugin)}"
        raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, problem)

    def _clear_text(self) -> bytes:
        if not self._reads_password:
            problem = "the server requires the password in clear text; use --starttls"
            raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, problem)
        return self._password + b"\0"


def native_proof(password: bytes, salt: bytes) -> bytes:
    """Return the proof of mysql_native_password."""
    if not password:
        return b""

    def digest(data: bytes) -> bytes:
        return sha1(data, usedforsecurity=False).digest()

    hashed = digest(password)
    mask = digest(salt + digest(hashed))
    return bytes(a ^ b for a, b in zip(hashed, mask, strict=True))


def caching_proof(password: bytes, salt: bytes) -> bytes:
    """Return the proof of caching_sha2_password, which does if the server has the hash cached."""
    if not password:
        return b""
    hashed = sha256(password).digest()
    mask = sha256(sha256(hashed).digest() + salt).digest()
    return bytes(a ^ b for a, b in zip(hashed, mask, strict=True))


_PROOFS = {_NATIVE: native_proof, _CACHING: caching_proof}


@dataclass(frozen=True, slots=True)
class Greeting:
    """A server's first packet."""

    error: int | None
    """The code of an error; None for a proper greeting."""
    text: str
    """The message of the error, or the version of the server."""
    plugin: bytes = b""
    """The default authentication plugin; empty if the server does not name one."""
    salt: bytes = b""
    """What a proof of the password depends on."""
    offers_tls: bool = False


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
    first = rest[_SALT_START : _SALT_START + _SCRAMBLE_FIRST]
    return Greeting(
        None,
        shown_text(version.removeprefix(_PREFIX)),
        plugin.partition(b"\0")[0],
        first + rest[_FIXED : _FIXED + _SALT - _SCRAMBLE_FIRST],
        bool(_capabilities(rest) & _SSL),
    )


def decode_greeting_alone(data: bytes) -> Greeting | None:
    """Return a server's first packet, which nothing follows; None if it is incomplete."""
    greeting = decode_greeting(data)
    if greeting is not None:
        require_end(data, _HEADER + int.from_bytes(data[:3], "little"))
    return greeting


def encode_packet(body: bytes, number: int) -> bytes:
    """Return a packet."""
    return len(body).to_bytes(3, "little") + bytes([number & 0xFF]) + body


def decode_packet(data: bytes) -> tuple[tuple[int, bytes], int] | None:
    """Return the number that follows that of the first packet, and its body; with its size."""
    body = _body(data)
    return None if body is None else ((data[3] + 1, body), _HEADER + len(body))


def encode_ssl_request() -> bytes:
    """Return the packet that switches to TLS."""
    capabilities = _PROTOCOL_41 | _SECURE_CONNECTION | _SSL
    return encode_packet(_login_start(capabilities), 1)


def _login_start(capabilities: int) -> bytes:
    return (
        capabilities.to_bytes(4, "little")
        + _MAX_PACKET.to_bytes(4, "little")
        + bytes([_UTF8])
        + bytes(23)
    )


def encode_login(
    user: str, plugin: bytes, number: int = 1, proof: bytes = b"", database: str = ""
) -> bytes:
    """Return the reply to a greeting: a user, without a password unless there is a `proof`."""
    capabilities = _PROTOCOL_41 | _SECURE_CONNECTION | (_PLUGIN_AUTH if plugin else 0)
    if number > 1:  # under TLS
        capabilities |= _SSL
    if database:
        capabilities |= _CONNECT_WITH_DATABASE
    body = (
        _login_start(capabilities)
        + (user.encode() + b"\0")
        + (bytes([len(proof)]) + proof)
        + (database.encode() + b"\0" if database else b"")
        + (plugin + b"\0" if plugin else b"")
    )
    return encode_packet(body, number)


def decode_login_reply(data: bytes, first: int = 2) -> LoginReply | None:
    """Return the reply to a login, whose number is `first`, or two more after a second packet.

    None if it is incomplete.
    """
    body = _body(data)
    if body is None:
        return None
    reply = _LOGIN_REPLIES.get(body[0])
    if reply is None or data[3] not in (first, first + 2):
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
