"""The content codings of HTTP (RFC 9110, section 8.4.1). Pure: bytes in, bytes out."""

from __future__ import annotations

import zlib
from typing import NamedTuple

MAX_CODINGS = 5
"""The most codings that are removed from one body; each may take as long as a body is."""
MAX_MEMBERS = 1000
"""The most members of a gzip body; an empty one of 20 bytes costs as much as 1 KiB of text."""

_GZIP = ("gzip", "x-gzip")
_DEFLATE = "deflate"
_IDENTITY = ("identity", "")
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_RAW = -zlib.MAX_WBITS
# zlib copies the rest of a block that it was given at the end of each member.
_BLOCK_BYTES = 4 * 1024
_MARGIN_BYTES = 1024


class ContentError(ValueError):
    """A body that is not in the coding that its header names."""


class Decoded(NamedTuple):
    """A body, or the start of one."""

    data: bytes
    is_whole: bool
    """Whether nothing follows `data`."""
    coding: str = ""
    """The coding in which `data` still is, if it is not known here, such as `br`."""


def decode(content_encoding: str, data: bytes, max_size: int, *, is_whole: bool = True) -> Decoded:
    """Decode the start of a body, up to `max_size` bytes: a few kilobytes may hold a gigabyte.

    `content_encoding` is the value of the header, whose codings were applied in its order.
    `is_whole` is whether `data` is the whole body, and so must be complete in its coding.
    """
    decoded = Decoded(data, is_whole)
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    codings = [coding for coding in codings if coding not in _IDENTITY]
    if len(codings) > MAX_CODINGS:
        raise ContentError(f"body with more than {MAX_CODINGS} content codings")
    while codings and decoded.data:
        coding = codings.pop()
        if coding not in (*_GZIP, _DEFLATE):
            decoded = Decoded(decoded.data, decoded.is_whole, coding)
            break
        # The encoded form may be longer than its content, but not by much.
        limit = 2 * max_size + _MARGIN_BYTES if codings else max_size
        decoded = _decode_one(coding, decoded, limit)
    if len(decoded.data) > max_size:
        return Decoded(decoded.data[:max_size], False, decoded.coding)
    return decoded


def _decode_one(name: str, coded: Decoded, max_size: int) -> Decoded:
    # Many servers send deflate without the zlib header.
    for wbits in (_GZIP_OR_ZLIB, _RAW) if name == _DEFLATE else (_GZIP_OR_ZLIB,):
        try:
            return _inflate(coded, wbits, max_size)
        except EOFError as error:
            raise ContentError(f"truncated {name} body") from error
        except zlib.error:
            continue
    raise ContentError(f"body is not valid {name}")


def _inflate(coded: Decoded, wbits: int, max_size: int) -> Decoded:
    """Decode all members; a gzip body may have several (RFC 1952, section 2.2)."""
    decoded = bytearray()
    rest = memoryview(coded.data)
    decoder = zlib.decompressobj(wbits)
    members = 1
    while rest and len(decoded) < max_size:
        if decoder.eof:
            decoder = zlib.decompressobj(wbits)
            members += 1
            if members > MAX_MEMBERS:
                raise ContentError(f"gzip body of more than {MAX_MEMBERS} members")
        block = rest[:_BLOCK_BYTES]
        decoded += decoder.decompress(block, max_size - len(decoded))
        left = len(decoder.unused_data) + len(decoder.unconsumed_tail)
        rest = rest[len(block) - left :]
    is_whole = coded.is_whole and decoder.eof and not rest
    if coded.is_whole and not decoder.eof and len(decoded) < max_size:
        raise EOFError
    return Decoded(bytes(decoded), is_whole)
