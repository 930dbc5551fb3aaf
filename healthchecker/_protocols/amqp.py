"""The probe for amqp:// and amqps:// targets: healthy when the broker starts the protocol."""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._net.tls import TlsClient
from healthchecker._protocols.amqp_codec import PROTOCOL_HEADER, decode_start
from healthchecker._protocols.base import Healthy, Prober, Progress, connect
from healthchecker._protocols.reply import read_reply
from healthchecker._values.options import CheckOptions
from healthchecker._values.target import Scheme, Target

_FORM = "amqp[s]://HOST"


class AmqpProber(Prober):
    """Sends the protocol header and waits for Connection.Start; credentials are never sent."""

    SCHEMES: ClassVar = {
        "amqp": Scheme(_FORM, 5672, has_query=False),
        "amqps": Scheme(_FORM, 5671, tls=True, has_query=False),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._tls = TlsClient(options.tls) if target.tls else None

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        endpoint = self._target.endpoint
        with connect(endpoint, self._options, deadline, progress, self._tls) as stream:
            stream.write(PROTOCOL_HEADER)
            version = read_reply(stream, decode_start)
        return Healthy(None, f"AMQP {version} is started")
