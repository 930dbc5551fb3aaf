"""postgresql://: healthy if the server accepts connections or, with a login, queries.

Source: PostgreSQL's documentation, "Frontend/Backend Protocol": Start-up, SASL Authentication, SSL
Session Encryption, Message Formats, Error and Notice Message Fields. SCRAM is in `scram.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5
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
from healthchecker._protocols.scram import Scram
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_SCHEME = Scheme(
    "postgresql://HOST",
    5432,
    has_query=False,
    options=frozenset({"starttls", "login", "role"}),
)
_DEFAULT_USER = "postgres"
"""Exists almost everywhere: the server logs an error for a user that does not."""

_CANNOT_CONNECT_NOW = "57P03"
"""The error of a server that is starting up, shutting down or recovering."""

_PROTOCOL = 3 << 16  # 3.0, which every server since 7.4 speaks
_AUTHENTICATION, _ERROR = b"R", b"E"
_HEADER = 5
# The lengths that libpq accepts, the length field included.
_LENGTHS = {_AUTHENTICATION: range(8, 2000), _ERROR: range(8, 30_000)}
_SQLSTATE, _MESSAGE = b"C", b"M"
_SQLSTATE_LENGTH = 5
_SSL_REQUEST = b"\0\0\0\x08" + (1234 << 16 | 5679).to_bytes(4)
_SSL_ACCEPTED = b"S"
_TERMINATE = b"X\0\0\0\x04"
_READY, _DATA_ROW, _PASSWORD, _QUERY = b"Z", b"D", b"p", b"Q"
_EMPTY_QUERY = b"\0"
_ROLE_QUERY = b"SELECT pg_catalog.pg_is_in_recovery()\0"
_OK, _CLEAR_TEXT, _MD5, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 3, 5, 10, 11, 12
_MAX_MESSAGES = 1000
_MECHANISM = b"SCRAM-SHA-256"


class PostgresqlProber(StreamProber):
    """Begins to start a session, like `pg_isready`, and stops at the first reply.

    A server that wants a password, does not know the user or has no connections left accepts
    connections nevertheless. A password is sent only with the option `login`; the session must
    then become ready for queries, and execute one.
    """

    SCHEMES: ClassVar = {"postgresql": _SCHEME, "postgres": _SCHEME}

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        require_login(target, options)
        user = target.user or _DEFAULT_USER
        self._startup = encode_startup(user, target.path.removeprefix("/"))

    def _start_tls(self, stream: Stream) -> None:
        stream.write(_SSL_REQUEST)
        reply = read_reply(stream, decode_ssl_reply)
        if reply != _SSL_ACCEPTED:
            raise refused_tls("TLS is not enabled")

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(self._startup)
        if self._options.login:
            return self._log_in(stream)
        reply = read_reply(stream, decode_startup_reply)
        if reply.sqlstate is None:
            return Healthy(None, "accepts connections")
        # The error may contain the user name, which must not be shown.
        message = f"error {reply.sqlstate}" if self._target.user else reply.message
        if reply.sqlstate == _CANNOT_CONNECT_NOW:
            raise UnexpectedResponse(Reason.NOT_SERVING, message, reply.sqlstate)
        return Healthy(reply.sqlstate, f"accepts connections: {message}")

    def _log_in(self, stream: Stream) -> Healthy:
        """Authenticate, and wait until the server is ready for a query."""
        session = _Session(stream, self._target)
        session.await_ready()
        if self._options.role is not None:
            require_role(self._options.role, session.role())
        else:  # PgBouncer lets clients log in without its database
            session.query(_EMPTY_QUERY)
        self._goodbye = _TERMINATE
        return Healthy(None, "ready for queries")


class _Session:
    """One login."""

    def __init__(self, stream: Stream, target: Target) -> None:
        self._stream = stream
        self._messages = Messages(stream)
        self._user, self._password = target.user, target.password
        self._reads_password = can_read_password(stream, target.endpoint)
        self._scram: Scram | None = None

    def await_ready(self) -> None:
        for _ in range(_MAX_MESSAGES):
            kind, body = self._next()
            if kind == _READY:
                return
            if kind == _AUTHENTICATION:
                self._authenticate(int.from_bytes(body[:4]), body[4:])
        raise ProbeFailure(Reason.INVALID_RESPONSE, "too many messages")

    def role(self) -> str:
        """Query the role of the server."""
        return "replica" if self.query(_ROLE_QUERY) == b"t" else "primary"

    def query(self, text: bytes) -> bytes:
        """Return the only column of the last row; empty if there is no row."""
        self._send(_QUERY, text)
        value = b""
        for _ in range(_MAX_MESSAGES):
            kind, body = self._next()
            if kind == _READY:
                return value
            if kind == _DATA_ROW:
                value = body[6:]
        raise ProbeFailure(Reason.INVALID_RESPONSE, "too many messages")

    def _next(self) -> tuple[bytes, bytes]:
        kind, body = self._messages.next(decode_message)
        if kind == _ERROR:
            try:
                error = _decode_error(body)
            except CodecError as failure:
                raise ProbeFailure(Reason.INVALID_RESPONSE, str(failure)) from failure
            message = error.message.replace(self._user, "...")
            raise UnexpectedResponse(Reason.NOT_SERVING, message, error.sqlstate)
        return kind, body

    def _send(self, kind: bytes, body: bytes) -> None:
        self._stream.write(kind + (4 + len(body)).to_bytes(4) + body)

    def _authenticate(self, method: int, data: bytes) -> None:
        if method == _OK:
            if self._scram is not None and not self._scram.is_verified:
                raise ProbeFailure(Reason.INVALID_RESPONSE, "the server skipped its own proof")
            return
        if method in (_CLEAR_TEXT, _MD5, _SASL) and not self._password:
            problem = "the server requires a password; put it into the TARGET"
            raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, problem)
        if method == _CLEAR_TEXT:
            if not self._reads_password:
                problem = "the server requires the password in clear text; use --starttls"
                raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, problem)
            self._send(_PASSWORD, self._password.encode() + b"\0")
        elif method == _MD5:
            self._send(_PASSWORD, md5_password(self._user, self._password, data[:4]) + b"\0")
        else:
            self._authenticate_by_sasl(method, data)

    def _authenticate_by_sasl(self, method: int, data: bytes) -> None:
        try:
            if method == _SASL and _MECHANISM in data.split(b"\0"):
                self._scram = Scram(self._password)
                first = self._scram.first_message()
                self._send(_PASSWORD, _MECHANISM + b"\0" + len(first).to_bytes(4) + first)
            elif method == _SASL_CONTINUE and self._scram is not None:
                self._send(_PASSWORD, self._scram.final_message(data))
            elif method == _SASL_FINAL and self._scram is not None:
                self._scram.verify(data)
            else:
                problem = f"unsupported authentication method {method}"
                raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, problem)
        except CodecError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    """Return the reply to AuthenticationMD5Password."""

    def digest(data: bytes) -> bytes:
        return md5(data, usedforsecurity=False).hexdigest().encode()

    return b"md5" + digest(digest((password + user).encode()) + salt)


def decode_ssl_reply(data: bytes) -> bytes:
    """Return the reply to SSLRequest, a byte that nothing may follow."""
    if data[:1] not in (_SSL_ACCEPTED, b"N", _ERROR):
        raise CodecError("not a PostgreSQL message")
    if data[:1] == _SSL_ACCEPTED:
        require_end(data, 1)
    return data[:1]


def decode_message(data: bytes) -> tuple[tuple[bytes, bytes], int] | None:
    """Return kind and body of the first message, with its size; None if it is incomplete."""
    if len(data) < _HEADER:
        return None
    length = int.from_bytes(data[1:_HEADER])
    if not 4 <= length <= MAX_REPLY_BYTES - 1:  # noqa: PLR2004 - of the length itself
        raise CodecError("not a PostgreSQL message")
    body = data[_HEADER : 1 + length]
    return ((data[:1], body), 1 + length) if len(data) > length else None


@dataclass(frozen=True, slots=True)
class StartupReply:
    """The reply to a StartupMessage."""

    sqlstate: str | None
    """The code of an error; None for an authentication request."""
    message: str = ""
    """The text of an error."""


def encode_startup(user: str, database: str) -> bytes:
    """Return a StartupMessage. With an empty `database` the server takes the user's name."""
    fields = [b"user", user.encode()]
    if database:
        fields += [b"database", database.encode()]
    body = _PROTOCOL.to_bytes(4) + b"".join(field + b"\0" for field in fields) + b"\0"
    return (4 + len(body)).to_bytes(4) + body


def decode_startup_reply(data: bytes) -> StartupReply | None:
    """Return the first message of a server; None if it is incomplete."""
    kind = data[:1]
    if kind and kind not in _LENGTHS:
        raise CodecError("not a PostgreSQL message")
    if len(data) < _HEADER:
        return None
    length = int.from_bytes(data[1:_HEADER])
    if length not in _LENGTHS[kind]:
        raise CodecError("not a PostgreSQL message")
    body = data[_HEADER : 1 + length]
    if len(body) < length - 4:
        return None
    if kind == _AUTHENTICATION:
        return StartupReply(None)
    return _decode_error(body)


def _decode_error(body: bytes) -> StartupReply:
    fields = {field[:1]: field[1:] for field in body.split(b"\0")}
    sqlstate = fields.get(_SQLSTATE, b"")
    if len(sqlstate) != _SQLSTATE_LENGTH or not sqlstate.isalnum():
        raise CodecError("a PostgreSQL error without an SQLSTATE")
    return StartupReply(sqlstate.decode("ascii"), shown_text(fields.get(_MESSAGE, b"")))
