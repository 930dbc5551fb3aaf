"""The status of one service, sent by the server whenever it changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

from healthchecker._net.deadline import Cancel, Deadline
from healthchecker._protocols.base import Healthy, Progress, probe_once
from healthchecker._protocols.grpc.check import judge
from healthchecker._protocols.grpc.client import Client, OpenCall
from healthchecker._protocols.grpc.rpc import WATCH
from healthchecker._protocols.repeated import without_repeated
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import CheckResult, Phase, ProbeFailure, Reason
from healthchecker._values.target import Target

KEEPALIVE_INTERVAL = 30.0
"""Seconds without a message after which a server must give a sign of life."""


def watch_service(
    target: Target, options: CheckOptions, timeout: float, cancel: Cancel | None = None
) -> Iterator[CheckResult]:
    """Follow a service (RPC `Watch`): yield a result for each message, the first immediately.

    The connection and the first message have `timeout` seconds together. After that, a silent
    server must give a sign of life every `KEEPALIVE_INTERVAL`, within `timeout` seconds. The last
    result is the failure of the call; after `unimplemented` it must not be tried again
    (health.proto). The `elapsed` of a result is the time waited for it.

    Raises `BadArgumentError` immediately, and `Cancelled` from the iterator when `cancel` is set.
    Closing the iterator closes the connection.
    """
    shown = partial(without_repeated, target=target, options=options)
    return _results(Client(target, options), timeout, cancel, shown)


def _results(
    client: Client,
    timeout: float,
    cancel: Cancel | None,
    shown: Callable[[CheckResult], CheckResult],
) -> Iterator[CheckResult]:
    with closing(_Following(client, timeout)) as following:
        yield shown(probe_once(client.label, following.wait, timeout, cancel))
        while following.continues:
            yield shown(probe_once(client.label, following.wait, math.inf, cancel))


class _Following:
    """One call, from its connection to its failure."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._call: OpenCall[str] | None = None
        self.continues = False
        """Whether the last wait ended with a message, so that another may follow."""

    def wait(self, deadline: Deadline, progress: Progress) -> Healthy:
        """Wait for the next message; make the call if there is none yet."""
        self.continues = False
        if self._call is None:
            self._call = self._client.call(WATCH, deadline, progress)
            status = self._call.next_message()
        else:
            progress.enter(Phase.RESPONSE)
            deadline.wait_any([], 0.0)  # checks `Cancel` even if the peer never pauses
            status = self._next_while_alive(self._call, deadline)
        self.continues = True
        return judge(self._client.service, status)

    def _next_while_alive(self, call: OpenCall[str], deadline: Deadline) -> str:
        while True:
            call.extend(deadline.tightened(KEEPALIVE_INTERVAL))
            try:
                return call.next_message()
            except ProbeFailure as failure:
                if failure.reason is not Reason.TIMEOUT or call.is_over:
                    raise
            call.extend(deadline.tightened(self._timeout))
            try:
                call.wait_for_sign_of_life()
            except ProbeFailure as failure:
                if failure.reason is not Reason.TIMEOUT:
                    raise
                raise ProbeFailure(
                    Reason.TIMEOUT, f"no keepalive response: {failure.message}"
                ) from failure

    def close(self) -> None:
        if self._call is not None:
            self._call.close()
