"""postgresql://: healthy if the server accepts connections.

Source: PostgreSQL's documentation, "Frontend/Backend Protocol": Start-up, Message Formats
(StartupMessage, the Authentication messages, ErrorResponse), Error and Notice Message Fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import CodecError, read_reply, shown_text
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_SCHEME = Scheme("postgresql://HOST", 5432, has_query=False)
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


class PostgresqlProber(StreamProber):
    """Begins to start a session, like `pg_isready`, and stops at the first reply.

    A server that wants a password, does not know the user or has no connections left accepts
    connections nevertheless. A password is never sent.
    """

    SCHEMES: ClassVar = {"postgresql": _SCHEME, "postgres": _SCHEME}

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        user = target.user or _DEFAULT_USER
        self._startup = encode_startup(user, target.path.removeprefix("/"))

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(self._startup)
        reply = read_reply(stream, decode_startup_reply)
        if reply.sqlstate is None:
            return Healthy(None, "accepts connections")
        # The error may contain the user name, which must not be shown.
        message = f"error {reply.sqlstate}" if self._target.user else reply.message
        if reply.sqlstate == _CANNOT_CONNECT_NOW:
            raise UnexpectedResponse(Reason.NOT_SERVING, message, reply.sqlstate)
        return Healthy(reply.sqlstate, f"accepts connections: {message}")


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
