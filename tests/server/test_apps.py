"""HealthServer's ASGI and WSGI apps: in other servers, on other event loops, and misused."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, MutableMapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import httpx
import pytest

from healthchecker import HealthServer, ServerCheck, check
from healthchecker._server.background import background
from tests.servers.daemons import free_port
from tests.support import ROOT, poll, require

Message = MutableMapping[str, Any]


async def passes() -> bool:
    return True


async def asgi(server: HealthServer, scope: Message, *received: Message) -> list[Message]:
    """Call the app; return what it sent."""
    sent: list[Message] = []
    events = iter(received)

    async def receive() -> Message:
        return next(events)

    async def send(message: Message) -> None:
        sent.append(message)

    await server.app(scope, receive, send)
    return sent


def scope(path: str, method: str = "GET", **more: Any) -> Message:
    return {"type": "http", "method": method, "path": path, "headers": [], **more}


@pytest.mark.parametrize(
    ("path", "root", "status"),
    [
        ("/readyz", "", 200),
        ("/a/readyz", "/a", 200),  # Starlette
        ("/readyz", "/a", 200),  # Litestar, and servers before the path had the root
        ("/a/readyz/", "/a", 200),
        ("/ab/readyz", "/a", 404),
        ("/a/b/readyz", "/a/b/", 200),
        ("/a", "/a", 404),
    ],
)
def test_the_path_is_relative_to_where_it_is_mounted(path: str, root: str, status: int) -> None:
    server = HealthServer()
    server.ready()
    start, body = asyncio.run(asgi(server, scope(path, root_path=root)))
    assert (start["status"], body["body"]) == (status, b"")
    assert (b"cache-control", b"no-store") in start["headers"]


def test_the_accept_header_may_come_in_parts() -> None:
    headers = [(b"Accept", b"text/html"), (b"accept", b"application/json")]
    start, body = asyncio.run(asgi(HealthServer(), {**scope("/livez"), "headers": headers}))
    assert (b"content-type", b"application/json") in start["headers"]
    assert b'"healthy": true' in body["body"]


def test_lifespan_and_websocket() -> None:
    server = HealthServer()
    events = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert [one["type"] for one in asyncio.run(asgi(server, {"type": "lifespan"}, *events))] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    connect = {"type": "websocket.connect"}
    (closed,) = asyncio.run(asgi(server, {"type": "websocket"}, connect))
    assert closed["type"] == "websocket.close"


def test_it_is_no_router() -> None:
    require(find_spec("fastapi"), "fastapi is not installed: pip install --group frameworks")
    from fastapi import FastAPI  # noqa: PLC0415 - not always installed

    with pytest.raises(AttributeError, match=r"it is an ASGI app, not a router; mount it, as in"):
        FastAPI().include_router(HealthServer().app)


def test_under_trio_functions_and_targets_run_and_coroutine_functions_fail() -> None:
    require(find_spec("trio"), "trio is not installed: pip install --group frameworks")
    import trio  # noqa: PLC0415 - not always installed

    checks: dict[str, Any] = {
        "function": lambda: True,
        "target": ServerCheck("tcp://127.0.0.1:1", critical=False),
        "coroutine": passes,
    }
    server = HealthServer(checks=checks, cache=0)
    server.ready()
    for _ in range(2):
        start, body = trio.run(asgi, server, scope("/readyz", query_string=b"verbose"))
        assert start["status"] == 503
        lines = body["body"].decode().splitlines()
        assert lines[:2] == ["[+]ready ok", "[+]function ok"]
        assert lines[2].startswith("[-]target failed, not critical: connection_refused: ")
        assert lines[3].startswith("[-]coroutine failed: a coroutine function needs asyncio, ")


# WSGI.


@pytest.fixture
def wsgi_server(request: pytest.FixtureRequest) -> Callable[[HealthServer], str]:
    """Serve an app with the standard library's server, which validates the protocol."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_args: Any) -> None:
            pass

    def serve(server: HealthServer) -> str:
        http = make_server("127.0.0.1", 0, validator(server.wsgi), handler_class=Quiet)
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()

        def end() -> None:
            http.shutdown()
            thread.join()
            http.server_close()

        request.addfinalizer(end)
        return f"http://127.0.0.1:{http.server_port}"

    return serve


def test_wsgi_runs_the_same_checks(wsgi_server: Callable[[HealthServer], str]) -> None:
    threads: list[str] = []
    checks = {
        "function": lambda: threads.append(threading.current_thread().name),
        "coroutine": passes,
    }
    server = HealthServer(checks=checks, cache=0)
    base = wsgi_server(server)
    assert check(f"{base}/healthz", status=503)
    server.ready()
    assert check(f"{base}/healthz")
    with httpx.Client(trust_env=False) as client:
        response = client.get(f"{base}/readyz?verbose")
        assert response.text.splitlines() == [
            *("[+]ready ok", "[+]function ok", "[+]coroutine ok"),
            "readyz check passed",
        ]
        assert response.headers["Cache-Control"] == "no-store"
        head = client.head(f"{base}/readyz?verbose")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == response.headers["Content-Length"]
        assert client.get(f"{base}/readyz/function").status_code == 200
        accept = {"Accept": "application/health+json"}
        assert client.get(f"{base}/readyz", headers=accept).json()["status"] == "pass"
        assert client.post(f"{base}/livez").status_code == 405
        assert client.get(f"{base}/none").status_code == 404
    assert set(threads) == {"healthchecker-check"}


def test_without_a_thread_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    statuses: list[str] = []
    background.forget()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        server = HealthServer()
        server.ready()
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/readyz"}
        assert server.wsgi(environ, lambda status, _: statuses.append(status)) == []
    assert server.wsgi(environ, lambda status, _: statuses.append(status)) == []
    assert statuses == ["503 Service Unavailable", "200 OK"]


def test_the_server_of_a_master_that_forks_workers(tmp_path: Path) -> None:
    """It runs in the master of gunicorn; reloads and the end of the master release its port."""
    require(find_spec("gunicorn"), "gunicorn is not installed: pip install --group frameworks")
    port, health = free_port(), free_port()
    (tmp_path / "gunicorn.conf.py").write_text(
        "from healthchecker import HealthServer\n"
        f"health = HealthServer({health}, host='127.0.0.1')\n"
        "health.ready()\n"
        "def when_ready(server):\n"
        "    if not health.is_draining: health.start()\n"
    )
    (tmp_path / "app.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [str(os.getpid()).encode()]\n"
    )
    argv = [sys.executable, "-m", "gunicorn", "app:app", "--bind", f"127.0.0.1:{port}"]
    with (tmp_path / "output").open("wb") as output:
        master = subprocess.Popen(
            argv,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
        )
    try:
        poll(lambda: check(f"tcp://127.0.0.1:{port}"), timeout=60, what="gunicorn listens")
        poll(lambda: check(f"http://127.0.0.1:{health}/readyz"), timeout=10, what="it is ready")

        def worker() -> str:
            return httpx.get(f"http://127.0.0.1:{port}", trust_env=False).text

        before = worker()
        master.send_signal(signal.SIGHUP)
        poll(lambda: worker() != before, timeout=30, what="another worker")
        assert check(f"http://127.0.0.1:{health}/readyz")
        os.kill(int(worker()), signal.SIGSTOP)  # a worker that outlives its master
        master.kill()
        master.wait()
        assert check(f"tcp://127.0.0.1:{health}").reason == "connection_refused"
    finally:
        master.kill()
        master.wait()
        for pid in _children_of(tmp_path):
            os.kill(pid, signal.SIGKILL)


def _children_of(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found
