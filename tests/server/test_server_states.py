"""What a HealthServer reports beyond ready or not: degraded, started, alive, and in code."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from healthchecker import HealthReport, HealthServer, HealthState, ServerCheck
from tests.support import LOADED, poll


def get(port: int, path: str, accept: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * LOADED)
    try:
        connection.request("GET", path, headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, response.read().decode()
    finally:
        connection.close()


def server_of(checks: Mapping[str, Any] | None = None, **options: Any) -> HealthServer:
    return HealthServer(0, host="127.0.0.1", checks=checks, **{"cache": 0, **options})


def fail() -> None:
    raise OSError("s3cret")


# Checks that raise anything.


class Array:
    """Like an array of numpy, which has no truth value."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")


class GreenletTimeout(BaseException):
    """Like gevent's, which is no Exception."""


class WithoutMessage(Exception):  # noqa: N818 - it is named for what it lacks
    def __str__(self) -> str:
        raise RuntimeError("no message")


class WithoutClass:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise GreenletTimeout


def raising(error: type[BaseException]) -> Callable[[], object]:
    def function() -> None:
        raise error

    return function


def raising_coroutine(error: type[BaseException]) -> Callable[[], object]:
    async def function() -> None:
        raise error

    return function


ANYTHING = [
    pytest.param(Array, "raised ValueError", id="no truth value"),
    pytest.param(WithoutClass, "raised GreenletTimeout", id="no class"),
    *(
        pytest.param(
            make(error), f"raised {error.__name__}", id=f"{error.__name__}-{make.__name__}"
        )
        for error in (
            *(GreenletTimeout, KeyboardInterrupt, SystemExit, WithoutMessage),
            *(asyncio.CancelledError, MemoryError, RecursionError),
        )
        for make in (raising, raising_coroutine)
    ),
]


