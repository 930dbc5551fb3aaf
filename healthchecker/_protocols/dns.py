"""dns://: healthy if a name server responds to a query, by UDP, or by TCP if that is truncated.

Source: RFC 1035, sections 4.1 and 4.2. A name that the server itself owns is the best test.
"""

from __future__ import annotations

import random
from typing import ClassVar

from healthchecker._net import dns
from healthchecker._net.connect import open_tcp
from healthchecker._net.datagram import Request, exchange
from healthchecker._net.deadline import Deadline
from healthchecker._protocols.base import Healthy, Prober, Progress, look_up
from healthchecker._protocols.reply import CodecError, read_reply
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import (
    BadArgumentError,
    Phase,
    ProbeFailure,
    Reason,
    UnexpectedResponse,
)
from healthchecker._values.target import Scheme, Target

_FORM = "dns://SERVER/NAME[?type=AAAA]"
_TYPES = {
    "A": dns.TYPE_A,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": dns.TYPE_AAAA,
    "SRV": 33,
    "CAA": 257,
}
_RESEND_AFTER = 1.0
_TRUNCATED = 0x02  # in the third byte
_REFUSED = 5
_LENGTH = 2


class DnsProber(Prober):
    """Sends one recursive query with a random id."""

    SCHEMES: ClassVar = {"dns": Scheme(_FORM, 53, over_unix_socket=False)}

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._type = target.url.params.get("type", "").upper()
        if set(target.url.params) - {"type"} or self._type not in {"", *_TYPES}:
            problem = f"expected ?type= and one of {', '.join(_TYPES)}"
            raise BadArgumentError("target", target.label, problem)
        name = target.path.removeprefix("/")
        if not name:
            raise BadArgumentError("target", target.label, f"needs a NAME to look up: {_FORM}")
        try:
            self._question = dns.question(name, _TYPES[self._type or "A"])
        except dns.DnsMessageError as error:
            raise BadArgumentError("target", target.label, str(error)) from error

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        endpoint = self._target.endpoint
        addresses = look_up(endpoint, self._options, deadline, progress)
        progress.enter(Phase.RESPONSE)
        query_id = random.SystemRandom().getrandbits(16)
        query = dns.query(query_id, self._question)

        def accept(message: bytes, address: str) -> tuple[bytes, str] | None:
            return (message, address) if message[:_LENGTH] == query[:_LENGTH] else None

        request = Request(query, accept, _RESEND_AFTER)
        message, server = exchange(addresses, endpoint.port, request, deadline)
        if len(message) > _LENGTH and message[_LENGTH] & _TRUNCATED:
            with open_tcp([server], endpoint.port, deadline) as stream:
                stream.write(len(query).to_bytes(_LENGTH) + query)
                message = read_reply(stream, decode_tcp)
        return self._judge(message, query_id)

    def _judge(self, message: bytes, query_id: int) -> Healthy:
        try:
            response = dns.parse(message)
        except dns.DnsMessageError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error
        if (response.query_id, response.question) != (query_id, self._question):
            raise ProbeFailure(Reason.INVALID_RESPONSE, "the response is to another question")
        name = dns.rcode_name(response.rcode)
        if self._type and response.rcode in (dns.NOERROR, dns.NXDOMAIN) and not response.records:
            problem = f"{name}: no {self._type} record"
            raise UnexpectedResponse(Reason.UNEXPECTED_REPLY, problem, name)
        if response.rcode in (dns.NOERROR, dns.NXDOMAIN):
            return Healthy(name, f"{name}, {response.records} {self._type or 'A'} records")
        reason = Reason.UNEXPECTED_REPLY if response.rcode == _REFUSED else Reason.NOT_SERVING
        raise UnexpectedResponse(reason, f"expected NOERROR, got {name}", name)


def decode_tcp(data: bytes) -> bytes | None:
    """Return a message without the length before it; None if it is incomplete."""
    size = int.from_bytes(data[:_LENGTH])
    if len(data) >= _LENGTH and not size:
        raise CodecError("an empty DNS message")
    message = data[_LENGTH : _LENGTH + size]
    return message if len(data) >= _LENGTH and len(message) == size else None
