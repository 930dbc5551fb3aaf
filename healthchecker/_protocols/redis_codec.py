"""What Redis is asked and answers, as far as a health check goes. Pure: bytes in, values out.

Source: "Redis serialization protocol specification" (RESP2): arrays of bulk strings, simple
strings, simple errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from healthchecker._protocols.codec import CodecError, shown_text

_STRING, _ERROR = b"+", b"-"
_END = b"\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """A simple string or error."""

    text: str
    is_error: bool

    @property
    def code(self) -> str:
        """The word in capitals that tells what kind of an error it is."""
        word = self.text.partition(" ")[0]
        return word if word.isalpha() and word.isupper() else "ERR"


def encode_command(*words: str) -> bytes:
    """Return a command as an array of bulk strings."""
    parts = [word.encode() for word in words]
    bulks = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%s" % (len(parts), bulks)


def decode_replies(data: bytes, count: int) -> Reply | None:
    """Return the last of `count` replies, or the first error; None where more must come."""
    for _ in range(count):
        if data and data[:1] not in (_STRING, _ERROR):
            raise CodecError("the answer is not Redis's")
        line, end, data = data.partition(_END)
        if not end:
            return None
        reply = Reply(shown_text(line[1:]), line[:1] == _ERROR)
        if reply.is_error:
            break
    return reply