@pytest.mark.parametrize(("function", "detail"), ANYTHING)
def test_whatever_a_check_raises_is_a_failed_check(
    function: Callable[[], object], detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    with server_of({"it": function, "other": lambda: True}, daprd=True) as server:
        server.ready()
        for _ in range(2):
            status, text = get(server.port, "/readyz?verbose")
            assert (status, text.splitlines()[1:3]) == (
                503,
                [f"[-]it failed: {detail}", "[+]other ok"],
            )
            status, text = get(server.port, "/v1.0/healthz")
            assert (status, json.loads(text)["message"]) == (500, "not ready: it")
    assert "Traceback" not in caplog.text


def test_a_log_that_is_broken_takes_no_response_away() -> None:
    class Broken(logging.LoggerAdapter[logging.Logger]):
        def process(self, msg: Any, kwargs: Any) -> Any:
            if msg.startswith("health check"):
                raise ZeroDivisionError
            return msg, kwargs

    log = Broken(logging.getLogger("broken"))
    with server_of({"it": fail}, log=log) as server:
        assert (
            get(server.port, "/readyz?verbose")[1].splitlines()[1] == "[-]it failed: raised OSError"
        )


# Degraded, started, alive; one check, and all but one.


def test_a_check_that_is_not_critical_degrades() -> None:
    checks = {"db": lambda: True, "cache": ServerCheck(fail, critical=False)}
    with server_of(checks) as server:
        server.ready()
        assert get(server.port, "/readyz") == (200, "")
        lines = get(server.port, "/readyz?verbose")[1].splitlines()
        assert lines[2:] == [
            "[-]cache failed, not critical: raised OSError",
            "readyz check passed, degraded",
        ]
        shown = json.loads(get(server.port, "/readyz", "application/json")[1])
        assert (shown["healthy"], shown["state"]) == (True, "degraded")
        assert get(server.port, "/readyz/cache")[0] == 503, (
            "by name, it is the only one that counts"
        )
        shown = json.loads(get(server.port, "/healthz", "application/health+json")[1])
        assert shown["status"] == "warn"


def test_checks_of_liveness() -> None:
    alive = True
    with server_of({"db": fail}, liveness={"loop": lambda: alive}) as server:
        assert get(server.port, "/livez?verbose") == (
            200,
            "[+]ping ok\n[+]loop ok\nlivez check passed\n",
        )
        alive = False
        assert get(server.port, "/livez") == (503, "")
        assert get(server.port, "/livez/ping") == (200, "")
        assert get(server.port, "/livez/loop")[0] == 503
        assert get(server.port, "/livez?exclude=loop")[0] == 200
        assert get(server.port, "/livez/db")[0] == 404


def test_started_once_is_started_for_good() -> None:
    healthy = False
    with server_of({"db": lambda: healthy}) as server:
        assert get(server.port, "/startupz")[0] == 503
        assert get(server.port, "/startupz/db")[0] == 503
        assert get(server.port, "/startupz/started")[0] == 404
        server.ready()
        assert get(server.port, "/startupz?verbose")[1].splitlines()[1].startswith("[-]db failed")
        assert get(server.port, "/readyz?exclude=db")[0] == 200
        assert get(server.port, "/startupz")[0] == 503, "not all checks have passed"
        healthy = True
        assert get(server.port, "/startupz")[0] == 200
        healthy = False
        server.not_ready()
        assert get(server.port, "/readyz")[0] == 503
        assert get(server.port, "/startupz?verbose") == (
            200,
            "[+]started ok\nstartupz check passed\n",
        )


def test_one_check_and_all_but_one() -> None:
    runs: list[str] = []

    def bad() -> None:
        runs.append("bad")
        fail()

    checks = {"good": lambda: runs.append("good"), "bad": bad}
    with server_of(checks) as server:
        server.ready()
        assert get(server.port, "/readyz/good")[0] == 200
        assert runs == ["good"]
        assert get(server.port, "/healthz/bad")[0] == 503
        assert runs == ["good", "bad"]
        assert get(server.port, "/readyz/ready?verbose") == (
            200,
            "[+]ready ok\nreadyz check passed\n",
        )
        assert get(server.port, "/readyz/none")[0] == 404
        assert get(server.port, "/readyz?exclude=bad")[0] == 200
        assert runs == ["good", "bad", "good"]
        assert get(server.port, "/readyz?exclude=bad&exclude=good&verbose") == (
            200,
            "[+]ready ok\n[+]bad excluded: ok\n[+]good excluded: ok\nreadyz check passed\n",
        )
        assert get(server.port, "/readyz?exclude=none")[0] == 503


def test_details_are_for_the_log_if_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with server_of({"db": "tcp://127.0.0.1:1"}, details=False) as server:
        text = get(server.port, "/readyz?verbose")[1]
        assert "[-]db failed: reason withheld\n" in text
        assert "127.0.0.1" not in get(server.port, "/readyz", "application/json")[1]
    assert "connection_refused" in caplog.text


# In code.


def test_results_are_those_of_a_request() -> None:
    runs = []
    server = server_of({"db": lambda: runs.append(1), "cache": ServerCheck(fail, critical=False)})
    report = server.results()
    assert (report.state, bool(report), list(report.checks)) == (
        *(HealthState.UNHEALTHY, False),
        ["ready", "db", "cache"],
    )
    server.ready()
    report = server.results()
    assert (report.state, bool(report)) == (HealthState.DEGRADED, True)
    assert (report.checks["cache"].detail, bool(report.checks["cache"])) == (
        "raised OSError",
        False,
    )
    assert "s3cret" not in repr(report)
    assert report.to_dict()["state"] == "degraded"
    assert len(runs) == 2
    with server:
        assert server.results().state is HealthState.DEGRADED


def test_results_in_asyncio_run_on_its_loop() -> None:
    loops = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    async def program() -> None:
        server = server_of({"it": note})
        server.ready()
        assert (await server.aresults()).state is HealthState.HEALTHY
        assert loops == [asyncio.get_running_loop()]

    asyncio.run(program())


def test_a_change_is_reported_once() -> None:
    healthy = True
    reports: list[HealthReport] = []
    server = server_of({"db": lambda: healthy}, on_change=reports.append)
    server.ready()
    assert [(bool(one), one.checks["db"].detail) for one in reports] == [(False, "has not run yet")]
    for _ in range(3):
        server.results()
    assert [bool(one) for one in reports] == [False, True]
    healthy = False
    for _ in range(3):
        server.results()
    assert [bool(one) for one in reports] == [False, True, False]
    server.not_ready()
    server.not_ready()
    assert [bool(one.checks["ready"]) for one in reports] == [True, True, True, False]
    server.drain(0)
    assert len(reports) == 4


def test_a_callback_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with server_of(on_change=lambda _: 1 / 0) as server:
        server.ready()
        assert get(server.port, "/readyz")[0] == 200
    assert "on_change of the health server failed" in caplog.text


def test_changes_from_many_threads_come_in_order() -> None:
    states: list[bool] = []
    server = server_of(on_change=lambda report: states.append(report.checks["ready"].healthy))

    def flip() -> None:
        for _ in range(200):
            server.ready()
            server.not_ready()

    threads = [threading.Thread(target=flip) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states[-1] is False
    assert all(one is not other for one, other in pairwise(states))
    poll(lambda: not server.is_ready, timeout=1, what="not ready")
