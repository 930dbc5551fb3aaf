"""The start of a PostgreSQL session, as far as a health check goes. Pure: bytes in, values out.

Source: PostgreSQL's documentation, "Frontend/Backend Protocol": Start-up, Message Formats
(StartupMessage, the Authentication messages, ErrorResponse), Error and Notice Message Fields.
"""

from __future__ import annotations

from dataclasses import dataclass

from healthchecker._protocols.codec import CodecError, shown_text

CANNOT_CONNECT_NOW = "57P03"
"""The error of a server that is starting up, shutting down or recovering."""

_PROTOCOL = 3 << 16  # 3.0, which every server since 7.4 speaks
_AUTHENTICATION, _ERROR = b"R", b"E"
_HEADER = 5
# The lengths that libpq takes for possible, the length field included.
_LENGTHS = {_AUTHENTICATION: range(8, 2000), _ERROR: range(8, 30_000)}
_SQLSTATE, _MESSAGE = b"C", b"M"
_SQLSTATE_LENGTH = 5


@dataclass(frozen=True, slots=True)
class StartupAnswer:
    """What a server answers to a start-up packet."""

    sqlstate: str | None
    """The code of an error; None for an authentication request."""
    message: str = ""
    """The words of an error."""


def encode_startup(user: str, database: str) -> bytes:
    """Return a StartupMessage. An empty `database` is the one of the user's name."""
    fields = [b"user", user.encode()]
    if database:
        fields += [b"database", database.encode()]
    body = _PROTOCOL.to_bytes(4) + b"".join(field + b"\0" for field in fields) + b"\0"
    return (4 + len(body)).to_bytes(4) + body


def decode_startup_answer(data: bytes) -> StartupAnswer | None:
    """Return the first message of a server; None where it is not there as a whole."""
    kind = data[:1]
    if kind and kind not in _LENGTHS:
        raise CodecError("the answer is not PostgreSQL's")
    if len(data) < _HEADER:
        return None
    length = int.from_bytes(data[1:_HEADER])
    if length not in _LENGTHS[kind]:
        raise CodecError("the answer is not PostgreSQL's")
    body = data[_HEADER : 1 + length]
    if len(body) < length - 4:
        return None
    if kind == _AUTHENTICATION:
        return StartupAnswer(None)
    return _decode_error(body)


def _decode_error(body: bytes) -> StartupAnswer:
    fields = {field[:1]: field[1:] for field in body.split(b"\0")}
    sqlstate = fields.get(_SQLSTATE, b"")
    if len(sqlstate) != _SQLSTATE_LENGTH or not sqlstate.isalnum():
        raise CodecError("an error of PostgreSQL without a code")
    return StartupAnswer(sqlstate.decode("ascii"), shown_text(fields.get(_MESSAGE, b"")))
