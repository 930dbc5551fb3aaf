"""HealthServer over real connections, in each of the ways to run it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from healthchecker import BadArgumentError, HealthServer, ServerStartError, check
from tests.support import LOADED, ROOT, poll


def request(port: int, method: str = "GET", path: str = "/healthz") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5 * LOADED)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture
def server() -> Iterator[HealthServer]:
    with HealthServer(0, host="127.0.0.1") as server:
        yield server


def test_not_ready_at_first_then_as_set(server: HealthServer) -> None:
    assert request(server.port) == (503, b"")
    server.ready()
    assert server.is_ready
    assert request(server.port) == (200, b"")
    server.not_ready()
    assert not server.is_ready
    assert request(server.port) == (503, b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/healthz", 200),
        ("GET", "/healthz?deep=1", 200),
        ("POST", "/healthz", 405),
        ("PUT", "/healthz", 405),
        ("DELETE", "/healthz", 405),
        ("OPTIONS", "/healthz", 405),
        ("GET", "/", 404),
        ("GET", "/healthz/", 200),  # some frameworks add it to mounted paths
        ("GET", "/healthz//", 404),
        ("GET", "/health", 404),
        ("POST", "/other", 404),
    ],
)
def test_methods_and_paths(server: HealthServer, method: str, path: str, status: int) -> None:
    server.ready()
    assert request(server.port, method, path)[0] == status


def test_head_follows_the_state(server: HealthServer) -> None:
    assert request(server.port, "HEAD") == (503, b"")


def test_in_the_manner_of_daprd() -> None:
    with HealthServer(0, host="127.0.0.1", daprd=True) as server:
        status, body = request(server.port, path="/v1.0/healthz")
        assert (status, json.loads(body)) == (
            500,
            {"errorCode": "ERR_HEALTH_NOT_READY", "message": "not ready: ready"},
        )
        server.ready()
        assert request(server.port, path="/v1.0/healthz?verbose") == (204, b"")
        assert request(server.port)[0] == 404
        assert check(f"http://127.0.0.1:{server.port}/v1.0/healthz", status=204)


def test_port_0_takes_a_free_port_for_each_run() -> None:
    server = HealthServer(0, host="127.0.0.1")
    with server:
        assert server.port > 0
        assert request(server.port)[0] == 503
    assert server.port == 0
    with server:
        assert request(server.port)[0] == 503


def test_ipv6() -> None:
    with HealthServer(0, host="::1") as server:
        server.ready()
        assert check(f"http://[::1]:{server.port}/healthz")


def test_a_port_in_use_is_a_clear_error(server: HealthServer) -> None:
    other = HealthServer(server.port, host="127.0.0.1")
    with pytest.raises(ServerStartError) as caught, other:
        pass
    assert str(caught.value) == (
        f"the health server cannot listen on 127.0.0.1 port {server.port}: Address already in use"
    )
    with pytest.raises(ServerStartError, match="Address already in use"):
        asyncio.run(other.serve())
    with pytest.raises(ServerStartError, match="Address already in use"):
        other.run()


def test_a_host_that_is_not_here_is_a_clear_error() -> None:
    with (
        pytest.raises(ServerStartError, match=r"on 192\.0\.2\.1 port 0: Cannot assign requested"),
        HealthServer(0, host="192.0.2.1"),
    ):
        pass


def test_twice_at_the_same_time_is_refused(server: HealthServer) -> None:
    with pytest.raises(RuntimeError, match="already running"), server:
        pass
    assert request(server.port)[0] == 503


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": 65536}, "port: 65536: must be between 0 and 65535"),
        ({"port": -1}, "port: -1: must be between 0 and 65535"),
        ({"path": "healthz"}, "path: 'healthz': must be a plain path"),
        ({"port": "80"}, "port: '80': must be between 0 and 65535"),
        ({"port": True}, "port: True: must be between 0 and 65535"),
        ({"host": 5}, "host: 5: must be a string"),
        ({"path": 5}, "path: 5: must be a plain path"),
        ({"cache": -1}, "cache: -1: must be from 0 and at most 24 hours"),
        ({"cache": "1s"}, "cache: '1s': must be a number of seconds"),
        ({"checks": ["tcp://db:1"]}, "checks: ['tcp://db:1']: must map names"),
        ({"checks": {"a b": "tcp://db:1"}}, "checks: 'a b': must consist of letters"),
        ({"checks": {"ready": "tcp://db:1"}}, "checks: 'ready': must consist of letters"),
        ({"checks": {"db": 5}}, "checks: 'db': must be a target, a function or a ServerCheck"),
        ({"checks": {"db": "db:5432"}}, "checks: 'db': target: 'db:5432': "),
        ({"liveness": {"ping": "tcp://db:1"}}, "liveness: 'ping': must consist of letters"),
        ({"path": "/livez"}, "path: '/livez': is served already"),
        ({"path": "/readyz"}, "path: '/readyz': is served already"),
        ({"path": "/startupz/x"}, "path: '/startupz/x': is served already"),
        ({"path": "/{x}"}, "path: '/{x}': must be a plain path"),
        ({"path": "/a?b"}, "path: '/a?b': must be a plain path"),
        ({"path": "/a/"}, "path: '/a/': must be a plain path"),
        ({"log": "x"}, "log: 'x': must be a logging.Logger"),
        ({"on_change": 5}, "on_change: 5: must be a function, and no coroutine function"),
        ({"on_change": asyncio.sleep}, "on_change: <function sleep at"),
        ({"daprd": 1}, "daprd: 1: must be True or False"),
        ({"details": "no"}, "details: 'no': must be True or False"),
        ({"drain": -1}, "drain: -1: must be from 0"),
        ({"response_format": "xml"}, "response_format: 'xml': must be one of text, json"),
        ({"unix_socket": ""}, "unix_socket: ''"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BadArgumentError) as caught:
        HealthServer(**arguments)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


@contextmanager
def held_connection(port: int, sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10 * LOADED) as held:
        held.sendall(sent)
        yield held


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\n", id="in the middle of a request"),
        pytest.param(
            b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", id="owing a body"
        ),
    ],
)
def test_stop_is_in_time_with_a_client_that_holds_its_connection(sent: bytes) -> None:
    server = HealthServer(0, host="127.0.0.1")
    with server, held_connection(server.port, sent) as held:
        if b"\r\n\r\n" in sent:
            held.recv(1000)
        assert request(server.port)[0] == 503  # so the held connection has also been accepted
        threads = threading.active_count()
        start = time.monotonic()
        server.__exit__()
        assert time.monotonic() - start < 5
        assert threading.active_count() < threads  # threads of other tests may end in the meantime
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(
                ("127.0.0.1", server.port or _port_of(held)), timeout=5 * LOADED
            )


def _port_of(connection: socket.socket) -> int:
    return int(connection.getpeername()[1])


def test_a_kept_alive_connection_does_not_hold_up_the_stop() -> None:
    server = HealthServer(0, host="127.0.0.1")
    with server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5 * LOADED)
        for _ in range(3):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b""
        start = time.monotonic()
    assert time.monotonic() - start < 5
    connection.close()


def test_flips_under_load_never_give_an_untrue_response(server: HealthServer) -> None:
    """Every response was true at some moment between its request and itself."""
    # State i, ready when i is odd, was the truth at most from began[i] to ended[i].
    began, ended = [time.monotonic()], []
    responses: list[tuple[float, float, int]] = []
    responded = threading.Event()
    over = threading.Event()

    def load() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5 * LOADED)
        while not over.is_set():
            sent_at = time.monotonic()
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            response.read()
            responses.append((sent_at, time.monotonic(), response.status))
            responded.set()
        connection.close()

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for count in range(1000):
        began.append(time.monotonic())
        (server.not_ready if count % 2 else server.ready)()
        ended.append(time.monotonic())
        # A response to a request sent after the flip can have one value only.
        while not responses or responses[-1][0] < ended[-1]:
            responded.clear()
            assert responded.wait(5 * LOADED)
    over.set()
    for thread in threads:
        thread.join()
    ended.append(time.monotonic())

    assert {status for _, _, status in responses} == {200, 503}
    for sent_at, got, status in responses:
        first = bisect_left(ended, sent_at)
        last = bisect_right(began, got)
        true_in_between = {200 if index % 2 else 503 for index in range(first, last)}
        assert status in true_in_between


def test_as_a_coroutine_and_cancelled() -> None:
    async def program() -> None:
        server = HealthServer(0, host="127.0.0.1")
        handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        serving = asyncio.create_task(server.serve())
        await asyncio.sleep(0)
        port = server.port
        assert port > 0
        server.ready()
        assert await asyncio.to_thread(request, port) == (200, b"")
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, 5)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(request, port)

    asyncio.run(program())


def test_as_a_coroutine_and_stopped_from_a_thread() -> None:
    async def program() -> None:
        server = HealthServer(0, host="127.0.0.1")
        serving = asyncio.create_task(server.serve())
        await asyncio.sleep(0)
        await asyncio.to_thread(server.stop)
        await asyncio.wait_for(serving, 5)

    asyncio.run(program())


def test_as_an_app_in_a_service_of_ones_own() -> None:
    inner = HealthServer()
    inner.ready()
    outer = HealthServer(0, host="127.0.0.1")
    outer.app = Starlette(routes=[Mount("/internal", app=inner.app)])
    with outer:
        assert request(outer.port, path="/internal/healthz") == (200, b"")
        assert request(outer.port, "POST", path="/internal/healthz")[0] == 405
        assert request(outer.port, path="/healthz")[0] == 404
        inner.not_ready()
        assert request(outer.port, path="/internal/healthz") == (503, b"")


BLOCKING = """
import threading, sys
from healthchecker import HealthServer
server = HealthServer(0, host="127.0.0.1")
server.ready()
def announce():
    while not server.port:
        pass
    print(server.port, flush=True)
