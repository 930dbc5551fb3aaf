"""Names to addresses, under a deadline: /etc/hosts, then DNS.

`getaddrinfo` blocks for an unbounded time. So this is a stub resolver like musl's and Go's: it
reads /etc/hosts and /etc/resolv.conf for each lookup, queries all name servers concurrently, and
knows no nsswitch modules.
"""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from healthchecker._net import dns
from healthchecker._net.connect import datagram_socket, open_tcp, socket_address
from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import demand_resources, os_message
from healthchecker._net.unbounded import UnboundedCalls
from healthchecker._values.result import ProbeFailure, Reason

_MAX_NAMESERVERS = 3  # resolv.conf(5)
_MAX_RESOLV_CONF_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 16
_MAX_HOSTS_BLOCKS = 1 << 10
_MAX_UDP_BYTES = 4096
_RESEND_AFTER = 1.0
# How long to wait for the other family when one has responded: for IPv6 addresses the Resolution
# Delay of RFC 8305, section 3, in seconds. For IPv4 addresses, without which many containers reach
# nothing, a part of the remaining time.
_WAIT_FOR_IPV6 = 0.05
_WAIT_FOR_IPV4_PART = 0.25


@dataclass(frozen=True, slots=True)
class ResolverConfig:
    """The settings of resolv.conf(5), with its defaults."""

    nameservers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 5.0
    attempts: int = 2

    def candidates(self, name: str) -> list[str]:
        """Return the names to look up, in order."""
        if name.endswith("."):
            return [name]
        searched = [f"{name}.{domain}" for domain in self.search]
        if name.count(".") >= self.ndots:
            return [name, *searched]
        return [*searched, name]


@dataclass(frozen=True, slots=True)
class ResolverSources:
    """Where to look names up."""

    hosts: Path = Path("/etc/hosts")
    resolv_conf: Path = Path("/etc/resolv.conf")
    dns_port: int = 53


SYSTEM = ResolverSources()

NOT_FOUND = "name not found"
"""How the message ends if name servers know no such name; other failures are those of servers."""

_calls = UnboundedCalls()  # of all lookups: if a file hangs, they wait for one thread


def resolve(host: str, deadline: Deadline, sources: ResolverSources = SYSTEM) -> list[str]:
    """Return the IP addresses of `host`, in the order in which to try them; at least one."""
    literal = _literal(host)
    if literal is not None:
        return [literal]
    name = host.lower()
    if name.rstrip(".") == "localhost" or name.rstrip(".").endswith(".localhost"):
        return ["::1", "127.0.0.1"]  # RFC 6761, section 6.3

    def read_files() -> tuple[list[str], ResolverConfig]:
        found = _from_hosts(sources.hosts, name.rstrip("."))
        return found, ResolverConfig() if found else _read_resolv_conf(sources.resolv_conf)

    found, config = _calls.call(read_files, deadline)
    return found or _from_dns(name, config, sources.dns_port, deadline)


def _literal(host: str) -> str | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        return host
    return None


def _from_hosts(path: Path, name: str) -> list[str]:
    """Return the addresses of a name in a hosts(5) file, which may be missing."""
    wanted = name.encode("utf-8", "replace")
    addresses: dict[str, None] = {}
    try:
        with path.open("rb") as file:
            for line in _lines_with(wanted, file):
                address, *names = line.partition(b"#")[0].split() or [b""]
                text = address.decode("ascii", "replace")
                if wanted in names and _literal(text):
                    addresses[text] = None
    except OSError as error:
        demand_resources(error)
    return list(addresses)


