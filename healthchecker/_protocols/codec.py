"""What the codecs have in common. Pure: bytes in, values out."""

from __future__ import annotations

MAX_REPLY_BYTES = 64 * 1024
"""None of the answers that a check waits for is nearly as long."""

_MAX_SHOWN = 200


class CodecError(ValueError):
    """Bytes that are not what the protocol says; the message tells people what is wrong."""


def shown_text(data: bytes) -> str:
    """Return what a peer says in words, cut to what people are shown."""
    return data[:_MAX_SHOWN].decode("utf-8", "replace")