threading.Thread(target=announce, daemon=True).start()
server.run()
print("after", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_blocks_until_a_signal(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BLOCKING],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        poll(lambda: request(port) == (200, b""), timeout=5, what="the server responds")
        os.kill(process.pid, number)
        stdout, stderr = process.communicate(timeout=5 * LOADED)
    assert (process.returncode, stdout, stderr) == (0, "after\n", "")


def test_logging_of_the_program_is_left_alone() -> None:
    """A program that serves itself with uvicorn keeps its access log; ours stays out of it."""
    code = """
import logging, http.client
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
access = logging.getLogger("uvicorn.access")
from healthchecker import HealthServer
with HealthServer(0, host="127.0.0.1") as server:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/healthz")
    print(connection.getresponse().status)
    connection.close()
access.info("still there")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "503\n"
    lines = [line for line in done.stderr.splitlines() if line.startswith("uvicorn.access")]
    assert lines == ["uvicorn.access still there"]


def test_only_its_own_server_needs_the_extra() -> None:
    code = """
import pydoc, sys
sys.modules["uvicorn"] = None
sys.modules["starlette"] = None
import healthchecker
from healthchecker import *
assert "HealthServer" in dir(healthchecker) and "Heartbeat" in pydoc.render_doc(healthchecker)
server = HealthServer(8080, checks={"it": ServerCheck("tcp://127.0.0.1:1")})
print(server.wsgi({"REQUEST_METHOD": "GET", "PATH_INFO": "/readyz"}, lambda *a: print(a[0])))
try:
    server.start()
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "503 Service Unavailable\n[]\n"
        "HealthServer needs uvicorn to serve: install healthchecker-static[server]\n"
    )


