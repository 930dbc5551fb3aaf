"""The probe for redis:// and rediss:// targets: PING, and what comes instead of PONG."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._net.tls import TlsClient
from healthchecker._protocols.base import Healthy, Prober, Progress, connect
from healthchecker._protocols.redis_codec import Reply, decode_replies, encode_command
from healthchecker._protocols.reply import read_reply
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_FORM = "redis[s]://HOST"
_PING = encode_command("PING")
_NO_PASSWORD = "NOAUTH"  # noqa: S105 - an error code
_NOT_SERVING = ("BUSY", "LOADING", "MASTERDOWN", "MISCONF")
"""A script runs for ever; the data is being loaded, from no master, or cannot be saved."""


class RedisProber(Prober):
    """Logs in if it was given a password, and says PING."""

    SCHEMES: ClassVar = {
        "redis": Scheme(_FORM, 6379, has_query=False),
        "rediss": Scheme(_FORM, 6379, tls=True, has_query=False),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._tls = TlsClient(options.tls) if target.tls else None
        credentials = [target.user, target.password] if target.user else [target.password]
        self._logs_in = any(credentials)
        self._request = _PING
        if self._logs_in:
            self._request = encode_command("AUTH", *credentials) + _PING

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        endpoint = self._target.endpoint
        with connect(endpoint, self._options, deadline, progress, self._tls) as stream:
            stream.write(self._request)
            reply = read_reply(stream, partial(decode_replies, count=1 + self._logs_in))
        return self._judge(reply)

    def _judge(self, reply: Reply) -> Healthy:
        if not reply.is_error and reply.text == "PONG":
            return Healthy(None, "PONG")
        if reply.is_error and reply.code == _NO_PASSWORD and not self._logs_in:
            return Healthy(reply.code, "alive, and wants a password")
        not_serving = reply.is_error and reply.code in _NOT_SERVING
        raise UnexpectedResponse(
            Reason.NOT_SERVING if not_serving else Reason.UNEXPECTED_REPLY,
            # An error may repeat the command that it refuses, and the password with it.
            f"no PONG but {reply.code if self._logs_in else reply.text}",
            reply.code if reply.is_error else None,
        )
