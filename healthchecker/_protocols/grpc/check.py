"""The probe for grpc:// and grpcs:// targets."""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._protocols.base import Healthy, Prober, Progress
from healthchecker._protocols.grpc.client import SCHEMES, Client
from healthchecker._protocols.grpc.rpc import CHECK
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Target


class GrpcProber(Prober):
    """Asks for the state of one service, or of the whole server (RPC `Check`)."""

    SCHEMES: ClassVar = SCHEMES

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._client = Client(target, options)

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        with self._client.call(CHECK, deadline, progress) as call:
            return judge(self._client.service, call.answer())


def judge(service: str, status: str) -> Healthy:
    """Return what a serving status means; any but SERVING is an `UnexpectedResponse`."""
    said = f"{subject(service)} is {status}"
    if status == "SERVING":
        return Healthy(status, said)
    unknown = status == "SERVICE_UNKNOWN"
    raise UnexpectedResponse(
        Reason.UNKNOWN_SERVICE if unknown else Reason.NOT_SERVING, said, status
    )


def subject(service: str) -> str:
    """Return the name of a service for people."""
    return f"service {service}" if service else "the server"
