"""ldap:// and ldaps://: healthy if the server replies to an anonymous bind.

No credentials are sent.

Source: RFC 4511, sections 4.1.1 (LDAPMessage), 4.1.9 (result codes), 4.2 (bind), 4.3 (unbind) and
4.4.1 (notice of disconnection).
"""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import (
    MAX_REPLY_BYTES,
    CodecError,
    read_reply,
    refused_tls,
    require_end,
)
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme

_FORM = "ldap[s]://HOST"
_ID = 1
BIND = bytes.fromhex("300c 020101 6007 020103 0400 8000")  # message 1: version 3, no name
_START_TLS_OID = b"1.3.6.1.4.1.1466.20037"  # RFC 4511, section 4.14
START_TLS = bytes.fromhex("301d 020101 7718 8016") + _START_TLS_OID
_UNBIND = bytes.fromhex("3005 020102 4200")

_SEQUENCE, _INTEGER, _ENUMERATED = 0x30, 0x02, 0x0A
_BIND_RESPONSE, _EXTENDED_RESPONSE = 0x61, 0x78
_LONG_FORM = 0x80
_SUCCESS = 0
_RESULTS = {
    8: "stronger authentication required",
    13: "confidentiality required",
    48: "inappropriate authentication",
    49: "invalid credentials",
    53: "unwilling to perform",
}
"""Of a server that is alive and does not allow an anonymous bind."""
_NOT_SERVING = {51: "busy", 52: "unavailable"}


class LdapProber(StreamProber):
    """Binds anonymously."""

    SCHEMES: ClassVar = {
        "ldap": Scheme(_FORM, 389, options=frozenset({"starttls"})),
        "ldaps": Scheme(_FORM, 636, tls=True),
    }

    def _start_tls(self, stream: Stream) -> None:
        stream.write(START_TLS)
        code = read_reply(stream, decode_extended_response)
        if code != _SUCCESS:
            raise refused_tls(f"result code {code}")

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(BIND)
        code = read_reply(stream, decode_bind_response)
        self._goodbye = _UNBIND
        if code == _SUCCESS:
            return Healthy(None, "anonymous bind accepted")
        if code in _RESULTS:
            return Healthy(code, f"alive: {_RESULTS[code]}")
        if code in _NOT_SERVING:
            raise UnexpectedResponse(Reason.NOT_SERVING, _NOT_SERVING[code], code)
        message = f"bind failed: result code {code}"
        raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, message, code)


def decode_bind_response(data: bytes) -> int | None:
    """Return the result code of a bind, or of a notice of disconnection; None if incomplete."""
    return _result_code(data, _BIND_RESPONSE)


def decode_extended_response(data: bytes) -> int | None:
    """Return the result code of StartTLS, which nothing follows; None if incomplete."""
    code = _result_code(data, _EXTENDED_RESPONSE)
    if code == _SUCCESS:
        content = _complete(data, _SEQUENCE)
        require_end(data, data.index(content) + len(content))
    return code


def _result_code(data: bytes, response: int) -> int | None:
    message = _element(data, _SEQUENCE, MAX_REPLY_BYTES)
    if message is None:
        return None
    number = _complete(message, _INTEGER)
    rest = message[2 + len(number) :]
    tag = rest[:1][0] if rest else 0
    if tag not in (response, _EXTENDED_RESPONSE):
        raise CodecError("not an LDAP response")
    code = _complete(_complete(rest, tag), _ENUMERATED)
    if len(code) != 1 or int.from_bytes(number) not in (0, _ID):
        raise CodecError("malformed LDAP response")
    return code[0]


def _complete(data: bytes, tag: int) -> bytes:
    content = _element(data, tag, len(data))
    if content is None:
        raise CodecError("malformed LDAP response")
    return content


def _element(data: bytes, tag: int, most: int) -> bytes | None:
    """Return the content of the first BER element; None if it is incomplete."""
    if data and data[0] != tag:
        raise CodecError("not an LDAP response")
    if len(data) < 2:  # noqa: PLR2004 - tag and length
        return None
    size, start = data[1], 2
    if size >= _LONG_FORM:
        start += size - _LONG_FORM
        if size == _LONG_FORM or start > 2 + 4:
            raise CodecError("malformed LDAP response")
        size = int.from_bytes(data[2:start])
    if len(data) >= start and start + size > most:
        raise CodecError("malformed LDAP response")
    content = data[start : start + size]
    return content if len(data) >= start and len(content) == size else None
