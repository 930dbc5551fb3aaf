"""The checks of HealthServer: how they pass and fail, and that requests share their runs."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from healthchecker import BadArgumentError, HealthServer, ServerCheck, check
from healthchecker._server import checks as checks_module
from tests.servers.http import http_service
from tests.servers.peers import SilentPeer
from tests.support import LOADED, poll


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http_service() as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def ready_server(checks: Mapping[str, Any], **options: Any) -> Iterator[int]:
    with HealthServer(0, host="127.0.0.1", checks=checks, **options) as server:
        server.ready()
        yield server.port


def request(
    port: int, path: str = "/readyz", headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * LOADED)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def verbose(port: int, path: str = "/readyz") -> tuple[int, list[str]]:
    status, text = request(port, f"{path}?verbose")
    return status, text.splitlines()


class Asynchronous:
    async def __call__(self) -> None:
        await asyncio.sleep(0)


async def passes() -> bool:
    return True


async def raises() -> None:
    raise ConnectionError("user:s3cret@db")


async def cancels_itself() -> None:
    raise asyncio.CancelledError


def leave() -> None:
    raise SystemExit(1)


# Checks.


@pytest.mark.parametrize(
    ("checked", "line"),
    [
        pytest.param(lambda: None, "[+]it ok", id="a function that returns"),
        pytest.param(lambda: True, "[+]it ok", id="a function that returns True"),
        pytest.param(lambda: False, "[-]it failed: returned False", id="returns False"),
        pytest.param(list, "[-]it failed: returned a falsy value", id="an empty list"),
        pytest.param(lambda: 1 / 0, "[-]it failed: raised ZeroDivisionError", id="raises"),
        pytest.param(leave, "[-]it failed: raised SystemExit", id="a function that exits"),
        pytest.param(lambda: next(iter(())), "[-]it failed: raised RuntimeError", id="stops"),
        pytest.param(passes, "[+]it ok", id="a coroutine function"),
        pytest.param(
            lambda: asyncio.sleep(0, True), "[+]it ok", id="a function that returns a coroutine"
        ),
        pytest.param(functools.partial(passes), "[+]it ok", id="a partial"),
        pytest.param(Asynchronous(), "[+]it ok", id="an asynchronous object"),
        pytest.param(raises, "[-]it failed: raised ConnectionError", id="a coroutine that raises"),
        pytest.param("tcp://127.0.0.1:1", "[-]it failed: connection_refused: ", id="a target"),
        pytest.param(
            functools.partial(check, "tcp://127.0.0.1:1"),
            "[-]it failed: connection_refused: connect: 127.0.0.1:1: ",
            id="a function that returns a result",
        ),
        pytest.param(cancels_itself, "[-]it failed: raised CancelledError", id="cancels itself"),
        pytest.param(ServerCheck(lambda: None, timeout=10), "[+]it ok", id="with a limit"),
    ],
)
def test_kinds_of_checks(checked: Any, line: str) -> None:
    with ready_server({"it": checked}) as port:
        status, lines = verbose(port)
        assert lines[0] == "[+]ready ok"
        assert lines[1].startswith(line)
        passed = line == "[+]it ok"
        assert lines[2] == f"readyz check {'passed' if passed else 'failed'}"
        assert status == (200 if passed else 503)
        assert request(port) == request(port, "/healthz") == (status, "")


def test_a_target_with_options(url: str) -> None:
    checks = {
        "good": ServerCheck(f"{url}/status/204", status=[204]),
        "bad": ServerCheck(f"{url}/health", expect_json={"status": "DOWN"}),
    }
    with ready_server(checks) as port:
        status, lines = verbose(port)
    assert status == 503
    assert lines[1:3] == [
        "[+]good ok",
        "[-]bad failed: unexpected_body: JSON body: status is UP, expected DOWN",
    ]


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"check": 5}, "target"),
        ({"check": "gopher://x"}, "target"),
        ({"check": passes, "timeout": 0}, "timeout"),
        ({"check": passes, "status": 200}, "status"),
        ({"check": passes, "critical": 1}, "critical"),
        ({"check": "http://x", "status": "x"}, "status"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], argument: str) -> None:
    with pytest.raises(BadArgumentError) as caught:
        ServerCheck(**arguments)
    assert caught.value.argument == argument


# Responses.


def test_the_state_of_the_program_comes_first() -> None:
    with HealthServer(0, host="127.0.0.1", checks={"it": lambda: None}) as server:
        assert verbose(server.port) == (
            503,
            ["[-]ready failed: the program is not ready", "[+]it ok", "readyz check failed"],
        )
        server.ready()
        assert request(server.port, "/healthz") == (200, "")
        assert verbose(server.port, "/healthz")[1][-1] == "healthz check passed"
        assert request(server.port, "/healthz?verbose", method="HEAD") == (200, "")
        server.not_ready()
        assert request(server.port)[0] == 503


def test_alive_is_a_program_whose_checks_fail() -> None:
    with HealthServer(0, host="127.0.0.1", checks={"it": lambda: False}) as server:
        assert request(server.port, "/livez") == (200, "")
        assert verbose(server.port, "/livez") == (200, ["[+]ping ok", "livez check passed"])
        assert request(server.port, "/livez", method="POST")[0] == 405


def test_json_by_the_accept_header(url: str) -> None:
    checks = {"good": f"{url}/health", "bad": raises}
    with ready_server(checks) as port:
        for path in ("/readyz", "/healthz?verbose"):
            status, text = request(port, path, {"Accept": "text/html, application/json;q=0.9"})
            shown = json.loads(text)
            for one in shown["checks"]:
                assert isinstance(one.pop("elapsed_ms"), float)
                assert one.pop("critical") is True
            assert (status, shown) == (
                503,
                {
                    "healthy": False,
                    "state": "unhealthy",
                    "checks": [
                        {"name": "ready", "healthy": True, "detail": ""},
                        {"name": "good", "healthy": True, "detail": "ok: HTTP status 200"},
                        {"name": "bad", "healthy": False, "detail": "raised ConnectionError"},
                    ],
                },
            )
        status, text = request(port, "/livez", {"Accept": "application/json"})
        assert (status, json.loads(text)["healthy"]) == (200, True)


def test_the_error_of_daprd_names_the_failed_checks() -> None:
    with ready_server({"db": lambda: False, "cache": passes}, daprd=True) as port:
        status, text = request(port, "/v1.0/healthz")
        assert (status, json.loads(text)) == (
            500,
            {"errorCode": "ERR_HEALTH_NOT_READY", "message": "not ready: db"},
        )
        assert request(port, "/readyz") == (503, "")


# What hangs.


def hang_in_a_coroutine() -> tuple[Callable[[], object], Callable[[], None]]:
    async def hang() -> None:
        await asyncio.sleep(3600)

    return hang, lambda: None


def hang_and_take_no_notice() -> tuple[Callable[[], object], Callable[[], None]]:
    over = threading.Event()

    async def hang() -> None:
        while not over.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue

    return hang, over.set


def hang_on_a_thread() -> tuple[Callable[[], object], Callable[[], None]]:
    over = threading.Event()
    return over.wait, over.set


@pytest.mark.parametrize("kind", [hang_in_a_coroutine, hang_and_take_no_notice, hang_on_a_thread])
def test_a_check_that_hangs_has_failed_and_is_not_called_again(
    kind: Callable[[], tuple[Callable[[], object], Callable[[], None]]],
) -> None:
    function, let_go = kind()
    calls = 0

    def counted() -> object:
        nonlocal calls
        calls += 1
        return function()

    async def counted_coroutine() -> object:
        nonlocal calls
        calls += 1
        value = function()
        return await value  # type: ignore[misc]

    chosen = counted if kind is hang_on_a_thread else counted_coroutine
    with ready_server({"it": ServerCheck(chosen, timeout=0.2), "other": passes}, cache=0) as port:
        start = time.monotonic()
        status, lines = verbose(port)
        assert 0.2 <= time.monotonic() - start < 2
        assert status == 503
        assert lines[1:3] == ["[-]it failed: timeout: timed out after 200 ms", "[+]other ok"]
        verbose(port)
        assert calls == (2 if kind is hang_in_a_coroutine else 1)
        let_go()
        if kind is not hang_in_a_coroutine:
            poll(lambda: request(port)[0] == 200, timeout=5, what="it passes again")


def test_a_call_is_over_when_its_function_has_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its thread takes to end."""
    over = threading.Event()

    class Lingering(threading.Thread):
        def run(self) -> None:
            super().run()
            over.wait(10)

    monkeypatch.setattr(checks_module, "threading", SimpleNamespace(Thread=Lingering))
    with ready_server({"it": lambda: None}, cache=0) as port:
        for _ in range(3):
            assert verbose(port)[1][1] == "[+]it ok"
    over.set()


