"""The socket on which a health server listens."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path


class ServerStartError(OSError):
    """The server cannot listen; the message has address and reason, `errno` is set if known."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number

    def __reduce__(self) -> tuple[type[ServerStartError], tuple[str, int | None]]:
        return type(self), (str(self), self.errno)  # OSError would take the number for a message


class Listener:
    """A listening socket, which also stops listening if another process has inherited it."""

    def __init__(self, sock: socket.socket, place: str, path: str | None = None) -> None:
        self.sock = sock
        self.place = place
        """Where it listens, for messages."""
        self._path = path
        self._process = os.getpid()

    @property
    def port(self) -> int | None:
        """The port, or None for a Unix socket."""
        return int(self.sock.getsockname()[1]) if self._path is None else None

    def close(self) -> None:
        """Stop listening; a process that inherited the socket only closes its own copy."""
        if os.getpid() == self._process:
            # A forked child also holds the socket: without this, the port stays taken and
            # connections to it hang for as long as that child lives.
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            if self._path is not None and not self._path.startswith("\0"):
                with suppress(OSError):
                    Path(self._path).unlink()
        self.sock.close()


def listen_on_port(host: str, port: int) -> Listener:
    """Listen on a TCP port; 0 takes a free one. Raises ServerStartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family)
    except OSError as error:
        raise _start_error(f"{host} port {port}", error) from error
    # Inherited by each connection; asyncio leaves sockets from create_server() as they are.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = f"[{host}]" if family == socket.AF_INET6 else host
    return Listener(sock, f"http://{name}:{sock.getsockname()[1]}")


def listen_on_path(path: str) -> Listener:
    """Listen on a Unix socket; `@NAME` is abstract (Linux). Raises ServerStartError.

    A socket file that was left by a process that has ended is replaced.
    """
    address = "\0" + path[1:] if path.startswith("@") else path
    sock = socket.socket(socket.AF_UNIX)
    try:
        if address == path and _is_left_over(path):
            Path(path).unlink()
        sock.bind(address)
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise _start_error(f"unix socket {path}", error) from error
    return Listener(sock, f"unix:{path}", address)


def _is_left_over(path: str) -> bool:
    """Return whether the path is a socket on which no process listens any more."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(path)
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return False


def _start_error(place: str, error: OSError) -> ServerStartError:
    # socket.create_server() adds its own text to that of the system.
    known = error.errno is not None and error.errno > 0  # a failed lookup has its own numbers
    why = os.strerror(error.errno or 0) if known else error.strerror or error
    return ServerStartError(f"the health server cannot listen on {place}: {why}", error.errno)
