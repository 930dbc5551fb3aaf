"""Lets OpenSSL decode only those CA certificates of a large file that the peer's may come from.

It decodes every certificate that it loads. For the 145 of a distribution that takes three times as
many instructions as the rest of a check, and one of them is needed.

No verdict can differ, for three reasons. Only certificates that come with this program, so that
OpenSSL would accept them, are ever left out, and only of a file whose every line is understood: all
others are loaded before a handshake. OpenSSL looks in a store for nothing but names: those of the
subjects and issuers in the peer's chain, and of the issuers of what it has found; everything that
may have one of these names is loaded before it verifies the chain. If there is none, if two of them
have one name, or if the chain is not understood, OpenSSL gets the whole file, in its order.
"""

from __future__ import annotations

import binascii
import errno
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import certifi

from healthchecker._net.stream import os_message
from healthchecker._values.result import ProbeFailure, Reason

_BEGIN = b"-----BEGIN CERTIFICATE-----\n"
_END = b"\n-----END CERTIFICATE-----\n"
_LINE = 64  # characters of Base64 in each line but the last
_FEW = 8
"""So few certificates are loaded, rather than left out."""

# OpenSSL's callback for the messages of a handshake: private, but in all versions of CPython. It is
# that of the class in C, because the property of `SSLContext` makes enumerations of everything.
_MESSAGES: Any = vars(ssl.SSLContext.__mro__[1]).get("_msg_callback")
can_leave_out = _MESSAGES is not None and ssl.OPENSSL_VERSION.startswith("OpenSSL ")
"""False with libraries derived from OpenSSL, and on other implementations of Python."""

_HANDSHAKE = 22  # RFC 8446, appendix B.1
_CERTIFICATE = 11  # RFC 8446, section 4.4.2
_CERTIFICATES = (_CERTIFICATE, 25)  # the other is compressed: RFC 8879
_TLS_1_3 = 0x304

# Tags of DER: RFC 5280, section 4.1, and X.690.
_INTEGER, _OID, _SEQUENCE, _SET, _VERSION = 0x02, 0x06, 0x30, 0x31, 0xA0
_TEXTS = b"\x0c\x13\x14\x16\x1a"
"""UTF8String, PrintableString, TeletexString, IA5String, VisibleString: ASCII in all of them."""

_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_LOWER_CASE = bytes.maketrans(_LETTERS.upper(), _LETTERS)
_NOT_COMPARED = bytes({*range(256)} - {*_LETTERS, *_LETTERS.upper(), *b"0123456789"})


class NotUnderstood(ValueError):  # noqa: N818 - not an error: OpenSSL reads it
    """What only OpenSSL can read, or should."""


