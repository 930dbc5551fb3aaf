"""The usual request and response of HTTP/1.1, which need no state machine.

A check with h11 takes a third more instructions. Whatever is in any way unusual is left to it, and
what is recognized here has the same meaning there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import httpx

from healthchecker._protocols.http.messages import Fields, Head, checked_head

# Possessive, so that no bytes of a peer make a search go back.
_NAME = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]++"
_VALUE = rb"[ \t!-~]*+"
_FIELD = re.compile(rb"(%b):(%b)\r\n" % (_NAME, _VALUE))
_HEAD = re.compile(
    rb"HTTP/1\.[01] ([2-5]\d\d)(?: %b)?\r\n((?:%b:%b\r\n)*+)\r\n" % (_VALUE, _NAME, _VALUE)
)
_REQUEST_LINE = re.compile(rb"[A-Z]++ [!-~]++ HTTP/1\.1\r\n")
_SENT_NAME = re.compile(_NAME)
_SENT_VALUE = re.compile(rb"[!-~]%b(?<![ \t])" % _VALUE)
_CONTENT_LENGTH = b"content-length"
_FRAMING = (_CONTENT_LENGTH, b"transfer-encoding")
_NO_CONTENT = (_CONTENT_LENGTH, b"0")
_LENGTH = re.compile(rb"\d{1,9}")
_OTHER_METHODS = ("HEAD", "CONNECT")
"""After these, the length in a response is not that of its content (RFC 9110, section 8.6)."""
_WITHOUT_CONTENT = (204, 304)


class Response(NamedTuple):
    """The head of a response, and of what follows it."""

    head: Head
    start: int
    """Where the content begins."""
    length: int
    """The length of the content, in bytes."""


def encode_request(request: httpx.Request) -> bytes | None:
    """Return the request, or None if h11 must look at it."""
    fields = request.headers.raw
    if request.content or request.method in _OTHER_METHODS or not _are_plain(fields):
        return None
    line = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
    if not _REQUEST_LINE.fullmatch(line):
        return None
    return b"".join([line, *[b"%b: %b\r\n" % field for field in fields], b"\r\n"])


def _are_plain(fields: Fields) -> bool:
    """Return whether these can be sent as they are. h11 sends `Host` first."""
    lower = [(name.lower(), value) for name, value in fields]
    framing = [field for field in lower if field[0] in _FRAMING]
    return (
        [index for index, (name, _) in enumerate(lower) if name == b"host"] == [0]
        and framing in ([], [_NO_CONTENT])
        and all(
            _SENT_NAME.fullmatch(name) and _SENT_VALUE.fullmatch(value) for name, value in fields
        )
    )


def read_response(data: bytes) -> Response | None:
    """Return a response whose head is complete, or None if h11 must look at it."""
    found = _HEAD.match(data)
    if found is None:
        return None
    status = int(found[1])
    fields = [(name, value.strip()) for name, value in _FIELD.findall(found[2])]
    framing = [field for field in fields if field[0].lower() in _FRAMING]
    if len(framing) != 1 or status in _WITHOUT_CONTENT:
        return None
    ((name, value),) = framing
    if name.lower() != _CONTENT_LENGTH or not _LENGTH.fullmatch(value):
        return None
    return Response(checked_head(status, fields), found.end(), int(value))
