"""The prober for grpc:// and grpcs:// targets."""

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
    """Requests the status of one service, or of the whole server (RPC `Check`)."""

    SCHEMES: ClassVar = SCHEMES

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._client = Client(target, options)

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        with self._client.call(CHECK, deadline, progress) as call:
            return judge(self._client.service, call.response())


def judge(service: str, status: str) -> Healthy:
    """Return the verdict on a serving status; any but SERVING is an `UnexpectedResponse`."""
    detail = f"{subject(service)} is {status}"
    if status == "SERVING":
        return Healthy(status, detail)
    unknown = status == "SERVICE_UNKNOWN"
    raise UnexpectedResponse(
        Reason.UNKNOWN_SERVICE if unknown else Reason.NOT_SERVING, detail, status
    )


def subject(service: str) -> str:
    """Return the subject of a message about a service."""
    return f"service {service}" if service else "the server"
