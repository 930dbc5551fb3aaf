"""Lets OpenSSL decode only those CA certificates of a large file that the peer's may come from.

It decodes every certificate that it loads. For the 145 of a distribution that takes three times as
many instructions as the rest of a check, and one of them is needed.
"""

from __future__ import annotations

import binascii
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeAlias

_BEGIN, _END = b"-----BEGIN ", b"-----END "
_CERTIFICATE = b"CERTIFICATE-----MII"  # the start of every certificate of more than 255 bytes
_FEW = 8
"""Up to this many certificates are decoded immediately."""

# OpenSSL's callback for the messages of a handshake: private, but in all versions of CPython. It is
# that of the class in C, because the property of `SSLContext` makes enumerations of everything.
_MESSAGES = vars(ssl.SSLContext.__mro__[1]).get("_msg_callback")
_HANDSHAKE, _CHAIN = 22, 11  # RFC 8446, appendix B.1 and section 4.4.2
_TLS_1_3 = 0x304
_MAX_CHAIN = 10
_SHORTEST_NAME = 11  # with one attribute; the peer's may be anything
_VERSION_TAG = 0xA0
_FIELDS_BEFORE_ISSUER = 2  # serial number and algorithm: RFC 5280, section 4.1

Find: TypeAlias = Callable[[bytes], Iterator[bytes]]
"""Yields the certificates, in DER, that contain a part."""


def in_pem(data: bytes) -> Find | None:
    """Return how to find certificates in a PEM file.

    Returns None if there are few, or anything else: then OpenSSL must read the file.
    """
    text = data.replace(b"\n", b"").replace(b"\r", b"")
    parts = text.split(_BEGIN)
    usual = all(part.startswith(_CERTIFICATE) for part in parts[1:])
    if _MESSAGES is None or not usual or len(parts) <= _FEW:
        return None

    def find(part: bytes) -> Iterator[bytes]:
        # In Base64 a part has three forms. Characters that depend on bytes beside it are left out.
        for shift, dependent in enumerate((0, 2, 3)):
            size = (shift + len(part)) * 8 // 6
            encoded = binascii.b2a_base64(bytes(shift) + part)[dependent:size]
            at = text.find(encoded)
            while at >= 0:
                start = text.rfind(_CERTIFICATE, 0, at + len(_CERTIFICATE)) + len(
                    b"CERTIFICATE-----"
                )
                end = text.find(_END, at)
                yield binascii.a2b_base64(text[start:end])
                at = text.find(encoded, end)

    return find


def in_der(data: bytes) -> Find | None:
    """Return how to find certificates in a sequence of many in DER."""
    if _MESSAGES is None:
        return None
    certificates = []
    at = 0
    while at < len(data):
        _, end = _content(data, at)
        certificates.append(data[at:end])
        at = end
    return lambda part: (one for one in certificates if part in one)


def trust_issuers(context: ssl.SSLContext, find: Find) -> None:
    """Trust all certificates that can be found, from the first handshake on that may need them.

    Names are compared byte by byte, as RFC 5280, section 7.1 demands of an issuer's. OpenSSL is
    more lenient: if it finds no issuer, load all certificates.
    """
    loaded: set[bytes] = set()

    def look(_: object, way: str, version: int, kind: int, message: int, data: bytes) -> None:
        if message != _CHAIN or kind != _HANDSHAKE or way != "read":
            return
        with suppress(IndexError, MemoryError, OSError, ValueError):  # OpenSSL will report it
            found = _of_chain(find, list(_chain(data, version))) - loaded
            if found:
                context.load_verify_locations(cadata=b"".join(found))
                loaded.update(found)

    if _MESSAGES is not None:
        _MESSAGES.__set__(context, look)


def _of_chain(find: Find, chain: list[bytes]) -> set[bytes]:
    """Return the peer's own certificate if it can be found, the issuers, and theirs."""
    found = {one for one in find(chain[0]) if one == chain[0]}
    searched: set[bytes] = set()
    names = {_issuer(one) for one in chain}
    while names := {name for name in names if len(name) >= _SHORTEST_NAME}:
        searched |= names
        new = {one for name in names for one in find(name)} - found
        found |= new
        names = {_issuer(one) for one in new} - searched
    return found


def _chain(message: bytes, version: int) -> Iterator[bytes]:
    """Yield the first certificates of a Certificate message."""
    at = 4  # its type and length
    if version >= _TLS_1_3:
        at += 1 + message[at]  # a context
    at += 3  # the length of the list
    for _ in range(_MAX_CHAIN):
        if at >= len(message):
            break
        start = at + 3
        at = start + int.from_bytes(message[at:start])
        yield message[start:at]
        if version >= _TLS_1_3:
            at += 2 + int.from_bytes(message[at : at + 2])  # extensions


def _issuer(certificate: bytes) -> bytes:
    """Return the name of the issuer, with its tag and length."""
    at, _ = _content(certificate, _content(certificate, 0)[0])
    if certificate[at] == _VERSION_TAG:
        _, at = _content(certificate, at)
    for _ in range(_FIELDS_BEFORE_ISSUER):
        _, at = _content(certificate, at)
    _, end = _content(certificate, at)
    return certificate[at:end]


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of an element of DER starts and ends."""
    start, size = at + 2, data[at + 1]
    if size & 0x80:
        more = start + (size & 0x7F)
        size = int.from_bytes(data[start:more])
        start = more
    return start, start + size
