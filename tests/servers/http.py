"""A real HTTP service, with a route for everything that a check of a good server can meet."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.servers.peers import Connection, Peer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a response is sent in one piece: a check waits 100 ms at most for an excerpt
    timeout = 20.0  # for a client that neither sends a request nor disconnects

    def do_GET(self) -> None:
        route = self.path.partition("?")[0]
        if route == "/health":
            self._respond(200, b'{"status":"UP","checks":[{"name":"db","ok":true,"n":3}]}')
        elif route.startswith("/status/"):
            self._respond(int(route.rpartition("/")[2]), b"")
        elif route.startswith("/redirect/"):
            self._respond(302, b"", Location=route.removeprefix("/redirect"))
        elif route == "/elsewhere":
            self._respond(302, b"", Location="http://elsewhere.invalid/health")
        elif route == "/echo":
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            seen = {
                "method": self.command,
                "path": self.path,
                "headers": dict(self.headers),
                "body": body.decode("utf-8", "backslashreplace"),
            }
            self._respond(200, json.dumps(seen).encode())
        elif route == "/bytes":
            self._respond(200, b"\xff\xfe")
        elif route == "/delay":
            threading.Event().wait(0.1)  # a service that takes this long
            self._respond(200, b"late")
        else:
            self._respond(404, b"no such route")

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - the names that http.server looks for

    def _respond(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-State", "fine")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that its end waits for them
    request_queue_size = 128


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass


@contextmanager
def http_service(unix_socket: Path | None = None) -> Iterator[int]:
    """Run the service; the value is its port on 127.0.0.1, or 0 on a Unix socket."""
    server: socketserver.BaseServer
    if unix_socket is None:
        server = _Server(("127.0.0.1", 0), _Handler)
    else:
        server = _UnixServer(str(unix_socket), _Handler)
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1] if isinstance(server, _Server) else 0
        finally:
            server.shutdown()
            thread.join()


class Scripted:
    """Responds with each status in turn, the last one forever, and records the requests."""

    def __init__(self, statuses: Sequence[int], before_response: Callable[[int], object]) -> None:
        self.url = ""
        self.requested_at: list[float] = []
        """When each request arrived, on the clock of `time.monotonic()`."""
        self.most_at_the_same_time = 0
        self._statuses = statuses
        self._before_response = before_response
        self._at_the_same_time = 0
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> None:
        with self._lock:
            index = len(self.requested_at)
            self.requested_at.append(time.monotonic())
            self._at_the_same_time += 1
            self.most_at_the_same_time = max(self.most_at_the_same_time, self._at_the_same_time)
        try:
            connection.read_request()
            self._before_response(index)
        finally:
            with (
                self._lock
            ):  # before the response: its reader may send the next request immediately
                self._at_the_same_time -= 1
        status = self._statuses[min(index, len(self._statuses) - 1)]
        connection.send(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)


@contextmanager
def scripted(
    *statuses: int, before_response: Callable[[int], object] = lambda _: None
) -> Iterator[Scripted]:
    """Serve `statuses`; `before_response` is called with the number of the request, from 0."""
    made = Scripted(statuses, before_response)
    with Peer(made) as peer:
        made.url = peer.url(path="/health")
        yield made
