"""One answer from a peer: bytes are read until a codec can tell what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.codec import MAX_REPLY_BYTES, CodecError
from healthchecker._values.result import ProbeFailure, Reason

T = TypeVar("T")


def read_reply(stream: Stream, decode: Callable[[bytes], T | None]) -> T:
    """Return what `decode` makes of all that has come; it returns None where more must come.

    What it refuses, an answer that is too long, and an end before the answer has come are a
    `ProbeFailure`.
    """
    data = b""
    while True:
        more = stream.read(MAX_REPLY_BYTES - len(data))
        if not more:
            when = "within its answer" if data else "without an answer"
            raise ProbeFailure(Reason.INVALID_RESPONSE, f"the peer closed the connection {when}")
        data += more
        try:
            answer = decode(data)
        except CodecError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error
        if answer is not None:
            return answer
        if len(data) >= MAX_REPLY_BYTES:
            raise ProbeFailure(
                Reason.INVALID_RESPONSE, f"an answer of more than {MAX_REPLY_BYTES} bytes"
            )
