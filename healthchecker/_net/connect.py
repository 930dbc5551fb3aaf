"""Connections: to the first of a host's addresses that responds, or to a Unix socket."""

from __future__ import annotations

import errno
import select
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import REASON_BY_ERRNO, Stream, demand_resources, os_message
from healthchecker._values.result import ProbeFailure, Reason

_ATTEMPT_DELAY = 0.25  # RFC 8305, section 5: Connection Attempt Delay
_MIN_ATTEMPT_DELAY = 0.01  # the same


def open_tcp(addresses: Sequence[str], port: int, deadline: Deadline) -> Stream:
    """Connect to the first address that responds, trying the next if one fails or is slow.

    A simple form of Happy Eyeballs (RFC 8305): a slow attempt goes on beside the next one.
    """
    waiting = list(reversed(addresses))
    pending: dict[int, tuple[socket.socket, str]] = {}
    failures: list[ProbeFailure] = []
    next_start = 0.0
    try:
        while waiting or pending:
            now = time.monotonic()
            if waiting and (not pending or now >= next_start):
                address = waiting.pop()
                # Shorter with many addresses, so that the last one gets time.
                share = deadline.remaining() / (2 * (len(waiting) + 1))
                next_start = now + max(min(_ATTEMPT_DELAY, share), _MIN_ATTEMPT_DELAY)
                try:
                    sock = _socket_for(address)
                except OSError as error:
                    failures.append(_connect_failure(error.errno, address, port))
                    continue
                pending[sock.fileno()] = (sock, address)
                code = _begin(sock, socket_address(address, port))
                if code == 0:
                    code = _self_connection(sock, port)
                if code == 0:
                    return Stream(pending.pop(sock.fileno())[0], deadline)
                if code != errno.EINPROGRESS:
                    pending.pop(sock.fileno())[0].close()
                    failures.append(_connect_failure(code, address, port))
                continue
            limit = next_start - now if waiting else None
            for fd in deadline.wait_any([(fd, select.POLLOUT) for fd in pending], limit):
                sock, address = pending.pop(fd)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _self_connection(
                    sock, port
                )
                if code == 0:
                    return Stream(sock, deadline)
                sock.close()
                failures.append(_connect_failure(code, address, port))
                next_start = 0.0
    finally:
        for sock, _ in pending.values():
            sock.close()
    # Always the same one, whatever the order in which a name server lists the addresses.
    raise min(failures, key=str)


def open_unix(name: str, deadline: Deadline) -> Stream:
    """Connect to a Unix socket: a path, or a name in the abstract namespace after `@`."""
    try:
        sock = _non_blocking(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise _connect_failure(error.errno, name, None) from error
    address = "\0" + name[1:] if name.startswith("@") else name
    while True:
        code = sock.connect_ex(address)
        if code == 0:
            return Stream(sock, deadline)
        if code != errno.EAGAIN:
            sock.close()
            raise _connect_failure(code, name, None)
        # The listener's queue is full, and poll() does not report when it no longer is.
        try:
            deadline.wait_any([], limit=0.01)
        except BaseException:
            sock.close()
            raise


def datagram_socket(family: int) -> socket.socket:
    """Return a non-blocking UDP socket."""
    return _non_blocking(family, socket.SOCK_DGRAM)


def socket_address(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return an IP address, which may have a zone such as `%eth0` or `%1`, as sockets take it."""
    host, _, zone = address.partition("%")
    if not zone:
        return (host, port)
    try:
        scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    except OSError as error:
        demand_resources(error)
        message = f"no such network interface: {zone}"
        raise ProbeFailure(Reason.CONNECTION_FAILED, message) from error
    return (host, port, 0, scope)


def _socket_for(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = _non_blocking(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _non_blocking(family: int, kind: int) -> socket.socket:
    """Return a socket that is non-blocking from its start, which saves Linux a system call."""
    non_blocking = getattr(socket, "SOCK_NONBLOCK", 0)
    sock = socket.socket(family, kind | non_blocking)
    if not non_blocking:
        sock.setblocking(False)
    return sock


def _begin(sock: socket.socket, address: tuple[str, int] | tuple[str, int, int, int]) -> int:
    """Begin to connect; return 0, EINPROGRESS or another errno.

    A connection to the same machine exists when the first call returns, but on Linux only a second
    call returns 0. That saves a wait.
    """
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS and sys.platform == "linux":
        code = sock.connect_ex(address)
    return {errno.EALREADY: errno.EINPROGRESS, errno.EISCONN: 0}.get(code, code)


def _self_connection(sock: socket.socket, port: int) -> int:
    """Return ECONNREFUSED for a connection to itself, otherwise 0.

    To a free port of the range from which the kernel takes the ports of clients, it may take this
    very port, and TCP connects the socket to itself (RFC 9293, section 3.5: simultaneous open).
    """
    if sock.getsockname()[1] == port:
        with suppress(OSError):  # a connection that is closed already had a peer
            if sock.getsockname() == sock.getpeername():
                return errno.ECONNREFUSED
    return 0


def _connect_failure(code: int | None, address: str, port: int | None) -> ProbeFailure:
    place = address if port is None else f"[{address}]:{port}" if ":" in address else None
    return ProbeFailure(
        REASON_BY_ERRNO.get(code or 0, Reason.CONNECTION_FAILED),
        f"{place or f'{address}:{port}'}: {os_message(code)}",
    )