def _lines_with(wanted: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines that contain it, in lower case. Only a line feed ends a line."""
    rest = b""
    for _ in range(_MAX_HOSTS_BLOCKS):
        block = file.read(_BLOCK_BYTES)
        lines, _, rest = (rest + block.lower()).rpartition(b"\n")
        if wanted in lines:
            yield from (line for line in lines.split(b"\n") if wanted in line)
        if not block:
            break
        rest = rest[:_BLOCK_BYTES]
    yield rest


def _read_resolv_conf(path: Path) -> ResolverConfig:
    """Read resolv.conf(5), which may be missing, as in an image FROM scratch."""
    try:
        with path.open("rb") as file:
            return parse_resolv_conf(file.read(_MAX_RESOLV_CONF_BYTES).decode("utf-8", "replace"))
    except OSError as error:
        demand_resources(error)
        return ResolverConfig()


def parse_resolv_conf(text: str) -> ResolverConfig:
    """Parse resolv.conf(5), ignoring unknown entries as libc does."""
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    numbers = {"ndots": 1, "timeout": 5, "attempts": 2}
    for line in text.split("\n"):
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
    failure = NOT_FOUND if candidates else "not a valid host name"
    for candidate in candidates:
        with _Lookup(candidate, config, port) as lookup:
            addresses = lookup.run(deadline)
        if addresses:
            return addresses
        failure = lookup.failure or failure
    raise ProbeFailure(Reason.DNS_FAILURE, f"{name}: {failure}")


@dataclass(slots=True)
class _Server:
    """A name server that a lookup queries."""

    address: str
    sock: socket.socket
    tries_left: dict[bytes, int]
    """For each question, how many more times to repeat it after an error."""


class _Lookup:
    """The A and AAAA records of one absolute name, from whichever name server responds first."""

    def __init__(self, name: str, config: ResolverConfig, port: int) -> None:
        self._failures: set[str] = set()
        self._config = config
        self._port = port
        self._answers: dict[bytes, tuple[str, ...]] = {}
        self._questions = {
            dns.question(name, kind): random.SystemRandom().getrandbits(16)
            for kind in (dns.TYPE_AAAA, dns.TYPE_A)
        }
        self._servers: dict[int, _Server] = {}
        """The servers from which responses may come, by their sockets' descriptors."""
        self._give_up = time.monotonic() + config.timeout * config.attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for server in self._servers.values():
            server.sock.close()

    @property
    def failure(self) -> str:
        """Why there are no addresses: always the same, whichever name server is faster.

        Empty if the name has none.
        """
        is_answered = len(self._answers) == len(self._questions)
        return "" if is_answered else min(self._failures, default="")

    def run(self, deadline: Deadline) -> list[str]:
        """Return the addresses, IPv6 first; none if there are none, with `failure` set."""
        for address in self._config.nameservers:
            self._open(address)
        resend = 0.0
        while self._servers:
            now = time.monotonic()
            if now >= self._give_up:
                self._failures = self._failures or {"no name server responded"}
                break
            if now >= resend:
                resend = now + _RESEND_AFTER
                for fd, server in list(self._servers.items()):
                    self._send(fd, self._open_questions(server))
                continue
            limit = min(resend, self._give_up) - now
            for fd in deadline.wait_any([(fd, select.POLLIN) for fd in self._servers], limit):
                if fd in self._servers:
                    self._receive(fd, deadline)
        return [
            address for question in self._questions for address in self._answers.get(question, ())
        ]

    def _open(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sock = datagram_socket(family)
        except OSError as error:
            demand_resources(error)
            self._failures.add(f"{address}: {os_message(error)}")
            return
        tries = dict.fromkeys(self._questions, self._config.attempts)
        self._servers[sock.fileno()] = _Server(address, sock, tries)
        try:
            # Connected, so that only this server can respond and its refusal is noticed.
            sock.connect(socket_address(address, self._port))
        except ProbeFailure as failure:
            self._drop(sock.fileno(), failure.message)
        except OSError as error:
            self._drop(sock.fileno(), os_message(error))

    def _drop(self, fd: int, message: str) -> None:
        self._servers.pop(fd).sock.close()
        self._failures.add(f"name server unreachable: {message}")

    def _open_questions(self, server: _Server) -> list[bytes]:
        return [
            question
            for question in self._questions
            if question not in self._answers and server.tries_left[question]
        ]

    def _send(self, fd: int, questions: Sequence[bytes]) -> None:
        server = self._servers[fd]
        try:
            for question in questions:
                server.sock.send(dns.query(self._questions[question], question))
        except BlockingIOError:
            pass
        except OSError as error:
            self._drop(fd, os_message(error))

    def _receive(self, fd: int, deadline: Deadline) -> None:
        server = self._servers[fd]
        try:
            message = server.sock.recv(_MAX_UDP_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(fd, os_message(error))
            return
        response = self._accept(message)
        if response is None:
            return
        question = response.question
        if response.truncated:
            response = self._over_tcp(server.address, question, deadline)
        if response is None:
            self._failures.add("could not fetch the truncated response over TCP")
            server.tries_left[question] = 0
        elif response.rcode in (dns.NOERROR, dns.NXDOMAIN):
            self._answers[question] = response.addresses
            if response.addresses:
                is_ipv6 = ":" in response.addresses[0]
                wait = deadline.remaining() * _WAIT_FOR_IPV4_PART if is_ipv6 else _WAIT_FOR_IPV6
                self._give_up = min(self._give_up, time.monotonic() + wait)
        else:
            # Repeat it, like libc: forwarders return SERVFAIL for a lookup that took too long.
            self._failures.add(f"name server returned {dns.rcode_name(response.rcode)}")
            server.tries_left[question] = max(server.tries_left[question] - 1, 0)
            if server.tries_left[question]:
                self._send(fd, [question])
        self._close_idle()

    def _close_idle(self) -> None:
        """Close the sockets of servers from which nothing more is expected."""
        for fd, server in list(self._servers.items()):
            if not self._open_questions(server):
                self._servers.pop(fd).sock.close()

    def _accept(self, message: bytes) -> dns.Response | None:
        """Decode a message; return None if it is no response to one of our questions."""
        try:
            response = dns.parse(message)
        except dns.DnsMessageError:
            return None
        return response if self._questions.get(response.question) == response.query_id else None

    def _over_tcp(self, address: str, question: bytes, deadline: Deadline) -> dns.Response | None:
        query = dns.query(self._questions[question], question)
        try:
            with open_tcp([address], self._port, deadline) as stream:
                stream.write(len(query).to_bytes(2) + query)
                length = int.from_bytes(stream.read_exactly(2))
                return self._accept(stream.read_exactly(length))
        except ProbeFailure as failure:
            if failure.reason is Reason.TIMEOUT:
                raise
            return None
