"""The rules for the header fields of HTTP/2 (RFC 9113, sections 8.1 to 8.3)."""

from __future__ import annotations

import re

from healthchecker._protocols.h2_coding import Fields
from healthchecker._protocols.h2_frames import invalid

_STATUS = b":status"
_CONTENT_LENGTH = b"content-length"
_MAX_DIGITS = 18
_OF_REQUESTS = (b":method", b":scheme", b":authority", b":path", b":protocol")
_CONNECTION_SPECIFIC = (
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
)
_TE, _TRAILERS = b"te", b"trailers"
_NAME = re.compile(rb":?[!-9;-@\[-~]+")
_UPPERCASE = re.compile(rb"[A-Z]")
_NOT_IN_VALUES = re.compile(rb"[\0\r\n]")
_SPACE = b" \t"
_STATUS_CODE = re.compile(rb"[1-9]\d\d")
_SWITCHING_PROTOCOLS = b"101"
_MAX_STATUS_SHOWN = 20


def check_response(fields: Fields) -> bytes:
    """Check the fields of a response, also of an interim one; return the status, three digits."""
    is_after_pseudo = False
    status = None
    for name, value in fields:
        _check_field(name, value)
        if name[:1] != b":":
            is_after_pseudo = True
        elif name in _OF_REQUESTS:
            raise invalid("request-only headers in a response")
        elif name != _STATUS:
            raise invalid("an unknown pseudo-header")
        elif status is not None:
            raise invalid("a duplicate pseudo-header")
        elif is_after_pseudo:
            raise invalid("a pseudo-header after other headers")
        else:
            status = value
    if status is None:
        raise invalid("a response without a status")
    if not _STATUS_CODE.fullmatch(status):
        text = status[:_MAX_STATUS_SHOWN].decode("ascii", "replace")
        raise invalid(f"expected a :status from 100 to 999, got {text!r}")
    if status == _SWITCHING_PROTOCOLS:
        raise invalid("status 101, which HTTP/2 does not have")
    return status


def check_trailers(fields: Fields) -> None:
    for name, value in fields:
        _check_field(name, value)
        if name[:1] == b":":
            raise invalid("a pseudo-header in the trailers")


def _check_field(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        if not name:
            raise invalid("a header without a name")
        if _UPPERCASE.search(name):
            raise invalid("an uppercase header name")
        raise invalid("a header with an illegal character")
    if _NOT_IN_VALUES.search(value):
        raise invalid("a header with an illegal character")
    if value != value.strip(_SPACE):
        raise invalid("a header value with surrounding whitespace")
    if is_connection_specific(name, value):
        raise invalid("a connection-specific header")


def is_connection_specific(name: bytes, value: bytes) -> bool:
    """Return whether HTTP/2 does not have this field (RFC 9113, section 8.2.2)."""
    return name in _CONNECTION_SPECIFIC or (name == _TE and value.lower() != _TRAILERS)


def content_length(fields: Fields) -> int | None:
    """Return the length of the content in bytes, if the fields say it."""
    found = {value for name, value in fields if name == _CONTENT_LENGTH}
    if not all(value.isdigit() and len(value) <= _MAX_DIGITS for value in found):
        raise invalid("an invalid content-length")
    lengths = {int(value) for value in found}
    if len(lengths) > 1:
        raise invalid("conflicting content lengths")
    return lengths.pop() if lengths else None
