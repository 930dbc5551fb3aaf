"""A HealthServer in programs that fork, and in programs that get SIGTERM."""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from healthchecker import BadArgumentError, HealthServer, check
from healthchecker._server.background import background
from tests.support import LOADED, ROOT, poll


def get(port: int, path: str = "/readyz") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * LOADED)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10 * LOADED).close()
    except ConnectionRefusedError:
        return True
    return False


# Forks.


@contextmanager
def child(body: object = None) -> Iterator[int]:
    """Fork a child that runs `body`, reports its success, and lives on until this is left."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            if callable(body):
                body()
            os.write(write, b"+")
        finally:
            os.write(write, b"-")
            signal.pause()
    try:
        assert os.read(read, 1) == b"+"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@forks
def test_a_child_that_lives_on_keeps_no_port() -> None:
    with HealthServer(0, host="127.0.0.1") as server, contextlib.ExitStack() as stack:
        port = server.port
        held = stack.enter_context(
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", port))
        )
        held.request("GET", "/livez")
        assert held.getresponse().read() == b""
        assert held.sock
        held.sock.settimeout(10)
        stack.enter_context(child())
        assert get(port) == 503
        server.stop()
        assert held.sock.recv(1) == b"", "the connection has ended for its client too"
        assert refuses(port)
        with HealthServer(port, host="127.0.0.1"):
            assert get(port) == 503


@forks
def test_the_child_can_serve_for_itself() -> None:
    healthy = threading.Event()
    server = HealthServer(0, host="127.0.0.1", checks={"it": healthy.wait}, cache=0)

    def serve_in_child() -> None:
        assert server.port == 0
        server.stop()
        healthy.set()
        with server:
            server.ready()
            assert get(server.port) == 200
        assert server.results()

    with server:
        server.ready()
        background.run(_nothing()).result()
        waiting = threading.Thread(target=lambda: get(server.port))
        waiting.start()
        poll(lambda: _is_called("healthchecker-check"), timeout=5, what="the check hangs")
        with child(serve_in_child):
            healthy.set()
            assert get(server.port) == 200
        waiting.join()


async def _nothing() -> None:
    pass


def _is_called(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


@forks
def test_the_child_leaves_the_block_without_ending_the_parents_server(tmp_path: object) -> None:
    path = f"{tmp_path}/health.sock"
    server = HealthServer(unix_socket=path)
    with server:
        pid = os.fork()
        if not pid:
            try:
                server.__exit__()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert check("http://localhost/livez", unix_socket=path)


def _check(url: str) -> bool:
    return bool(check(url))


@forks
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str) -> None:
    context = multiprocessing.get_context(method)
    with HealthServer(0, host="127.0.0.1") as server, context.Pool(1) as pool:
        assert pool.apply(_check, [f"http://127.0.0.1:{server.port}/livez"])
        port = server.port
        server.stop()
        assert refuses(port)
        pool.close()
        pool.join()


# Draining.


def test_drain_is_not_ready_first_and_then_the_end() -> None:
    with HealthServer(0, host="127.0.0.1") as server:
        server.ready()
        port = server.port
        assert get(port) == 200
        start = time.monotonic()
        server.drain(0.5)
        assert server.is_draining
        assert not server.is_ready
        assert (get(port), get(port, "/livez")) == (503, 200)
        server.ready()  # has no effect any more
        assert get(port, "/healthz") == 503
        poll(lambda: refuses(port), timeout=10, what="it has ended")
        assert time.monotonic() - start >= 0.5
        server.stop()
        server.start()
        assert not server.is_draining
        assert get(server.port) == 200


def test_drain_uses_the_seconds_of_the_constructor() -> None:
    with HealthServer(0, host="127.0.0.1", drain=3600) as server:
        server.drain()
        assert get(server.port) == 503
        server.drain(0)
        port = server.port
        poll(lambda: refuses(port), timeout=10, what="it has ended")
    for seconds in (-1, "1", True):
        with pytest.raises(BadArgumentError, match=r"^seconds: "):
            server.drain(seconds)  # type: ignore[arg-type]


def test_a_draining_app_says_so() -> None:
    server = HealthServer()
    server.ready()
    server.drain(5)
    assert server.results().checks["ready"].detail == "the program is shutting down"


@contextmanager
def program(code: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a program that prints its port; yield both."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


RUN = """
import threading
from healthchecker import HealthServer
server = HealthServer(0, host="127.0.0.1", drain={drain})
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
def test_run_drains_at_a_signal_and_stops_at_the_second(number: int) -> None:
    with program(RUN.format(drain=3600)) as (process, port):
        poll(lambda: get(port) == 200, timeout=10, what="it is ready")
        process.send_signal(number)
        poll(lambda: get(port) == 503, timeout=10, what="it is not ready")
        assert get(port, "/livez") == 200
        assert process.poll() is None
        process.send_signal(number)
        assert process.communicate(timeout=10 * LOADED) == ("after\n", "")
        assert process.returncode == 0


def test_run_stops_by_itself_when_it_has_drained() -> None:
    with program(RUN.format(drain=0.3)) as (process, port):
        poll(lambda: get(port) == 200, timeout=10, what="it is ready")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10 * LOADED) == ("after\n", "")
        assert process.returncode == 0


SCRIPT = """
import signal, sys, threading
from healthchecker import HealthServer
{handler}
with HealthServer(0, host="127.0.0.1") as server:
    server.ready()
    server.drain_on_sigterm({seconds})
    print(server.port, flush=True)
    threading.Event().wait()
"""
HANDLER = "signal.signal(signal.SIGTERM, lambda *_: sys.exit('at SIGTERM'))"


@pytest.mark.parametrize(
    ("handler", "end"),
    [("", (-signal.SIGTERM, "")), (HANDLER, (1, "at SIGTERM\n"))],
    ids=["the default", "a handler"],
)
def test_sigterm_is_delayed_until_it_has_drained(handler: str, end: tuple[int, str]) -> None:
    seconds = 6  # long enough for a busy machine to see it
    with program(SCRIPT.format(handler=handler, seconds=seconds)) as (process, port):
        assert get(port) == 200
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        poll(lambda: get(port) == 503, timeout=10, what="it is not ready")
        stderr = process.communicate(timeout=10 * LOADED)[1]
        assert time.monotonic() - start >= seconds
        assert (process.returncode, stderr) == end


def test_the_second_sigterm_does_not_wait() -> None:
    with program(SCRIPT.format(handler="", seconds=3600)) as (process, port):
        process.send_signal(signal.SIGTERM)
        poll(lambda: get(port) == 503, timeout=10, what="it is not ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10 * LOADED) == -signal.SIGTERM


def test_sigterm_cannot_be_delayed_on_another_thread_or_for_a_loop() -> None:
    code = """
import asyncio, signal, threading
from healthchecker import HealthServer
server = HealthServer()
def refused():
    try:
        server.drain_on_sigterm(1)
    except RuntimeError as error:
        print(error)
thread = threading.Thread(target=refused)
thread.start()
thread.join()
async def program():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)
    refused()
asyncio.run(program())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == (
        "drain_on_sigterm() must be called on the main thread\n"
        "drain_on_sigterm() cannot delay a handler of loop.add_signal_handler();"
        " call drain() in that handler\n"
    )
