"""One reply of a peer: bytes are read until a decode function recognizes them.

Decode functions are pure. They get all bytes received so far and return a value, return None if
the reply is incomplete, or raise `CodecError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from healthchecker._net.stream import Stream
from healthchecker._values.result import ProbeFailure, Reason

T = TypeVar("T")

MAX_REPLY_BYTES = 64 * 1024
"""No reply that a check waits for is nearly as long."""

SHORTEST_SECRET = 4
"""Shorter runs of what was sent are shown: they appear in any reply."""

_MAX_SHOWN = 200
_SPACE = 0x20


class CodecError(ValueError):
    """Bytes that violate the protocol; the message is for users."""


def read_reply(stream: Stream, decode: Callable[[bytes], T | None]) -> T:
    """Read until `decode` returns a value, and return it; what follows the reply is dropped.

    A reply that is malformed, too long or cut off is a `ProbeFailure`.
    """
    data = b""
    while True:
        more = stream.read(MAX_REPLY_BYTES - len(data))
        if not more:
            when = "in the middle of the reply" if data else "before any reply"
            raise ProbeFailure(Reason.INVALID_RESPONSE, f"connection closed {when}")
        data += more
        try:
            reply = decode(data)
        except CodecError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error
        if reply is not None:
            return reply
        if len(data) >= MAX_REPLY_BYTES:
            raise ProbeFailure(
                Reason.INVALID_RESPONSE, f"reply longer than {MAX_REPLY_BYTES} bytes"
            )


class Messages:
    """The messages of a peer that sends several at a time; what follows one is kept."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._data = b""

    def next(self, decode: Callable[[bytes], tuple[T, int] | None]) -> T:
        """Return the next message; `decode` returns it with its size, or None if incomplete."""
        try:
            found = decode(self._data) if self._data else None
        except CodecError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error
        if found is None:
            found = read_reply(self._stream, self._after_rest(decode))
        message, size = found
        self._data = self._data[size:]
        return message

    def _after_rest(
        self, decode: Callable[[bytes], tuple[T, int] | None]
    ) -> Callable[[bytes], tuple[T, int] | None]:
        rest = self._data

        def decode_more(data: bytes) -> tuple[T, int] | None:
            self._data = rest + data
            return decode(self._data)

        return decode_more


def refused_tls(reply: str) -> ProbeFailure:
    """Return the failure for a peer that does not switch to TLS."""
    return ProbeFailure(Reason.TLS_FAILURE, f"the peer does not start TLS: {reply}")


def require_end(data: bytes, size: int) -> None:
    """Refuse data after a reply that precedes TLS: an attacker could have inserted it."""
    if len(data) > size:
        raise CodecError("unexpected data before TLS")


def shown_text(data: bytes) -> str:
    """Return a text of a peer, cut to a length that fits into a message."""
    return data[:_MAX_SHOWN].decode("utf-8", "replace")


def shown_bytes(data: bytes, sent: bytes = b"") -> str:
    r"""Return bytes in quotes, cut likewise, in the escapes that `--send` takes (`\r`, `\x81`).

    Parts of `sent`, which may hold a secret, are replaced by `...`.
    """
    return repr(without_parts(data[: 2 * _MAX_SHOWN], sent)[:_MAX_SHOWN])[1:]


def without_parts(data: bytes, sent: bytes) -> bytes:
    """Replace each run of at least four bytes that is also in `sent`, white space excepted."""
    kept = b""
    start = 0
    while start < len(data):
        end = start
        while end < len(data) and data[end] > _SPACE and data[start : end + 1] in sent:
            end += 1
        run = data[start:end]
        if len(run) >= SHORTEST_SECRET:
            kept += b"..."
            start = end
        else:
            kept += data[start : start + 1]
            start += 1
    return kept
