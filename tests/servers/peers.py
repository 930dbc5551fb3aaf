"""Peers that misbehave: a listening socket that stays silent, or one with a scripted behaviour."""

from __future__ import annotations

import itertools
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

from tests.support import LOADED, SLOWNESS

Behaviour = Callable[["Connection"], None]

_GIVE_UP = 20.0 * LOADED
_DRIP = 0.03


class Connection:
    """One accepted connection, which a behaviour handles."""

    def __init__(self, sock: socket.socket, peer_stops: threading.Event, number: int) -> None:
        sock.settimeout(_GIVE_UP)
        self.sock = sock
        self.peer_stops = peer_stops
        self.number = number
        """How many connections the peer had before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.sock.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self.sock.do_handshake()

    def read_request(self) -> bytes:
        """Return a request without a body, or less if the client closes first."""
        request = b""
        while b"\r\n\r\n" not in request:
            more = self.sock.recv(65536)
            if not more:
                break
            request += more
        return request

    def hear(self) -> bytes:
        """Return more bytes from the client; empty if it has closed."""
        return self.sock.recv(65536)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hold(self) -> None:
        """Send nothing more and wait until the client has closed."""
        while self.sock.recv(65536):
            pass

    def close(self) -> None:
        """Close in order: read the rest from the client, so that nothing is reset."""
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock = self.sock.unwrap()
        self.half_close()

    def half_close(self) -> None:
        """Shut down our direction of the TCP connection, without TLS, and go on reading."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)
        self.hold()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def drip(self, data: bytes, pause: float = _DRIP) -> None:
        """Send one byte at a time, in a loop, while the client reads."""
        for byte in itertools.cycle(data):
            threading.Event().wait(pause * SLOWNESS)
            self.send(bytes([byte]))

    def flood(self, data: bytes) -> None:
        """Send forever, as fast as the client reads."""
        while True:
            self.send(data)


class SilentPeer:
    """A listening socket: the kernel accepts connections, and nothing is ever sent.

    It is on a free port of loopback, or on a Unix socket: a path, or an abstract name after `@`.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, unix_socket: str | None = None
    ) -> None:
        self.host = host
        self.port = 0
        if unix_socket is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family, backlog=256)
            self.port = self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(
                "\0" + unix_socket[1:] if unix_socket.startswith("@") else unix_socket
            )
            self._listener.listen(256)
        # Small, so that a client cannot send much to a peer that does not read.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.settimeout(_GIVE_UP)
        self._stops = threading.Event()
        self._accepted = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.close()

    @property
    def address(self) -> str:
        """The host and the port, as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, scheme: str = "http", path: str = "/") -> str:
        return f"{scheme}://{self.address}{path}"

    def accept(self) -> Connection:
        """Return the next connection, for the test to handle."""
        return Connection(self._listener.accept()[0], self._stops, next(self._accepted))


class Peer(SilentPeer):
    """A server that handles its connections by a behaviour, concurrently."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        unix_socket: str | None = None,
    ) -> None:
        super().__init__(host=host, port=port, unix_socket=unix_socket)
        self.connected_at: list[float] = []
        self._behaviour = behaviour
        self._context = context
        self._listener.settimeout(None)
        self._stopping = os.eventfd(0)
        self._accepting = threading.Thread(target=self._serve)
        self._open: dict[Connection, threading.Thread] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Accept the clients that have connected, close every connection, join the threads."""
        self._stops.set()
        os.eventfd_write(self._stopping, 1)
        self._accepting.join()
        os.close(self._stopping)
        with self._lock:
            left = dict(self._open)
            for connection in left:
                with suppress(OSError):
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        for thread in left.values():
            thread.join()
        super().__exit__()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._stopping, select.POLLIN)
        # Stopping is last: clients that came and went before this thread ran count.
        while self._listener.fileno() in dict(poll.poll()):
            connection = self.accept()
            self.connected_at.append(time.monotonic())
            thread = threading.Thread(target=self._handle, args=(connection,))
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _handle(self, connection: Connection) -> None:
        try:
            if self._context is not None:
                connection.start_tls(self._context)
            self._behaviour(connection)
        except OSError:
            pass  # the client has closed, as it may
        finally:
            with self._lock:
                del self._open[connection]
                connection.sock.close()


@contextmanager
def silent_addresses(hosts: Sequence[str], port: int = 0) -> Iterator[int]:
    """Make addresses that ignore connection attempts, like a firewall; yield their port.

    The queues of their listeners are full, so that the kernel drops further attempts.
    """
    with ExitStack() as stack:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = stack.enter_context(
                socket.create_server((host, port), family=family, backlog=0)
            )
            port = listener.getsockname()[1]
            for _ in range(3):
                waiting = stack.enter_context(socket.socket(family))
                waiting.setblocking(False)
                waiting.connect_ex((host, port))
        yield port


@contextmanager
def refusing_port() -> Iterator[int]:
    """Hold a port of 127.0.0.1 without a listener, which no other program can get."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# Behaviours


def hold(connection: Connection) -> None:
    connection.hold()


def close(connection: Connection) -> None:
    connection.close()


def half_close(connection: Connection) -> None:
    connection.half_close()


def reset(connection: Connection) -> None:
    connection.reset()


def drip(data: bytes, pause: float = _DRIP) -> Behaviour:
    return lambda connection: connection.drip(data, pause)


def flood(data: bytes) -> Behaviour:
    return lambda connection: connection.flood(data)


def never_read(connection: Connection) -> None:
    """Read nothing; the kernel takes the bytes that fit its buffer."""
    connection.peer_stops.wait(_GIVE_UP)


def read_a_byte(then: Behaviour) -> Behaviour:
    """Wait for a byte from the client, and continue with `then`."""

    def behave(connection: Connection) -> None:
        connection.sock.recv(1)
        then(connection)

    return behave


def slowly(behaviour: Behaviour, seconds: float) -> Behaviour:
    """Run `behaviour` after `seconds`."""

    def behave(connection: Connection) -> None:
        threading.Event().wait(seconds * SLOWNESS)
        behaviour(connection)

    return behave


def respond(data: bytes, then: Behaviour = close) -> Behaviour:
    """Read the request, send `data`, and continue with `then`."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(data)
        then(connection)

    return behave


def blurt(data: bytes, then: Behaviour = close) -> Behaviour:
    """Send `data` without reading, and continue with `then`."""

    def behave(connection: Connection) -> None:
        connection.send(data)
        then(connection)

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Use a behaviour for each connection, in order; the last one is repeated."""

    def behave(connection: Connection) -> None:
        behaviours[min(connection.number, len(behaviours) - 1)](connection)

    return behave
