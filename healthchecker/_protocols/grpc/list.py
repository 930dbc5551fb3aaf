"""The state of all services of a server at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from healthchecker._net.deadline import Cancel, Deadline
from healthchecker._protocols.base import Healthy, Progress, probe_once
from healthchecker._protocols.grpc.check import subject
from healthchecker._protocols.grpc.client import Client
from healthchecker._protocols.grpc.rpc import LIST
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import BadArgumentError, CheckResult, Reason, UnexpectedResponse
from healthchecker._values.target import Target


@dataclass(frozen=True, slots=True)
class ListResult:
    """What a server said of all its services."""

    check: CheckResult
    """Healthy when at least one service is listed and every one is SERVING."""
    statuses: dict[str, str]
    """The serving status by service name, in the order of names; "" is the whole server."""


def list_services(
    target: Target, options: CheckOptions, timeout: float, cancel: Cancel | None = None
) -> ListResult:
    """Ask for the state of every service (RPC `List`), within `timeout` seconds.

    A server without that RPC, an older one, is a result with the reason `unimplemented`. Raises
    `BadArgumentError` for what is not the target of a list, and `Cancelled` when `cancel` is set
    meanwhile.
    """
    client = Client(target, options)
    if client.service:
        raise BadArgumentError(
            "TARGET", target.label, "a list is of all services; leave out the one that is named"
        )
    statuses: dict[str, str] = {}

    def ask(deadline: Deadline, progress: Progress) -> Healthy:
        with client.call(LIST, deadline, progress) as call:
            statuses.update(sorted(call.answer().items()))
        return _judge(statuses)

    return ListResult(probe_once(target.label, ask, timeout, cancel), statuses)


def _judge(statuses: Mapping[str, str]) -> Healthy:
    if not statuses:
        raise UnexpectedResponse(Reason.UNKNOWN_SERVICE, "the server lists no service")
    bad = [(name, status) for name, status in statuses.items() if status != "SERVING"]
    if bad:
        name, status = bad[0]
        more = f", and {len(bad) - 1} more are not SERVING" if len(bad) > 1 else ""
        raise UnexpectedResponse(Reason.NOT_SERVING, f"{subject(name)} is {status}{more}", status)
    return Healthy("SERVING", f"{len(statuses)} listed, all SERVING")
