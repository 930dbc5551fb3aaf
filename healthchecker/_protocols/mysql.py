"""The probe for mysql:// targets, MySQL and MariaDB: healthy when they greet who connects."""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._protocols.base import DEFAULT_USER, Healthy, Prober, Progress, connect
from healthchecker._protocols.mysql_codec import (
    NO_PASSWORD,
    QUIT,
    LoginReply,
    decode_greeting,
    decode_login_reply,
    encode_login,
)
from healthchecker._protocols.reply import read_reply
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme


class MysqlProber(Prober):
    """Reads the greeting, and takes leave in the one way that the server does not hold against us.

    Whoever goes without a word is counted: after `max_connect_errors` of them the server refuses
    its host, with all clients that are there. So a user is named, without a password; whatever the
    server says to that, it is alive.
    """

    SCHEMES: ClassVar = {"mysql": Scheme("mysql://HOST", 3306, has_query=False)}

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        with connect(self._target.endpoint, self._options, deadline, progress) as stream:
            greeting = read_reply(stream, decode_greeting)
            if greeting.error is not None:
                raise UnexpectedResponse(Reason.NOT_SERVING, greeting.words, greeting.error)
            stream.write(encode_login(self._target.user or DEFAULT_USER, greeting.plugin))
            reply = read_reply(stream, decode_login_reply)
            if reply is LoginReply.ANOTHER_WAY:
                stream.write(NO_PASSWORD)
                reply = read_reply(stream, decode_login_reply)
            if reply is LoginReply.SESSION:
                stream.write(QUIT)
        return Healthy(None, f"greeting of {greeting.words}")
