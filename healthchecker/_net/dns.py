"""DNS messages as a pure codec (RFC 1035, RFC 3596): bytes in, values out, no I/O."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

TYPE_A = 1
TYPE_AAAA = 28

NOERROR = 0
NXDOMAIN = 3

_RCODES = {
    NOERROR: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
}

_CLASS_IN = 1
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!2HIH")
_QUESTION = struct.Struct("!2H")
_FLAG_RESPONSE = 0x8000
_FLAG_TRUNCATED = 0x0200
_FLAG_RECURSION_DESIRED = 0x0100
_MAX_LABEL = 63
_MAX_NAME = 255
_POINTER = 0xC0


class DnsMessageError(ValueError):
    """A malformed DNS message, or a name that does not fit into one."""


@dataclass(frozen=True, slots=True)
class Response:
    """The response to one question."""

    query_id: int
    question: bytes
    """Name, type and class of the question, in lower case: compare it with `question()`."""
    rcode: int
    truncated: bool
    addresses: tuple[str, ...]
    records: int = 0
    """The number of records of the type in question."""


def question(name: str, record_type: int) -> bytes:
    """Encode the question section for `name`."""
    if not name.isascii():
        raise DnsMessageError(f"not a valid host name: {name!r}")
    encoded = b""
    for label in name.removesuffix(".").lower().encode("ascii").split(b"."):
        if not 0 < len(label) <= _MAX_LABEL:
            raise DnsMessageError(f"not a valid host name: {name!r}")
        encoded += bytes([len(label)]) + label
    if len(encoded) >= _MAX_NAME:
        raise DnsMessageError(f"host name too long: {name!r}")
    return encoded + b"\0" + _QUESTION.pack(record_type, _CLASS_IN)


def rcode_name(rcode: int) -> str:
    """Return the name of a response code (RFC 1035, section 4.1.1), or its number."""
    return _RCODES.get(rcode, f"error {rcode}")


def is_name(text: str) -> bool:
    """Return whether a name can be looked up in DNS."""
    try:
        question(text, TYPE_A)
    except DnsMessageError:
        return False
    return True


def query(query_id: int, question: bytes) -> bytes:
    """Encode a recursive query for a `question()`."""
    return _HEADER.pack(query_id, _FLAG_RECURSION_DESIRED, 1, 0, 0, 0) + question


def parse(message: bytes) -> Response:
    """Decode a response; raise `DnsMessageError` if it is malformed."""
    try:
        return _parse(message)
    except (struct.error, IndexError) as error:
        raise DnsMessageError("truncated DNS message") from error


def _parse(message: bytes) -> Response:
    query_id, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    if not flags & _FLAG_RESPONSE or questions != 1:
        raise DnsMessageError("not a DNS response to one question")
    end = _skip_name(message, _HEADER.size) + _QUESTION.size
    question = message[_HEADER.size : end]
    record_type, _ = _QUESTION.unpack_from(message, end - _QUESTION.size)
    addresses = []
    records = 0
    position = end
    for _ in range(answers):
        position = _skip_name(message, position)
        kind, klass, _, length = _RECORD.unpack_from(message, position)
        position += _RECORD.size
        data = message[position : position + length]
        position += length
        if position > len(message):
            raise DnsMessageError("truncated DNS message")
        if kind == record_type and klass == _CLASS_IN:
            records += 1
            if kind == TYPE_A and len(data) == 4:  # noqa: PLR2004 - bytes of an IPv4 address
                addresses.append(socket.inet_ntop(socket.AF_INET, data))
            elif kind == TYPE_AAAA and len(data) == 16:  # noqa: PLR2004 - bytes of an IPv6 address
                addresses.append(socket.inet_ntop(socket.AF_INET6, data))
    return Response(
        query_id=query_id,
        question=question.lower(),
        rcode=flags & 0xF,
        truncated=bool(flags & _FLAG_TRUNCATED),
        addresses=tuple(addresses),
        records=records,
    )


def _skip_name(message: bytes, position: int) -> int:
    """Return the position after the name at `position`; a pointer ends a name."""
    while True:
        length = message[position]
        if length & _POINTER == _POINTER:
            return position + 2
        if length > _MAX_LABEL:
            raise DnsMessageError("reserved label type")
        position += 1 + length
        if length == 0:
            return position
