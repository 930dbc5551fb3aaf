"""The place where a health server listens."""

from __future__ import annotations

import os
import socket


class ServerStartError(OSError):
    """The server cannot listen where it should; the message says where, and why not."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        # socket.create_server() adds words of its own to the system's.
        known = error.errno is not None and error.errno > 0  # a failed look-up has its own numbers
        why = os.strerror(error.errno or 0) if known else error.strerror
        super().__init__(f"the health server cannot listen on {host} port {port}: {why}")
        self.errno = error.errno


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises ServerStartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServerStartError(host, port, error) from error
    # Inherited by each connection; asyncio leaves sockets from create_server() as they are.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
