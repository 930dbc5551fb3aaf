"""tcp://, tls:// and unix:, healthy if the peer keeps a connection open, or replies as expected."""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import Stream
from healthchecker._net.tls import TlsClient
from healthchecker._protocols.base import Healthy, Prober, Progress, connect
from healthchecker._protocols.reply import MAX_REPLY_BYTES, shown_bytes
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import Phase, ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Place, Scheme, Target

_OPTIONS = frozenset({"send", "expect_reply", "proxy_protocol"})
_LOOK = 0.05
"""Seconds to wait for a peer that closes the connection immediately, besides one round trip.

A proxy without a backend also accepts connections (docker-proxy, HAProxy without servers).
It closes them within a millisecond or so, unless the machine is busy.
"""
_MAX_ROUND_TRIP = 0.1


class TcpProber(Prober):
    """Connects; given something to send or to expect, it also waits for a reply.

    With nothing to expect, any reply will do. The reply need not end: many protocols keep the
    connection open, so it is enough that the expected text has arrived.
    """

    SCHEMES: ClassVar = {
        "tcp": Scheme("tcp://HOST:PORT", has_path=False, over_unix_socket=False, options=_OPTIONS),
        "tls": Scheme(
            "tls://HOST:PORT", tls=True, has_path=False, over_unix_socket=False, options=_OPTIONS
        ),
        "unix": Scheme(
            "unix:///PATH",
            place=Place.SOCKET,
            has_query=False,
            over_unix_socket=False,
            options=_OPTIONS,
        ),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._tls = TlsClient(options.tls) if target.tls else None

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        send, expected = self._options.send, self._options.expect_reply
        if self._tls is not None:
            self._tls.read_files(deadline, progress.enter)
        with connect(self._target.endpoint, self._options, deadline, progress, self._tls) as stream:
            if send is None and expected is None:
                round_trip = min(progress.spent(Phase.CONNECT), _MAX_ROUND_TRIP)
                _require_open(stream, deadline.tightened(_LOOK + round_trip))
                return Healthy(None, "TLS handshake completed" if stream.is_tls else "connected")
            stream.write(send or b"")
            reply = _read_expected(stream, expected or b"", send or b"")
        return Healthy(None, f"reply {shown_bytes(reply, send or b'')}")


def _require_open(stream: Stream, deadline: Deadline) -> None:
    """Fail if the peer closes the connection before the deadline without having sent anything."""
    stream.extend(deadline)
    try:
        is_open = stream.read(MAX_REPLY_BYTES) != b""
    except ProbeFailure as failure:
        if failure.reason is not Reason.TIMEOUT:
            raise
        is_open = True
    if not is_open:
        raise ProbeFailure(Reason.CONNECTION_RESET, "the peer closed the connection immediately")


def _read_expected(stream: Stream, expected: bytes, sent: bytes) -> bytes:
    """Return the bytes received until they contain the expected text."""
    reply = b""
    while len(reply) < MAX_REPLY_BYTES:
        try:
            more = stream.read(MAX_REPLY_BYTES - len(reply))
        except ProbeFailure as failure:
            if reply and failure.reason is Reason.TIMEOUT:
                raise _unexpected(expected, reply, sent, f"; {failure.message}") from failure
            raise
        if not more:
            break
        reply += more
        if expected in reply:
            return reply
    if not reply:
        raise ProbeFailure(Reason.UNEXPECTED_REPLY, "connection closed without a reply")
    raise _unexpected(expected, reply, sent)


def _unexpected(expected: bytes, reply: bytes, sent: bytes, more: str = "") -> UnexpectedResponse:
    return UnexpectedResponse(
        Reason.UNEXPECTED_REPLY,
        f"no {shown_bytes(expected)} in the reply {shown_bytes(reply, sent)}{more}",
    )
