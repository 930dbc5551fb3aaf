"""The content codings of HTTP (RFC 9110, section 8.4.1) as a pure codec: bytes in, bytes out."""

from __future__ import annotations

import zlib

_GZIP = ("gzip", "x-gzip")
_DEFLATE = "deflate"
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_RAW = -zlib.MAX_WBITS


class ContentError(ValueError):
    """Bytes that are not in the coding that they are said to be in."""


def decode(coding: str, data: bytes, max_size: int, *, is_whole: bool = True) -> bytes:
    """Decode the start of a body, up to `max_size` bytes: a few kilobytes may hold a gigabyte.

    A coding that is not known is left as it is. `is_whole` tells whether `data` is all that there
    is, and so must come to its end.
    """
    name = coding.strip().lower()
    if name not in (*_GZIP, _DEFLATE) or not data:
        return data[:max_size]
    # What many servers mean by deflate is without the frame of zlib.
    for wbits in (_GZIP_OR_ZLIB, _RAW) if name == _DEFLATE else (_GZIP_OR_ZLIB,):
        try:
            return _inflate(data, wbits, max_size, is_whole=is_whole)
        except EOFError as error:
            raise ContentError(f"the {name} body is cut off") from error
        except zlib.error:
            continue
    raise ContentError(f"the body is not {name}")


def _inflate(data: bytes, wbits: int, max_size: int, *, is_whole: bool) -> bytes:
    """Decode all members, of which a body in gzip may have several (RFC 1952, section 2.2)."""
    decoded = b""
    while data and len(decoded) < max_size:
        decoder = zlib.decompressobj(wbits)
        decoded += decoder.decompress(data, max_size - len(decoded))
        if not decoder.eof:
            if is_whole and len(decoded) < max_size:
                raise EOFError
            break
        data = decoder.unused_data
    return decoded
