"""redis:// and rediss://: healthy if PING gets PONG, or an error that only a live server returns.

Source: "Redis serialization protocol specification" (RESP2): arrays of bulk strings, simple
strings, simple errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import CodecError, read_reply, shown_text
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_FORM = "redis[s]://HOST"
_AUTHENTICATION_REQUIRED = "NOAUTH"
_NO_PERMISSION = "NOPERM"
_NOT_SERVING = ("BUSY", "LOADING", "MASTERDOWN", "MISCONF")
"""A script blocks the server; the dataset is loading; the link to the master is down; or the last
save failed."""
_STRING, _ERROR = b"+", b"-"
_LINE_END = b"\r\n"


class RedisProber(StreamProber):
    """Logs in if the target has a password, and sends PING."""

    SCHEMES: ClassVar = {
        "redis": Scheme(_FORM, 6379, has_query=False),
        "rediss": Scheme(_FORM, 6379, tls=True, has_query=False),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        credentials = [target.user, target.password] if target.user else [target.password]
        self._logs_in = any(credentials)
        self._request = encode_command("PING")
        if self._logs_in:
            self._request = encode_command("AUTH", *credentials) + self._request

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(self._request)
        reply = read_reply(stream, partial(decode_replies, count=1 + self._logs_in))
        if not reply.is_error and reply.text == "PONG":
            return Healthy(None, "PONG")
        code = reply.code if reply.is_error else None
        if code == _AUTHENTICATION_REQUIRED and not self._logs_in:
            return Healthy(code, "alive, authentication required")
        if code == _NO_PERMISSION:  # for PING: every user may log in
            return Healthy(code, "alive, the user may not run PING")
        raise UnexpectedResponse(
            Reason.NOT_SERVING if code in _NOT_SERVING else Reason.UNEXPECTED_REPLY,
            # An error may repeat the command that it refuses, and the password with it.
            f"expected PONG, got {reply.code if self._logs_in else reply.text}",
            code,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """A simple string or error."""

    text: str
    is_error: bool

    @property
    def code(self) -> str:
        """The capitalized first word of an error, which names its kind."""
        word = self.text.partition(" ")[0]
        return word if word.isalpha() and word.isupper() else "ERR"


def encode_command(*words: str) -> bytes:
    """Return a command as an array of bulk strings."""
    parts = [word.encode() for word in words]
    bulks = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%s" % (len(parts), bulks)


def decode_replies(data: bytes, count: int) -> Reply | None:
    """Return the last of `count` replies, or the first error; None if more must follow."""
    for _ in range(count):
        if data and data[:1] not in (_STRING, _ERROR):
            raise CodecError("not a Redis reply")
        line, end, data = data.partition(_LINE_END)
        if not end:
            return None
        reply = Reply(shown_text(line[1:]), line[:1] == _ERROR)
        if reply.is_error:
            break
    return reply
