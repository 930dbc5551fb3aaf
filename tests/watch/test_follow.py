"""Following a gRPC service: the rule, without I/O, and many of them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc_health.v1 import health

from healthchecker import CheckResult, Reason
from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.registry import parse_target
from healthchecker._values.options import make_options
from healthchecker._watch.follow import FollowRule, follow
from healthchecker._watch.rule import WatchOptions
from tests.servers.grpc import grpc_server

GRACE = 0.5


def result(reason: Reason, status: str | None = None) -> CheckResult:
    return CheckResult("grpc://h:1", reason is Reason.OK, reason, "", status, 0.1)


SERVING = result(Reason.OK, "SERVING")
NOT_SERVING = result(Reason.NOT_SERVING, "NOT_SERVING")
UNKNOWN_SERVICE = result(Reason.UNKNOWN_SERVICE, "SERVICE_UNKNOWN")
UNAVAILABLE = result(Reason.NOT_SERVING, "UNAVAILABLE")
FAILED_WITH_UNKNOWN = result(Reason.UNEXPECTED_STATUS, "UNKNOWN")
BROKEN = result(Reason.CONNECTION_RESET)


@pytest.mark.parametrize(
    ("results", "reports"),
    [
        ([SERVING, NOT_SERVING, SERVING], [True, False, True]),
        ([NOT_SERVING, UNKNOWN_SERVICE], [False, False]),
        ([SERVING, BROKEN, BROKEN, BROKEN, BROKEN], [True, None, None, False, None]),
        ([BROKEN, BROKEN, SERVING, BROKEN, BROKEN], [None, None, True, None, None]),
        ([UNAVAILABLE, FAILED_WITH_UNKNOWN, BROKEN], [None, None, False]),
    ],
)
def test_the_status_of_the_server_is_reported_and_the_third_failure(
    results: list[CheckResult], reports: list[bool | None]
) -> None:
    rule = FollowRule(3)
    assert [rule.take(one).report for one in results] == reports


def test_pauses_double_until_the_server_speaks() -> None:
    rule = FollowRule(3)
    for middle in (1, 2, 4, 8, 16, 30, 30):
        assert 0.8 * middle <= rule.pause() <= 1.2 * middle
        rule.take(UNAVAILABLE)
    rule.take(NOT_SERVING)
    assert rule.pause() <= 1.2
    assert rule.pause() <= 2.4


@pytest.mark.timing
def test_many_end_immediately() -> None:
    count = 50
    settings = WatchOptions(initial_delay=0, timeout=10)
    first = threading.Semaphore(0)

    def run(port: int, cancel: Cancel) -> None:
        target = parse_target(f"grpc://127.0.0.1:{port}")
        for one in follow(target, make_options(), settings, cancel=cancel):
            assert one.report
            first.release()

    with (
        grpc_server(health.HealthServicer(), workers=count) as port,
        Cancel() as cancel,
        ThreadPoolExecutor(count) as pool,
    ):
        running = [pool.submit(run, port, cancel) for _ in range(count)]
        for _ in range(count):
            assert first.acquire(timeout=10)
        start = time.monotonic()
        cancel.set()
        for one in running:
            assert isinstance(one.exception(timeout=10), Cancelled)
        assert time.monotonic() - start < GRACE
