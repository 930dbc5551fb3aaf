"""Names to addresses, inside a deadline: /etc/hosts, then DNS.

`getaddrinfo` blocks for as long as it likes; only a second thread or process could bound it, and
a check has neither. So this is a stub resolver in the manner of musl's and Go's: it reads
/etc/hosts and /etc/resolv.conf afresh for each look-up, asks all name servers at the same time,
and knows no nsswitch modules.
"""

from __future__ import annotations

import random
import select
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from healthchecker._net import dns
from healthchecker._net.connect import open_tcp
from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import demand_resources, os_message
from healthchecker._values.result import ProbeFailure, Reason

_MAX_NAMESERVERS = 3  # resolv.conf(5)
_MAX_FILE_BYTES = 1 << 20
_MAX_UDP_BYTES = 4096
_RESEND_AFTER = 1.0
# How long to wait for the other family's answer when one has come: for IPv6 addresses the
# Resolution Delay of RFC 8305, section 3, in seconds. For IPv4 addresses, without which many
# containers reach nobody, a part of the time that is left.
_WAIT_FOR_IPV6 = 0.05
_WAIT_FOR_IPV4_PART = 0.25


@dataclass(frozen=True, slots=True)
class ResolverConfig:
    """What resolv.conf(5) says, with its defaults."""

    nameservers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 5.0
    attempts: int = 2

    def candidates(self, name: str) -> list[str]:
        """Return the names to ask for, in order."""
        if name.endswith("."):
            return [name]
        searched = [f"{name}.{domain}" for domain in self.search]
        if name.count(".") >= self.ndots:
            return [name, *searched]
        return [*searched, name]


@dataclass(frozen=True, slots=True)
class ResolverSources:
    """Where names are looked up."""

    hosts: Path = Path("/etc/hosts")
    resolv_conf: Path = Path("/etc/resolv.conf")
    dns_port: int = 53


SYSTEM = ResolverSources()


def resolve(host: str, deadline: Deadline, sources: ResolverSources = SYSTEM) -> list[str]:
    """Return the IP addresses of `host`, in the order in which to try them; never none."""
    literal = _literal(host)
    if literal is not None:
        return [literal]
    name = host.lower()
    if name.rstrip(".") == "localhost" or name.rstrip(".").endswith(".localhost"):
        return ["::1", "127.0.0.1"]  # RFC 6761, section 6.3
    found = _from_hosts(_read(sources.hosts), name.rstrip("."))
    if found:
        return found
    config = parse_resolv_conf(_read(sources.resolv_conf))
    return _from_dns(name, config, sources.dns_port, deadline)


def _literal(host: str) -> str | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        return host
    return None


