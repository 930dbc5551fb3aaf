"""udp://: healthy if the reply to a datagram contains the expected text."""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.datagram import Request, exchange
from healthchecker._net.deadline import Deadline
from healthchecker._protocols.base import Healthy, Prober, Progress, look_up
from healthchecker._protocols.reply import shown_bytes
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import (
    BadArgumentError,
    Phase,
    ProbeFailure,
    Reason,
    UnexpectedResponse,
)
from healthchecker._values.target import Scheme, Target


class UdpProber(Prober):
    """Sends one datagram; other datagrams are skipped until one contains the expected text."""

    SCHEMES: ClassVar = {
        "udp": Scheme(
            "udp://HOST:PORT",
            has_path=False,
            over_unix_socket=False,
            options=frozenset({"send", "expect_reply"}),
        )
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        if options.send is None:
            problem = "needs send=: without a request, nothing replies"
            raise BadArgumentError("target", target.label, problem)
        self._request = options.send
        self._expected = options.expect_reply or b""

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        endpoint = self._target.endpoint
        addresses = look_up(endpoint, self._options, deadline, progress)
        progress.enter(Phase.RESPONSE)
        last = b""

        def accept(reply: bytes, _address: str) -> bytes | None:
            nonlocal last
            last = reply
            return reply if self._expected in reply else None

        try:
            request = Request(self._request, accept)
            reply = exchange(addresses, endpoint.port, request, deadline)
        except ProbeFailure as failure:
            if not last:
                raise
            raise UnexpectedResponse(
                Reason.UNEXPECTED_REPLY,
                f"no {shown_bytes(self._expected)} in the reply "
                f"{shown_bytes(last, self._request)}; {failure.message}",
            ) from failure
        return Healthy(None, f"reply {shown_bytes(reply, self._request)}")
