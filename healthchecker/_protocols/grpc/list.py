"""The status of all services of a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from healthchecker._net.deadline import Cancel, Deadline
from healthchecker._protocols.base import Healthy, Progress, probe_once
from healthchecker._protocols.grpc.check import subject
from healthchecker._protocols.grpc.client import Client
from healthchecker._protocols.grpc.rpc import LIST
from healthchecker._protocols.repeated import without_repeated
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import BadArgumentError, CheckResult, Reason, UnexpectedResponse
from healthchecker._values.target import Target


@dataclass(frozen=True, slots=True)
class ListResult:
    """The services of a server."""

    check: CheckResult
    """Healthy when at least one service is listed and every one is SERVING."""
    statuses: dict[str, str]
    """The serving status by service name, in the order of names; "" is the whole server."""


def list_services(
    target: Target,
    options: CheckOptions,
    timeout: float,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> ListResult:
    """Request the status of every service (RPC `List`), within `timeout` seconds.

    An older server, without that RPC, leads to a result with the reason `unimplemented`. Raises
    `BadArgumentError` if the target cannot be listed, and `Cancelled` when `cancel` is set during
    the call.
    """
    client = Client(target, options)
    if client.service:
        raise BadArgumentError(
            "target", target.label, "list always covers all services; remove the service name"
        )
    statuses: dict[str, str] = {}

    def list_once(deadline: Deadline, progress: Progress) -> Healthy:
        with client.call(LIST, deadline, progress) as call:
            statuses.update(sorted(call.response().items()))
        return _judge(statuses)

    result = probe_once(target.label, list_once, timeout, cancel, progress)
    return ListResult(without_repeated(result, target, options), statuses)


def _judge(statuses: Mapping[str, str]) -> Healthy:
    if not statuses:
        raise UnexpectedResponse(Reason.UNKNOWN_SERVICE, "the server lists no services")
    bad = [(name, status) for name, status in statuses.items() if status != "SERVING"]
    if bad:
        name, status = bad[0]
        more = f", and {len(bad) - 1} more are not SERVING" if len(bad) > 1 else ""
        raise UnexpectedResponse(Reason.NOT_SERVING, f"{subject(name)} is {status}{more}", status)
    return Healthy("SERVING", f"all {len(statuses)} services SERVING")