def _read(path: Path) -> str:
    """Return the start of a file that may be missing, as it is in an image FROM scratch."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        demand_resources(error)
        return ""


def _from_hosts(text: str, name: str) -> list[str]:
    addresses = []
    for line in text.splitlines():
        address, *names = line.partition("#")[0].lower().split() or [""]
        if name in names and _literal(address) and address not in addresses:
            addresses.append(address)
    return addresses


def parse_resolv_conf(text: str) -> ResolverConfig:
    """Read resolv.conf(5); what is not understood is passed over, as libc does."""
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    numbers = {"ndots": 1, "timeout": 5, "attempts": 2}
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values and _literal(values[0]):
            nameservers.append(values[0])
        elif keyword in ("search", "domain"):
            search = tuple(value.rstrip(".") for value in values if value != ".")
        elif keyword == "options":
            for option in values:
                key, _, value = option.partition(":")
                if key in numbers and value.isascii() and value.isdigit():
                    numbers[key] = min(int(value), 30)
    return ResolverConfig(
        nameservers=tuple(nameservers[:_MAX_NAMESERVERS]) or ("127.0.0.1",),
        search=search,
        ndots=numbers["ndots"],
        timeout=float(max(numbers["timeout"], 1)),
        attempts=max(numbers["attempts"], 1),
    )


def _from_dns(name: str, config: ResolverConfig, port: int, deadline: Deadline) -> list[str]:
    # A search domain that no name can end in must not hide the other candidates.
    candidates = [one for one in config.candidates(name) if dns.is_name(one)]
    failure = "no such name" if candidates else "not a valid host name"
    for candidate in candidates:
        with _Lookup(candidate, config, port) as lookup:
            addresses = lookup.run(deadline)
        if addresses:
            return addresses
        failure = lookup.failure or failure
    raise ProbeFailure(Reason.DNS_FAILURE, f"{name}: {failure}")


class _Lookup:
    """The A and AAAA records of one absolute name, from whichever name server answers first."""

    def __init__(self, name: str, config: ResolverConfig, port: int) -> None:
        self.failure = ""
        self._config = config
        self._port = port
        self._answers: dict[bytes, tuple[str, ...]] = {}
        self._questions = {
            dns.question(name, kind): random.SystemRandom().getrandbits(16)
            for kind in (dns.TYPE_AAAA, dns.TYPE_A)
        }
        self._sockets: dict[int, socket.socket] = {}
        self._refused: dict[int, set[bytes]] = {}
        """The questions that a server, by its socket, cannot answer."""
        self._give_up = time.monotonic() + config.timeout * config.attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for sock in self._sockets.values():
            sock.close()

    def run(self, deadline: Deadline) -> list[str]:
        """Return the addresses, IPv6 first; none when there are none, with `failure` set."""
        for server in self._config.nameservers:
            self._open(server)
        resend = 0.0
        while self._sockets:
            now = time.monotonic()
            if now >= self._give_up:
                self.failure = self.failure or "no name server answered"
                break
            if now >= resend:
                resend = now + _RESEND_AFTER
                self._send_all()
                continue
            limit = min(resend, self._give_up) - now
            for fd in deadline.wait_any([(fd, select.POLLIN) for fd in self._sockets], limit):
                if fd in self._sockets:
                    self._receive(fd, deadline)
        return [address for asked in self._questions for address in self._answers.get(asked, ())]

    def _open(self, server: str) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
        except OSError as error:
            demand_resources(error)
            self.failure = f"{server}: {os_message(error)}"
            return
        self._sockets[sock.fileno()] = sock
        self._refused[sock.fileno()] = set()
        try:
            # Connected, so that only this server can answer and its refusal is heard.
            sock.connect((server, self._port))
        except OSError as error:
            self._drop(sock.fileno(), error)

    def _drop(self, fd: int, error: OSError) -> None:
        sock = self._sockets.pop(fd)
        self.failure = f"name server unreachable: {os_message(error)}"
        sock.close()

    def _send_all(self) -> None:
        for fd, sock in list(self._sockets.items()):
            try:
                for asked, query_id in self._questions.items():
                    if asked not in self._answers and asked not in self._refused[fd]:
                        sock.send(dns.query(query_id, asked))
            except BlockingIOError:
                continue
            except OSError as error:
                self._drop(fd, error)

    def _receive(self, fd: int, deadline: Deadline) -> None:
        sock = self._sockets[fd]
        try:
            message = sock.recv(_MAX_UDP_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(fd, error)
            return
        answer = self._accept(message)
        if answer is None:
            return
        asked = answer.question
        if answer.truncated:
            answer = self._over_tcp(sock.getpeername()[0], asked, deadline)
        if answer is None:
            self.failure = "a long answer could not be had over TCP"
            self._refused[fd].add(asked)
        elif answer.rcode in (dns.NOERROR, dns.NXDOMAIN):
            self._answers[asked] = answer.addresses
            if answer.addresses:
                is_ipv6 = ":" in answer.addresses[0]
                wait = deadline.remaining() * _WAIT_FOR_IPV4_PART if is_ipv6 else _WAIT_FOR_IPV6
                self._give_up = min(self._give_up, time.monotonic() + wait)
        else:
            # This server cannot tell; another one may.
            self.failure = f"name server answered with error {answer.rcode}"
            self._refused[fd].add(asked)
        self._close_idle()

    def _close_idle(self) -> None:
        """Close the sockets of servers from which nothing more is expected."""
        for fd in list(self._sockets):
            if self._questions.keys() <= self._answers.keys() | self._refused[fd]:
                self._sockets.pop(fd).close()

    def _accept(self, message: bytes) -> dns.Answer | None:
        """Decode a message; None when it is no answer to what was asked."""
        try:
            answer = dns.parse(message)
        except dns.DnsMessageError:
            return None
        return answer if self._questions.get(answer.question) == answer.query_id else None

    def _over_tcp(self, server: str, asked: bytes, deadline: Deadline) -> dns.Answer | None:
        query = dns.query(self._questions[asked], asked)
        try:
            with open_tcp([server], self._port, deadline) as stream:
                stream.write(len(query).to_bytes(2) + query)
                length = int.from_bytes(stream.read_exactly(2))
                return self._accept(stream.read_exactly(length))
        except ProbeFailure as failure:
            if failure.reason is Reason.TIMEOUT:
                raise
            return None