class LeftOut:
    """The certificates of a file, most of which OpenSSL has not decoded yet.

    It calls this for each message of a handshake. The context has a reference to this, and this
    none to the context: together they would stay until a garbage collection.
    """

    def __init__(self, data: bytes, make_context: Callable[[], ssl.SSLContext]) -> None:
        """Of a PEM file; `make_context` makes another context like that of the file.

        Raises `ValueError` or `IndexError` if OpenSSL must load the file.
        """
        self._make_context = make_context
        self._texts: list[bytes] = []
        self._by_name: dict[bytes, bytes] = {}
        self._repeated: set[bytes] = set()
        """Names of several certificates, whose order counts."""
        self._loaded: set[bytes] = set()
        """Names of certificates in the context."""
        self._whole: ssl.SSLContext | None = None
        """A context with the whole file, once it was needed."""
        self._error: BaseException | None = None
        others: list[tuple[bytes, bytes]] = []
        known = bundled()
        for text in _texts(data):
            name = known.get(hash(text))
            if name is None:
                certificate = _decoded(text)
                name = _names(certificate)[0]
                others.append((name, certificate))
                self._loaded.add(name)
            self._texts.append(text)
            if self._by_name.setdefault(name, text) != text:
                self._repeated.add(name)
        if len(self._by_name) - len(self._loaded) < _FEW:
            raise NotUnderstood("too few to leave them out")
        # OpenSSL compares certificates with one name. An extension that is not valid is an error
        # then, but not if it loads a file. Loaded twice, each of these is compared with itself.
        compared = [one for one in others if one[0] in self._repeated]
        self._others = b"".join(certificate for _, certificate in (*others, *compared))

    def trust(self, context: ssl.SSLContext) -> None:
        """Let a context trust the certificates.

        Raises `ssl.SSLError` if OpenSSL cannot load one: the context may hold others then.
        """
        if self._others:
            context.load_verify_locations(cadata=self._others)
        _MESSAGES.__set__(context, self)

    def raise_error(self) -> None:
        """Raise what went wrong in a handshake, as what OpenSSL calls cannot."""
        error, self._error = self._error, None
        if isinstance(error, Exception):  # the certificates are right
            raise ProbeFailure(Reason.OUT_OF_RESOURCES, os_message(errno.ENOMEM)) from error
        if error is not None:
            raise error

    def __call__(self, peer: ssl.SSLObject, direction: str, *details: Any) -> None:
        """See a message, before OpenSSL processes it."""
        version, kind, message, data = details
        try:
            if direction == "read" and kind == _HANDSHAKE and message in _CERTIFICATES:
                self._look(peer, message, version, data)
        except BaseException as error:  # noqa: BLE001 - `raise_error` raises it
            self._error = error

    def _look(self, peer: ssl.SSLObject, message: int, version: int, data: bytes) -> None:
        needed: set[bytes] = set()
        if message == _CERTIFICATE and self._whole is None:
            with suppress(IndexError, ValueError):
                needed = self._needed(_chain(data, version))
        if not needed or needed & self._repeated:
            if self._whole is None:
                whole = self._make_context()
                whole.load_verify_locations(cadata=_joined(self._texts))
                self._whole = whole
            peer.context = self._whole
        elif not needed <= self._loaded:
            found = [self._by_name[name] for name in needed - self._loaded]
            peer.context.load_verify_locations(cadata=_joined(found))
            self._loaded |= needed

    def _needed(self, chain: Iterator[bytes]) -> set[bytes]:
        """Return the names in the file for which OpenSSL may ask when it verifies a chain."""
        found: set[bytes] = set()
        names = {name for certificate in chain for name in _names(certificate)}
        while names := (names - found) & self._by_name.keys():
            found |= names
            names = {_names(_decoded(self._by_name[name]))[1] for name in names}
        return found


def bundled_file() -> bytes:
    """Return a PEM file with the bundled CA certificates."""
    contents = _contents()
    if isinstance(contents, str):
        return contents.encode()
    return b"".join(_BEGIN + text for text in contents)


@cache
def bundled() -> dict[int, bytes]:
    """Return the keys of the subjects of the bundled CA certificates, by the hashes of their texts.

    The texts are compressed in the executables, and it takes longer to unpack them than to hash
    those of a file. No hash makes a certificate trusted: OpenSSL loads the text in the file.
    """
    contents = _contents()
    texts = _texts(contents.encode()) if isinstance(contents, str) else _without_end(contents)
    return {hash(text): _names(_decoded(text))[0] for text in texts}


def _contents() -> str | tuple[bytes, ...]:
    """Return a PEM file; the executables have what follows each BEGIN line in it."""
    return certifi.contents()


