"""redis:// and rediss://: healthy if PING gets PONG, or an error that only a live server returns.

Source: "Redis serialization protocol specification" (RESP2): arrays of bulk strings, simple
strings, simple errors, integers. The commands AUTH, PING, ROLE and CLUSTER INFO of Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber, require_role
from healthchecker._protocols.reply import CodecError, read_reply, shown_text
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_FORM = "redis[s]://HOST"
_OPTIONS = frozenset({"role"})
_AUTHENTICATION_REQUIRED = "NOAUTH"
_NO_PERMISSION = "NOPERM"
_NOT_SERVING = ("BUSY", "LOADING", "MASTERDOWN", "MISCONF")
"""A script blocks the server; the dataset is loading; the link to the master is down; or the last
save failed."""
_STRING, _ERROR, _INTEGER, _BULK, _ARRAY = b"+", b"-", b":", b"$", b"*"
_ROLES = {b"master": "primary", b"slave": "replica", b"sentinel": "sentinel"}
_REPLICA_FIELDS = 5
_MAX_DEPTH = 4
_MAX_DIGITS = 7
_LINE_END = b"\r\n"


class RedisProber(StreamProber):
    """Logs in if the target has a password, and sends PING."""

    SCHEMES: ClassVar = {
        "redis": Scheme(_FORM, 6379, has_query=False, options=_OPTIONS),
        "rediss": Scheme(_FORM, 6379, tls=True, has_query=False, options=_OPTIONS),
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
            if self._options.role is not None:
                return self._judge_role(stream, self._options.role)
            return Healthy(None, "PONG")
        code = reply.code if reply.is_error else None
        if code == _AUTHENTICATION_REQUIRED and not self._logs_in and not self._options.role:
            return Healthy(code, "alive, authentication required")
        if code == _NO_PERMISSION and not self._options.role:  # every user may log in
            return Healthy(code, "alive, the user may not run PING")
        raise UnexpectedResponse(
            Reason.NOT_SERVING if code in _NOT_SERVING else Reason.UNEXPECTED_REPLY,
            # An error may repeat the command that it refuses, and the password with it.
            f"expected PONG, got {reply.code if self._logs_in else reply.text}",
            code,
        )

    def _judge_role(self, stream: Stream, expected: str) -> Healthy:
        """Demand a role, a link to the primary for a replica, and a cluster that is ok if any."""
        stream.write(_ROLE_COMMANDS)
        role, cluster = read_reply(stream, decode_role)
        if isinstance(cluster, bytes) and b"cluster_state:fail" in cluster:
            raise UnexpectedResponse(Reason.NOT_SERVING, "cluster_state:fail")
        if isinstance(role, Reply):
            message = f"ROLE failed: {role.code}"
            raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, message, role.code)
        name = role[0] if role else None
        found = _ROLES.get(name, "unknown") if isinstance(name, bytes) else "unknown"
        if found not in ("primary", "replica"):
            raise UnexpectedResponse(Reason.NOT_SERVING, f"expected role {expected}, got {found}")
        require_role(expected, found)
        if found == "replica" and (len(role) < _REPLICA_FIELDS or role[3] != b"connected"):
            state = shown_text(role[3]) if len(role) > 3 and isinstance(role[3], bytes) else "down"  # noqa: PLR2004
            message = f"the link to the primary is not up: {state}"
            raise UnexpectedResponse(Reason.NOT_SERVING, message, found)
        return Healthy(None, f"PONG, {found}")


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


def encode_command(*arguments: str) -> bytes:
    """Return a command as an array of bulk strings."""
    parts = [one.encode() for one in arguments]
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


_ROLE_COMMANDS = encode_command("ROLE") + encode_command("CLUSTER", "INFO")

Value = Reply | bytes | list["Value"] | None


def decode_role(data: bytes) -> tuple[Reply | list[Value], Value] | None:
    """Return the replies to ROLE and CLUSTER INFO; None if they are incomplete."""
    role = _value(data, 0)
    if role is None:
        return None
    if not isinstance(role[0], (Reply, list)) or (
        isinstance(role[0], Reply) and not role[0].is_error
    ):
        raise CodecError("not a reply to ROLE")
    cluster = _value(data, role[1])
    return None if cluster is None else (role[0], cluster[0])


def _value(data: bytes, start: int, depth: int = 0) -> tuple[Value, int] | None:
    """Return the value at a position, and the position after it; None if it is incomplete."""
    kind = data[start : start + 1]
    if kind not in (b"", _STRING, _ERROR, _INTEGER, _BULK, _ARRAY) or depth > _MAX_DEPTH:
        raise CodecError("not a Redis reply")
    end = data.find(_LINE_END, start)
    if end < 0:
        return None
    line, after = data[start + 1 : end], end + len(_LINE_END)
    if kind in (_STRING, _ERROR):
        return Reply(shown_text(line), kind == _ERROR), after
    if kind == _INTEGER or line == b"-1":
        return (line if kind == _INTEGER else None), after
    if not line.isdigit() or len(line) > _MAX_DIGITS:
        raise CodecError("not a Redis reply")
    if kind == _ARRAY:
        return _array(data, after, int(line), depth + 1)
    finish = after + int(line) + len(_LINE_END)
    return (data[after : finish - len(_LINE_END)], finish) if len(data) >= finish else None


def _array(data: bytes, start: int, size: int, depth: int) -> tuple[Value, int] | None:
    values: list[Value] = []
    for _ in range(size):
        found = _value(data, start, depth)
        if found is None:
            return None
        value, start = found
        values.append(value)
    return values, start