def test_a_target_that_hangs_reports_its_own_timeout_and_ends_with_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks_module, "_GRACE", 10)  # so that a busy machine does not exceed it
    with SilentPeer() as silent:
        target = silent.url()
        with ready_server({"it": ServerCheck(target, timeout=1)}) as port:
            assert verbose(port)[1][1] == (
                "[-]it failed: timeout: timed out after 1000 ms (response)"
            )
        server = HealthServer(0, host="127.0.0.1", checks={"it": ServerCheck(target, timeout=60)})
        with server:
            thread = threading.Thread(target=lambda: request(server.port))
            thread.start()
            for _ in range(2):  # of the server before, and of this one
                with silent.accept() as chosen:
                    chosen.hear()
            start = time.monotonic()
        assert time.monotonic() - start < 5
        thread.join()


# What is shared.


class Counting:
    """A check that counts its runs, and how many ran concurrently."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.runs = 0
        self.ended: list[float] = []
        """When each run ended, on the clock of `time.monotonic()`."""
        self.at_once = 0
        self.most_at_once = 0
        self._seconds = seconds

    async def __call__(self) -> None:
        self.runs += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._seconds)
        self.at_once -= 1
        self.ended.append(time.monotonic())

    def on_a_thread(self) -> None:
        self.runs += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self._seconds)
        self.at_once -= 1


def storm(port: int, seconds: float, connections: int) -> Counter[int]:
    """Send requests as fast as possible over kept-alive connections; count the statuses."""
    responses: Counter[int] = Counter()
    end = time.monotonic() + seconds

    def load() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10 * LOADED) as connection:
            request = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
            while time.monotonic() < end:
                connection.sendall(request)
                responses[int(connection.recv(4096).split()[1])] += 1

    threads = [threading.Thread(target=load) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return responses


def test_a_storm_of_probes_runs_each_check_once_per_period(url: str) -> None:
    quick, slow = Counting(), Counting(0.05)
    checks = {"quick": quick, "slow": slow.on_a_thread, "target": f"{url}/health"}
    with ready_server(checks, cache=0.5) as port:
        start = time.monotonic()
        responses = storm(port, 2.0, connections=8)
        took = time.monotonic() - start
    assert set(responses) == {200}
    for one in (quick, slow):
        assert responses.total() > 20 * one.runs, "not a storm"
        assert 2 <= one.runs <= took / 0.5 + 1
        assert one.most_at_once == 1


def test_concurrent_requests_share_the_run() -> None:
    slow = Counting(0.3)
    with ready_server({"slow": slow}, cache=0) as port:
        threads = [threading.Thread(target=request, args=(port,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert slow.most_at_once == 1
    assert slow.runs < 10


def test_an_outcome_is_kept_for_its_time_and_no_longer() -> None:
    counting = Counting()
    with ready_server({"it": counting}, cache=0.3) as port:
        poll(lambda: request(port)[0] == 200 and counting.runs == 3, timeout=10, what="three runs")
    first, second, third = counting.ended
    assert min(second - first, third - second) >= 0.3


def test_a_server_that_runs_again_on_another_loop_checks_again() -> None:
    counting = Counting()
    server = HealthServer(0, host="127.0.0.1", checks={"it": counting}, cache=0)
    server.ready()
    for runs in (1, 2):
        with server:
            assert request(server.port)[0] == 200
        assert counting.runs == runs


def test_the_checks_of_a_mounted_app_run_on_the_programs_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    async def program() -> None:
        inner = HealthServer(checks={"it": note})
        inner.ready()
        outer = HealthServer(0, host="127.0.0.1")
        outer.app = Starlette(routes=[Mount("/internal", app=inner.app)])
        serving = asyncio.create_task(outer.serve())
        await asyncio.sleep(0)
        assert (await asyncio.to_thread(request, outer.port, "/internal/readyz"))[0] == 200
        outer.stop()
        await serving
        assert loops == [asyncio.get_running_loop()]

    asyncio.run(program())


# What is logged.


def test_the_log_records_the_events(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = logging.getLogger("the.program")
    healthy = True
    checks = {"db": lambda: healthy, "cache": raises}
    with HealthServer(0, host="127.0.0.1", checks=checks, cache=0, log=log) as server:
        port = server.port
        request(port)
        request(port)
        healthy = False
        request(port)
        with pytest.raises(OSError, match="Address already in use"):
            HealthServer(port, host="127.0.0.1", log=log).run()
    ours = [(one.levelname, one.message) for one in caplog.records if one.name == "the.program"]
    assert ours[0] == ("INFO", f"health server listening on http://127.0.0.1:{port}")
    assert sorted(ours[1:3]) == [
        ("INFO", "health check db passes"),
        ("WARNING", "health check cache fails: raised ConnectionError: user:s3cret@db"),
    ]
    assert ours[3:] == [
        ("WARNING", "health check db fails: returned False"),
        (
            "ERROR",
            f"the health server cannot listen on 127.0.0.1 port {port}: Address already in use",
        ),
        ("INFO", "health server stopped"),
    ]


def test_a_server_that_breaks_is_logged_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(HealthServer):
        async def _serve(self, server: Any, sock: Any) -> None:
            async def startup(sockets: object = None) -> None:
                raise OSError("no more descriptors")

            server.startup = startup
            await super()._serve(server, sock)

    server = Broken(0, host="127.0.0.1")
    with server:
        poll(lambda: server.port == 0, timeout=5, what="it has ended")
    failed = [one for one in caplog.records if one.name == "healthchecker"]
    assert [one.message for one in failed] == ["the health server failed"]
    assert failed[0].exc_info
