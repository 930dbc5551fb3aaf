"""The probe for postgresql:// targets: healthy when the server accepts connections."""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._protocols.base import DEFAULT_USER, Healthy, Prober, Progress, connect
from healthchecker._protocols.postgresql_codec import (
    CANNOT_CONNECT_NOW,
    decode_startup_answer,
    encode_startup,
)
from healthchecker._protocols.reply import read_reply
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_SCHEME = Scheme("postgresql://HOST", 5432, has_query=False)


class PostgresqlProber(Prober):
    """Asks to start a session, as `pg_isready` does, and goes no further than the first answer.

    A server that wants a password, knows no such user or has no more connections to give accepts
    connections all the same. A password is never sent.
    """

    SCHEMES: ClassVar = {"postgresql": _SCHEME, "postgres": _SCHEME}

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        user = target.user or DEFAULT_USER
        self._startup = encode_startup(user, target.path.removeprefix("/"))

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        with connect(self._target.endpoint, self._options, deadline, progress) as stream:
            stream.write(self._startup)
            answer = read_reply(stream, decode_startup_answer)
        if answer.sqlstate is None:
            return Healthy(None, "accepts connections")
        # An error may repeat the user, who is shown to nobody.
        words = f"error {answer.sqlstate}" if self._target.user else answer.message
        if answer.sqlstate == CANNOT_CONNECT_NOW:
            raise UnexpectedResponse(Reason.NOT_SERVING, words, answer.sqlstate)
        return Healthy(answer.sqlstate, f"accepts connections: {words}")