def _without_end(parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield part.removesuffix(_END)


def _texts(data: bytes) -> list[bytes]:
    """Return the lines of Base64 of each certificate of a PEM file.

    Demands that OpenSSL skips the lines between two blocks, and sees the next one.
    """
    # `in` would first try each as a number.
    if data.find(b"\r") >= 0:
        data = data.replace(b"\r\n", b"\n")
    comment, *parts = data.split(_BEGIN)
    texts, comments = [], [comment]
    for part in parts:
        text, end, comment = part.partition(_END)
        if not end:
            raise NotUnderstood("a block without an end")
        texts.append(text)
        comments.append(comment)
    # With line breaks between them, none continues another.
    lines = b"\n".join(comments)
    if any(one and one[-1:] != b"\n" for one in comments) or lines.find(b"-----") >= 0:
        raise NotUnderstood("not a comment")
    if lines.find(b"\0") >= 0:
        raise NotUnderstood("not text")
    return texts


def _decoded(text: bytes) -> bytes:
    """Return a certificate in DER; `text` is its lines of Base64, without the last line break.

    Its lines must be as long as those of every tool, as OpenSSL is not consistent about others.
    """
    breaks = text[_LINE :: _LINE + 1]
    if not text.count(b"\n") == breaks.count(b"\n") == len(breaks) or text.endswith(b"\n"):
        raise NotUnderstood("lines of another length")
    text = text.replace(b"\n", b"")
    certificate = binascii.a2b_base64(text, strict_mode=True)
    # Before Python 3.13 that accepts more padding than there may be.
    if len(text) != (len(certificate) + 2) // 3 * 4:
        raise NotUnderstood("too much padding")
    return certificate


def _joined(texts: Iterable[bytes]) -> bytes:
    return b"".join(map(_decoded, texts))


def _chain(message: bytes, version: int) -> Iterator[bytes]:
    """Yield the certificates of a Certificate message."""
    at = 4  # its type and length
    if version >= _TLS_1_3:
        at += 1 + message[at]  # a context
    at += 3  # the length of the list
    while at < len(message):
        start = at + 3
        at = start + int.from_bytes(message[at:start])
        yield message[start:at]
        if version >= _TLS_1_3:
            at += 2 + int.from_bytes(message[at : at + 2])  # extensions
    if at != len(message):
        raise NotUnderstood("not the length of the message")


def _names(certificate: bytes) -> tuple[bytes, bytes]:
    """Return the keys of the subject and of the issuer of a certificate, in DER."""
    at, end = _element(certificate, 0, len(certificate), _SEQUENCE)
    if end != len(certificate):
        raise NotUnderstood("more than a certificate")
    at, end = _element(certificate, at, end, _SEQUENCE)
    if certificate[at] == _VERSION:
        _, at = _element(certificate, at, end, _VERSION)
    _, at = _element(certificate, at, end, _INTEGER)  # serial number
    _, at = _element(certificate, at, end, _SEQUENCE)  # algorithm
    issuer, at = _name(certificate, at, end)
    _, at = _element(certificate, at, end, _SEQUENCE)  # validity
    subject, _ = _name(certificate, at, end)
    return subject, issuer


def _name(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """Return a key of a name, and where it ends. Names that OpenSSL takes for equal have one key.

    It compares texts whatever their type and the case and blanks in them, so of each text the key
    has ASCII letters and digits.
    """
    at, end = _element(data, at, end, _SEQUENCE)
    texts = []
    while at < end:
        start, at = _element(data, at, end, _SET)
        start, stop = _element(data, start, at, _SEQUENCE)
        _, start = _element(data, start, stop, _OID)
        tag = data[start]
        start, last = _element(data, start, stop, tag)
        if stop != at or last != stop or tag not in _TEXTS:
            raise NotUnderstood("not a single text")
        texts.append(data[start:stop])
    return b"".join(texts).translate(_LOWER_CASE, _NOT_COMPARED), end


def _element(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Return where the content of an element of DER starts and ends, before `end`."""
    if data[at] != tag:
        raise NotUnderstood("another element")
    start, size = at + 2, data[at + 1]
    if size & 0x80:
        more = start + (size & 0x7F)
        if more == start:
            raise NotUnderstood("no length")
        size = int.from_bytes(data[start:more])
        start = more
    if start + size > end:
        raise NotUnderstood("too long")
    return start, start + size
