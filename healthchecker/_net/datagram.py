"""One request and one reply by UDP, inside a deadline."""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from healthchecker._net.connect import socket_address
from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import REASON_BY_ERRNO, demand_resources, os_message
from healthchecker._values.result import ProbeFailure, Reason

T = TypeVar("T")

MAX_DATAGRAM = 65_535
_ATTEMPT_DELAY = 0.25
"""Seconds until the next address is tried too, as for TCP."""


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A request by UDP."""

    data: bytes
    accept: Callable[[bytes, str], T | None]
    """Gets a datagram and its sender's address; returns None for one that is not the reply."""
    resend_after: float = math.inf
    """Seconds without a reply after which the request is sent again."""


def exchange(addresses: Sequence[str], port: int, request: Request[T], deadline: Deadline) -> T:
    """Send a request to each address in turn until one replies; return the accepted reply.

    An address that refuses the request, as only a connected socket hears, gives way to the next.
    """
    sockets = _Sockets(addresses, port, request.data)
    resend = time.monotonic() + request.resend_after
    try:
        while True:
            now = time.monotonic()
            if sockets.waiting and now >= sockets.next_start:
                sockets.open_next(now)
                continue
            if not sockets.open:
                raise sockets.failure
            if now >= resend:
                resend = now + request.resend_after
                sockets.send(sockets.open)
                continue
            limit = min(resend, sockets.next_start if sockets.waiting else math.inf) - now
            waits = [(fd, select.POLLIN) for fd in sockets.open]
            for fd in deadline.wait_any(waits, None if math.isinf(limit) else limit):
                datagram = sockets.receive(fd)
                if datagram is not None:
                    reply = request.accept(*datagram)
                    if reply is not None:
                        return reply
    finally:
        sockets.close()


class _Sockets:
    """Connected sockets: one for each address that has been tried and has not failed."""

    def __init__(self, addresses: Sequence[str], port: int, request: bytes) -> None:
        self.waiting = list(reversed(addresses))
        self.next_start = 0.0
        self.open: dict[int, tuple[socket.socket, str]] = {}
        self._failures: list[ProbeFailure] = []
        self._port = port
        self._request = request

    @property
    def failure(self) -> ProbeFailure:
        """The failure to report: the same one, whatever the order of the addresses."""
        return min(self._failures, key=str)

    def open_next(self, now: float) -> None:
        """Send the request to the next address."""
        self.next_start = now + _ATTEMPT_DELAY
        address = self.waiting.pop()
        try:
            sock = socket.socket(
                socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
            )
        except OSError as error:
            demand_resources(error)
            self._fail(address, error)
            return
        sock.setblocking(False)
        self.open[sock.fileno()] = sock, address
        try:
            sock.connect(socket_address(address, self._port))
        except OSError as error:
            self._drop(sock.fileno(), error)
            return
        self.send([sock.fileno()])

    def send(self, fds: Sequence[int] | dict[int, tuple[socket.socket, str]]) -> None:
        """Send the request."""
        for fd in list(fds):
            try:
                self.open[fd][0].send(self._request)
            except BlockingIOError:
                continue
            except OSError as error:
                self._drop(fd, error)

    def receive(self, fd: int) -> tuple[bytes, str] | None:
        """Return a datagram and its sender's address, unless there is none."""
        sock, address = self.open[fd]
        try:
            return sock.recv(MAX_DATAGRAM), address
        except BlockingIOError:
            return None
        except OSError as error:
            self._drop(fd, error)
            return None

    def close(self) -> None:
        for sock, _ in self.open.values():
            sock.close()

    def _drop(self, fd: int, error: OSError) -> None:
        sock, address = self.open.pop(fd)
        sock.close()
        self._fail(address, error)

    def _fail(self, address: str, error: OSError) -> None:
        self.next_start = 0.0
        place = f"[{address}]" if ":" in address else address
        self._failures.append(
            ProbeFailure(
                REASON_BY_ERRNO.get(error.errno or 0, Reason.CONNECTION_FAILED),
                f"{place}:{self._port}: {os_message(error)}",
            )
        )
