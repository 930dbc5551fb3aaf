"""stun:// and stuns://: healthy if the server replies to a Binding request.

Source: RFC 8489, sections 5 (message structure), 6.2.1 (UDP), 6.2.3 (TLS) and 6.3.3 (success).
"""

from __future__ import annotations

import os
from typing import ClassVar

from healthchecker._net.datagram import Question, ask
from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, Prober, Progress, StreamProber, look_up
from healthchecker._protocols.reply import CodecError, read_reply
from healthchecker._values.result import Phase
from healthchecker._values.target import Scheme

_COOKIE = b"\x21\x12\xa4\x42"
_REQUEST = b"\0\x01\0\0" + _COOKIE
_TYPE = slice(0, 2)
_SIZE = slice(2, 4)
_HEADER = 20
_SUCCESS = b"\x01\x01"
_ERROR = b"\x01\x11"
_RESEND_AFTER = 0.5


class StunProber(Prober):
    """Sends a Binding request by UDP."""

    SCHEMES: ClassVar = {
        "stun": Scheme("stun://HOST", 3478, has_path=False, over_unix_socket=False)
    }

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        endpoint = self._target.endpoint
        addresses = look_up(endpoint, self._options, deadline, progress)
        progress.enter(Phase.RESPONSE)
        transaction = os.urandom(12)

        def accept(message: bytes, _address: str) -> str | None:
            try:
                return decode_response(message) if message[8:20] == transaction else None
            except CodecError:
                return None

        question = Question(_REQUEST + transaction, accept, _RESEND_AFTER)
        return Healthy(None, ask(addresses, endpoint.port, question, deadline))


class StunsProber(StreamProber):
    """Sends a Binding request by TLS."""

    SCHEMES: ClassVar = {"stuns": Scheme("stuns://HOST", 5349, tls=True, has_path=False)}

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(_REQUEST + b"hckrhckrhckr")
        return Healthy(None, read_reply(stream, decode_response))


def decode_response(data: bytes) -> str | None:
    """Return what a server replies to a Binding request; None if it is incomplete."""
    kind = data[_TYPE]
    if not any(one.startswith(kind) for one in (_SUCCESS, _ERROR)) or not _COOKIE.startswith(
        data[4:8]
    ):
        raise CodecError("not a STUN response")
    if len(data) < _HEADER:
        return None
    if len(data) < _HEADER + int.from_bytes(data[_SIZE]):
        return None
    return "Binding response" if kind == _SUCCESS else "Binding error response"
