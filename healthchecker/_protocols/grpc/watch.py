"""The state of one service, told by the server whenever it changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing

from healthchecker._net.deadline import Cancel, Deadline
from healthchecker._protocols.base import Healthy, Progress, probe_once
from healthchecker._protocols.grpc.check import judge
from healthchecker._protocols.grpc.client import CallUnderWay, Client
from healthchecker._protocols.grpc.rpc import WATCH
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import CheckResult, Phase, ProbeFailure, Reason
from healthchecker._values.target import Target

KEEPALIVE_INTERVAL = 30.0
"""Seconds without a message after which a watched server is asked for a sign of life."""


def watch_service(
    target: Target, options: CheckOptions, timeout: float, cancel: Cancel | None = None
) -> Iterator[CheckResult]:
    """Follow a service (RPC `Watch`): a result at once, and one for each message after it.

    The connection and the first message have `timeout` seconds together. Afterwards a server that
    is silent is asked for a sign of life every `KEEPALIVE_INTERVAL`, and has `timeout` seconds for
    it. The iterator ends after the result that says why the call broke; after `unimplemented` it
    must not be tried again (health.proto). Each result's `elapsed` is the wait for it.

    Raises `BadArgumentError` at once, and `Cancelled` from the iterator when `cancel` is set.
    Closing the iterator closes the connection.
    """
    return _results(Client(target, options), timeout, cancel)


def _results(client: Client, timeout: float, cancel: Cancel | None) -> Iterator[CheckResult]:
    with closing(_Watch(client, timeout)) as watch:
        yield probe_once(client.label, watch.wait, timeout, cancel)
        while watch.goes_on:
            yield probe_once(client.label, watch.wait, math.inf, cancel)


class _Watch:
    """One call, from its connection to its break."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._call: CallUnderWay[str] | None = None
        self.goes_on = False
        """Whether the last wait has brought a message, so that another may follow."""

    def wait(self, deadline: Deadline, progress: Progress) -> Healthy:
        """Wait for the next message; make the call if there is none yet."""
        self.goes_on = False
        if self._call is None:
            self._call = self._client.call(WATCH, deadline, progress)
            status = self._call.next_message()
        else:
            progress.enter(Phase.RESPONSE)
            deadline.wait_any([], 0.0)  # a peer that never pauses must not hide a Cancel
            status = self._next_while_alive(self._call, deadline)
        self.goes_on = True
        return judge(self._client.service, status)

    def _next_while_alive(self, call: CallUnderWay[str], deadline: Deadline) -> str:
        while True:
            call.extend(deadline.tightened(KEEPALIVE_INTERVAL))
            try:
                return call.next_message()
            except ProbeFailure as failure:
                if failure.reason is not Reason.TIMEOUT or call.is_over:
                    raise
            call.extend(deadline.tightened(self._timeout))
            try:
                call.demand_sign_of_life()
            except ProbeFailure as failure:
                if failure.reason is not Reason.TIMEOUT:
                    raise
                raise ProbeFailure(
                    Reason.TIMEOUT, f"no sign of life: {failure.message}"
                ) from failure

    def close(self) -> None:
        if self._call is not None:
            self._call.close()
