"""A TCP proxy that can drop its open connections silently, like a firewall."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.servers.peers import Connection, Peer


class Proxy(Peer):
    """Forwards to a port of 127.0.0.1 and back."""

    def __init__(self, port: int) -> None:
        super().__init__(self._pass_on)
        self._upstream = ("127.0.0.1", port)
        self._passing: set[socket.socket] = set()
        self._dead: set[socket.socket] = set()

    def open_connections(self) -> int:
        """Return the number of client connections."""
        return len(self._passing)

    def silence_open_connections(self) -> None:
        """Forward nothing more on the present connections, and leave them open."""
        self._dead |= self._passing

    def _pass_on(self, connection: Connection) -> None:
        near = connection.sock
        near.settimeout(None)
        with socket.create_connection(self._upstream) as far:
            self._passing.add(near)
            back = threading.Thread(target=self._pump, args=(far, near, near))
            back.start()
            self._pump(near, far, near)
            back.join()
            self._passing.discard(near)

    def _pump(self, source: socket.socket, sink: socket.socket, near: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if near not in self._dead:
                    sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
