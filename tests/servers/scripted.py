"""A server for every URL scheme of the registry: it gives a good reply, is silent, or is down."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from healthchecker import Reason
from healthchecker._protocols.registry import SCHEMES
from healthchecker._protocols.websocket import accept_of
from healthchecker._values.target import Place
from tests.servers import grpc
from tests.servers.daemons import free_port
from tests.servers.peers import (
    Behaviour,
    Connection,
    Peer,
    SilentPeer,
    blurt,
    close,
    hold,
    in_turn,
)
from tests.tables.hostile_behaviours import NOTHING, OPENINGS, Opening

DATAGRAMS = ("dns", "udp")
"""Schemes without connections."""
_SAME = {"postgres": "postgresql", "unix": "tcp"}
"""Schemes that share a protocol with one in `OPENINGS`."""
_SEND = "hello"
"""What to send to targets that are healthy without a reply: then they need one."""
_ECHO = Opening((b"welcome",))


@dataclass(frozen=True, slots=True)
class ScriptedServer:
    """One server that is down, and is up within the blocks of its functions."""

    url: str
    options: dict[str, str | bool]
    down: Reason
    """What a check finds while it is down."""
    serving: Callable[[], AbstractContextManager[object]]
    failing_once: Callable[[], AbstractContextManager[object]]
    """It serves, but not at the first attempt."""
    silent: Callable[[], AbstractContextManager[object]] | None = None
    """It is there and does nothing; None if its kind cannot."""

    @property
    def args(self) -> list[str]:
        """The options as arguments of the command line."""
        return [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in self.options.items()
        ]


def scripted_server(
    scheme: str, directory: Path, context: ssl.SSLContext, *, unix_socket: bool = False
) -> ScriptedServer:
    """Return a server that is down; `directory` is for its files, `context` for its TLS."""
    if SCHEMES[scheme].place is Place.FILE:
        return _of_file(scheme, directory)
    if scheme in DATAGRAMS:
        return _of_datagrams(scheme)
    return _of_stream(scheme, directory, context, unix_socket=unix_socket)


def _of_stream(
    scheme: str, directory: Path, context: ssl.SSLContext, *, unix_socket: bool
) -> ScriptedServer:
    own = _SAME.get(scheme, scheme)
    behaviour = _OWN_BEHAVIOUR.get(own) or _give(OPENINGS[own])
    options: dict[str, str | bool] = {"insecure": True} if SCHEMES[scheme].tls else {}
    if OPENINGS[own] is NOTHING:
        options["send"] = _SEND
    tls = context if SCHEMES[scheme].tls else None
    path: str | None = None
    port = 0
    if SCHEMES[scheme].place is Place.SOCKET or unix_socket:
        path = str(directory / f"{scheme}.socket")
        url = f"{scheme}://localhost/" if SCHEMES[scheme].has_path else f"{scheme}://localhost"
        if SCHEMES[scheme].default_port is None:
            url = f"{scheme}://localhost:1"
        if SCHEMES[scheme].place is Place.SOCKET:
            url = f"{scheme}:{path}"
        else:
            options["unix-socket"] = path
    else:
        port = free_port()
        url = f"{scheme}://127.0.0.1:{port}"

    @contextmanager
    def serving(behaviour: Behaviour = behaviour) -> Iterator[object]:
        with Peer(behaviour, context=tls, port=port, unix_socket=path) as peer, _unlinked(path):
            yield peer

    @contextmanager
    def silent() -> Iterator[object]:
        with SilentPeer(port=port, unix_socket=path) as peer, _unlinked(path):
            yield peer

    down = Reason.CONNECTION_FAILED if path else Reason.CONNECTION_REFUSED
    return ScriptedServer(
        url, options, down, serving, lambda: serving(in_turn(close, behaviour)), silent
    )


@contextmanager
def _unlinked(path: str | None) -> Iterator[None]:
    try:
        yield
    finally:
        if path is not None:
            Path(path).unlink()


def _give(opening: Opening) -> Behaviour:
    if opening is NOTHING:
        opening = _ECHO
    return opening.begin(blurt(opening.last, hold))


def _accept_websocket(connection: Connection) -> None:
    key = connection.read_request().partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    connection.send(
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept_of(key) + b"\r\n\r\n"
    )
    connection.hold()


def _serve_grpc(connection: Connection) -> None:
    """Report SERVING; go on with Watch, as its clients demand."""
    _, headers = grpc.read_call(connection)
    watched = headers[":path"].endswith("/Watch")
    connection.send(grpc.SERVING_SO_FAR if watched else grpc.HEALTHY)
    connection.hold()


_OWN_BEHAVIOUR: dict[str, Behaviour] = {
    "ws": _accept_websocket,
    "wss": _accept_websocket,
    "grpc": _serve_grpc,
    "grpcs": _serve_grpc,
}
"""Where bytes that are always the same are no good reply."""


def _of_datagrams(scheme: str) -> ScriptedServer:
    port = free_port()
    path, options = ("/a.test", {}) if scheme == "dns" else ("", {"send": _SEND})

    @contextmanager
    def bound() -> Iterator[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", port))
            yield sock

    @contextmanager
    def serving(*, fails_once: bool = False) -> Iterator[object]:
        with bound() as sock:

            def serve() -> None:
                ignored = fails_once
                while True:
                    data, sender = sock.recvfrom(65_535)
                    if not data:
                        return
                    if ignored:
                        ignored = False
                        continue
                    # With the flags of a reply to DNS; for any other protocol it is just a text.
                    with suppress(OSError):
                        sock.sendto(data[:2] + b"\x81\x80" + data[4:], sender)

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                yield sock
            finally:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                    end.sendto(b"", ("127.0.0.1", port))
                thread.join()

    url = f"{scheme}://127.0.0.1:{port}{path}"
    return ScriptedServer(
        url,
        dict(options),
        Reason.CONNECTION_REFUSED,
        serving,
        lambda: serving(fails_once=True),
        bound,
    )


def _of_file(scheme: str, directory: Path) -> ScriptedServer:
    path = directory / f"{scheme}.file"

    @contextmanager
    def serving() -> Iterator[object]:
        path.write_text(f"{os.getpid()}\n")
        try:
            yield path
        finally:
            path.unlink()

    @contextmanager
    def failing_once() -> Iterator[object]:
        timer = threading.Timer(0.3, lambda: path.write_text(f"{os.getpid()}\n"))
        timer.start()
        try:
            yield path
        finally:
            timer.join()
            path.unlink()

    return ScriptedServer(f"{scheme}://{path}", {}, Reason.MISSING, serving, failing_once)
