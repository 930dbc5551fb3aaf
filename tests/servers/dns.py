"""A name server that can respond in any way, over UDP and TCP on one address."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

A = 1
AAAA = 28

_CNAME = 5
_HEADER = 12
_RESPONSE = 0x8180
_TRUNCATED = 0x0200


@dataclass(frozen=True, slots=True)
class Question:
    """A client's question."""

    query_id: int
    name: str
    kind: int
    section: bytes
    over_tcp: bool


Reply = Callable[[Question], Sequence[bytes]]
"""Returns the messages to send for a question, if any."""


def message(
    question: Question,
    addresses: Sequence[str] = (),
    *,
    rcode: int = 0,
    flags: int = 0,
    query_id: int | None = None,
    section: bytes | None = None,
    alias: bool = False,
) -> bytes:
    """Encode a response with those of the addresses that are of the requested kind."""
    records = []
    if alias:
        records.append(b"\xc0\x0c" + struct.pack("!HHIH", _CNAME, 1, 60, 2) + b"\xc0\x0c")
    for address in addresses:
        kind, family = (AAAA, socket.AF_INET6) if ":" in address else (A, socket.AF_INET)
        if kind == question.kind:
            data = socket.inet_pton(family, address)
            records.append(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data)
    head = struct.pack(
        "!6H",
        question.query_id if query_id is None else query_id,
        _RESPONSE | flags | rcode,
        *(1, len(records), 0, 0),
    )
    return head + (section or question.section) + b"".join(records)


def addresses(*which: str, alias: bool = False) -> Reply:
    return lambda question: [message(question, which, alias=alias)]


def error(rcode: int, kinds: Sequence[int] = (A, AAAA), otherwise: Sequence[str] = ()) -> Reply:
    """Reply to questions of some kinds with an error code, to the others with addresses."""

    def reply(question: Question) -> list[bytes]:
        if question.kind in kinds:
            return [message(question, rcode=rcode)]
        return [message(question, otherwise)]

    return reply


def silent(_question: Question) -> list[bytes]:
    return []


def silent_about(kind: int, *which: str) -> Reply:
    return lambda question: [] if question.kind == kind else [message(question, which)]


def truncated(over_tcp: Reply) -> Reply:
    """Reply over UDP that the response is too long for it."""

    def reply(question: Question) -> Sequence[bytes]:
        if question.over_tcp:
            return over_tcp(question)
        return [message(question, flags=_TRUNCATED)]

    return reply


def cut_off(question: Question) -> list[bytes]:
    return [message(question, ["127.0.0.1", "::1"])[:-3]]


def after_noise(*which: str) -> Reply:
    """Send messages that do not belong to the question before the one that does."""

    def reply(question: Question) -> list[bytes]:
        other = b"\x05other" + question.section[question.section.index(b"\0") :]
        return [
            b"",
            b"\xff" * 600,
            random.Random(question.query_id).randbytes(300),
            message(question, ["127.0.0.9", "::9"], query_id=question.query_id ^ 1),
            message(question, ["127.0.0.9", "::9"], section=other),
            message(question, which),
        ]

    return reply


def noise(question: Question) -> list[bytes]:
    return list(after_noise()(question))[:-1]


def at_the_second_time(reply: Reply) -> Reply:
    """Lose the first question of each kind."""
    return in_turn(silent, reply)


def in_turn(first: Reply, then: Reply) -> Reply:
    """Reply to the first question of each kind by `first`, to the others by `then`."""
    seen: set[int] = set()

    def reply(question: Question) -> Sequence[bytes]:
        which = then if question.kind in seen else first
        seen.add(question.kind)
        return which(question)

    return reply


def after(seconds: float, reply: Reply) -> Reply:
    def late(question: Question) -> Sequence[bytes]:
        threading.Event().wait(seconds)
        return reply(question)

    return late


def _bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Take one port for TCP and UDP; for port 0, one that is free for both."""
    while True:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address, family=kind)
        udp = socket.socket(kind, socket.SOCK_DGRAM)
        try:
            udp.bind(listener.getsockname())
        except OSError:
            udp.close()
            listener.close()
            if port:
                raise
        else:
            return listener, udp


class DnsServer:
    """Replies from a table of names; any other name does not exist."""

    def __init__(
        self, zone: Mapping[str, Reply], *, host: str = "127.0.0.1", port: int = 0, tcp: bool = True
    ) -> None:
        self.requested_at: list[str] = []
        self._zone = zone
        self._listener, self._udp = _bind_both(host, port)
        self.port: int = self._listener.getsockname()[1]
        if not tcp:
            self._listener.close()
        self._inputs = [self._udp, self._listener] if tcp else [self._udp]
        self._stop_read, self._stop_write = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop_write.close()
        self._thread.join()
        for sock in (self._stop_read, self._udp, self._listener):
            sock.close()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([*self._inputs, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            with contextlib.suppress(OSError):  # the client may have gone
                if self._udp in ready:
                    query, client = self._udp.recvfrom(4096)
                    for response in self._responses(query, over_tcp=False):
                        self._udp.sendto(response, client)
                else:
                    self._serve_tcp()

    def _serve_tcp(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(10)
        with connection, connection.makefile("rb") as file:
            query = file.read(int.from_bytes(file.read(2)))
            responses = self._responses(query, over_tcp=True)
            for response in responses:
                connection.sendall(len(response).to_bytes(2) + response)
            if not responses:
                file.read()

    def _responses(self, query: bytes, *, over_tcp: bool) -> Sequence[bytes]:
        labels = []
        position = _HEADER
        while query[position]:
            labels.append(query[position + 1 : position + 1 + query[position]].decode())
            position += 1 + query[position]
        question = Question(
            query_id=int.from_bytes(query[:2]),
            name=".".join(labels),
            kind=int.from_bytes(query[position + 1 : position + 3]),
            section=query[_HEADER : position + 5],
            over_tcp=over_tcp,
        )
        self.requested_at.append(question.name)
        return self._zone.get(question.name, error(3))(question)