# Started and stopped, and never left.


def test_start_and_stop() -> None:
    server = HealthServer(0, host="127.0.0.1")
    server.stop()  # without effect
    server.start()
    port = server.port
    assert request(port) == (503, b"")
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        request(port)
    server.stop()
    server.start()
    assert request(server.port) == (503, b"")
    server.stop()


@pytest.mark.parametrize("way", ["server.start()", "server.__enter__()"])
def test_a_server_that_is_never_stopped_does_not_keep_the_program_alive(way: str) -> None:
    code = f"""
from healthchecker import HealthServer, check
server = HealthServer(0, host="127.0.0.1", checks={{"it": lambda: None}})
server.ready()
{way}
assert check(f"http://127.0.0.1:{{server.port}}/healthz")
print("the end", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end\n", "")


# Unix sockets.


def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    server = HealthServer(unix_socket=path)
    for status in (503, 200):
        with server:
            assert check("http://localhost/healthz", unix_socket=path, status=status)
            server.ready()
            assert check("http://localhost/healthz", unix_socket=path)
        assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets exist on Linux only")
def test_it_listens_on_an_abstract_socket() -> None:
    name = f"@healthchecker-test-{os.getpid()}"
    with HealthServer(unix_socket=name):
        assert check("http://localhost/livez", unix_socket=name)


def test_the_socket_of_a_process_that_has_ended_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with HealthServer(unix_socket=path):
        assert check("http://localhost/livez", unix_socket=path)
        with (
            pytest.raises(ServerStartError, match=f"on unix socket {path}: Address already in use"),
            HealthServer(unix_socket=path),
        ):
            pass
        assert check("http://localhost/livez", unix_socket=path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ServerStartError, match="Address already in use"):
        HealthServer(unix_socket=path).run()
    assert path.read_text() == "data"
