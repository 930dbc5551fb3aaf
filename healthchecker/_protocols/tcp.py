"""The probe for tcp:// and unix: targets: healthy when they take connections and reply well."""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, Prober, Progress, connect
from healthchecker._protocols.codec import MAX_REPLY_BYTES, shown_text
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Place, Scheme

_OPTIONS = frozenset({"send", "expect_reply"})


class TcpProber(Prober):
    """Connects; where it is given something to send or to expect, it waits for a reply, too.

    With nothing to expect any reply is a good one. The reply need not end: many protocols keep
    the connection open, so it is enough that the expected text has come.
    """

    SCHEMES: ClassVar = {
        "tcp": Scheme("tcp://HOST:PORT", has_path=False, over_unix_socket=False, options=_OPTIONS),
        "unix": Scheme(
            "unix:///PATH",
            place=Place.SOCKET,
            has_query=False,
            over_unix_socket=False,
            options=_OPTIONS,
        ),
    }

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        send, expected = self._options.send, self._options.expect_reply
        with connect(self._target.endpoint, self._options, deadline, progress) as stream:
            if send is None and expected is None:
                return Healthy(None, "connected")
            stream.write(send or b"")
            reply = _read_reply(stream, expected or b"")
        return Healthy(None, f"reply {shown_text(reply)!r}")


def _read_reply(stream: Stream, expected: bytes) -> bytes:
    """Return what has come by the time that it contains the expected text."""
    reply = b""
    while len(reply) < MAX_REPLY_BYTES:
        try:
            more = stream.read(MAX_REPLY_BYTES - len(reply))
        except ProbeFailure as failure:
            if reply and failure.reason is Reason.TIMEOUT:
                raise _unexpected(expected, reply, f"; {failure.message}") from failure
            raise
        if not more:
            break
        reply += more
        if expected in reply:
            return reply
    if not reply:
        raise ProbeFailure(
            Reason.UNEXPECTED_REPLY, "the peer closed the connection without a reply"
        )
    raise _unexpected(expected, reply)


def _unexpected(expected: bytes, reply: bytes, more: str = "") -> UnexpectedResponse:
    return UnexpectedResponse(
        Reason.UNEXPECTED_REPLY,
        f"no {shown_text(expected)!r} in the reply {shown_text(reply)!r}{more}",
    )
