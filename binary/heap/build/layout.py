"""Trace which blocks of a saved heap checks touch, so that the next build puts them together.

    layout.py MEMORY EXECUTABLE LAYOUT WHICH TRACE...

MEMORY was written by save.c and is part of EXECUTABLE. WHICH is `usual` or `all`: the checks
to trace. TRACE is a command that runs another one and writes its accesses to file 9, see
trace.c. LAYOUT gets one byte for each allocation of the build: the zone of its block. Its previous
content counts: of two zones, a block gets the one that is nearer to a plain check.
"""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from typing import NamedTuple

import certifi
from constants import COLD, OTHER, PAGE, PLACES, RARE, READ, SELDOM, TEMPORARY, WRITTEN
from servers import (
    answer_grpc_in_one_piece,
    answer_grpc_in_pieces,
    answer_grpc_not_found,
    answer_grpc_not_serving,
    answer_http,
    greet,
    hang_up,
    in_turn,
    keep_silent,
    reply,
    server,
    slow_server,
    usual_checks,
)
from write_executable import order, records, word

_NEARNESS = (WRITTEN, READ, OTHER, SELDOM, RARE, COLD, TEMPORARY)
_TOUCHED = (WRITTEN, READ, OTHER, SELDOM, RARE)
_FEWEST = 0.97
"""How many blocks a look may find, of those of the look before."""

_STORE = "/etc/ssl/certs/ca-certificates.crt"
_BEGIN = b"-----BEGIN CERTIFICATE-----\n"
_MANY, _OLDER = "/etc/ssl/many.pem", "/etc/ssl/older.pem"
_HASHED = "/hashed"
_VARIABLES = ("PATH=/usr/bin:/bin", "HOME=/", "HOSTNAME=container", "LANG=C.UTF-8")
_HOUR = ["--timeout", "3600s"]  # real time, of which tracing takes much
_HOURS = (_HOUR, ["--timeout", "3600"], ["--timeout", "1h"])
_SCHEMES = (
    *("amqp", "cassandra", "fastcgi", "ftp", "imap", "kafka", "ldap", "memcached", "mongodb"),
    *("mqtt", "mssql", "mysql", "nats", "pop3", "postgresql", "redis", "smtp", "ssh", "tls", "ws"),
    "zookeeper",
)
_KEEP_ALIVE = (
    b"HTTP/1.1 200 OK\r\nserver: any\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 2\r\n\r\nOK"
)
_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nOK\r\n0\r\n\r\n"
_UNTIL_THE_END = b"HTTP/1.0 200 OK\r\n\r\nOK"
_UNAVAILABLE = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_ERROR_PAGE = b"HTTP/1.0 500 Error\r\ncontent-type: text/html\r\n\r\n" + b"an error " * 1000
_MOVED = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n"
_PATIENCE = 300
"""The seconds after which a check hangs."""


def blocks(memory: bytes, executable: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Yield number, address and size of all blocks; freed ones have number 0."""
    places, header = PLACES[word(executable)], struct.Struct(order(executable) + "II")
    for address, content in records(memory, order(executable)):
        if address < places.headers:
            continue
        at = 0
        while at < len(content):
            size, number = header.unpack_from(content, at)
            yield number, address - places.away + at, size
            at += size


@dataclass(frozen=True)
class Check:
    """A check of the executable, and whether it must be healthy."""

    arguments: list[str]
    healthy: bool = True
    signals: tuple[str, ...] = ()
    """Options of `env` besides --default-signal."""
    variables: tuple[str, ...] = ()
    """What it has in its environment, besides what all have."""


@dataclass(frozen=True)
class Tracer:
    """Runs checks of an executable, and finds the words of the heap that they touch."""

    command: list[str]
    executable: str

    def look(self, check: Check) -> tuple[set[int], set[int]]:
        """Return the 8-byte words, by number, that a check wrote to and that it only read."""
        done = subprocess.run(
            # A file as standard error would make the program start a thread.
            [
                *("bash", "-c", 'exec 9>&1 1>/dev/null; "$@" 2> >(cat >&2)', "bash"),
                *("env", "-i", "--default-signal", *check.signals),
                *(*_VARIABLES, *check.variables),
                *(*self.command, self.executable, *check.arguments),
            ],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=_PATIENCE,
        )
        if (done.returncode == 0) != check.healthy:
            said = done.stderr.decode(errors="replace")
            raise RuntimeError(f"{check.arguments}: exit code {done.returncode}: {said}")
        lines = done.stdout.decode().split()
        written, read = ({int(one[1:], 16) for one in lines if one[0] == kind} for kind in "SL")
        return written, read - written

    def touched(self, checks: Iterable[Check]) -> set[int]:
        """Return the words that any of these checks touches; they run in parallel."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return set[int]().union(*(a | b for a, b in pool.map(self.look, checks)))


class Ports(NamedTuple):
    """The servers that several checks use, on 127.0.0.1; no server listens on `closed`."""

    http: int
    grpc: int
    grpc_in_pieces: int
    grpc_not_serving: int
    grpc_not_found: int
    no_tls: int
    unavailable: int
    error_page: int
    keep_alive: int
    chunked: int
    until_the_end: int
    silent: int
    in_turn: int
    slow: int
    slow_to_refuse: int
    tls: int
    older_tls: int
    """A server with TLS 1.2 and a key of another kind."""
    closed: int


@contextmanager
def tls_server(certificate: str, version: str) -> Iterator[int]:
    program = Path(__file__).with_name("tls_server.py")
    command = [str(shutil.which("python3")), "-I", str(program), certificate, version]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def system_files() -> Iterator[str]:
    """Yield a folder with files of the system that do not depend on this machine, for QEMU's -L.

    The store of CA certificates is a certificate with its key, which is also among many others.
    """
    with TemporaryDirectory() as root:
        store = Path(root + _STORE)
        store.parent.mkdir(parents=True)
        make_certificate(store, "ec", "ec_paramgen_curve:P-256")
        make_certificate(Path(root + _OLDER), "rsa", "rsa_keygen_bits:2048")
        hashed = Path(root + _HASHED)
        hashed.mkdir()
        shutil.copy(store, hashed / "ca.pem")
        subprocess.run(["openssl", "rehash", hashed], check=True, capture_output=True)
        texts = (*certifi.contents(), store.read_bytes().partition(_BEGIN)[2])
        Path(root + _MANY).write_bytes(b"".join(_BEGIN + text for text in texts))
        Path(root, "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        # No server responds at this address.
        Path(root, "etc/resolv.conf").write_text("nameserver 127.83.84.85\n")
        yield root


def make_certificate(file: Path, *kind: str) -> None:
    command = ["openssl", "req", "-x509", "-nodes", "-days", "100"]
    command += ["-newkey", kind[0], "-pkeyopt", kind[1]]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(file), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)


def usual(ports: Ports, files: str) -> list[Check]:
    """Return the usual checks besides that of a healthy HTTP server."""
    # The real path, since QEMU's -L does not translate that of statx(), which musl uses on
    # machines of 32 bits.
    hashed = f"SSL_CERT_DIR={files}{_HASHED}"
    return [
        Check([*_HOUR, "--port", str(ports.http)], signals=("--ignore-signal=INT",)),
        Check([*_HOUR, "--port", str(ports.keep_alive)]),
        Check([*_HOUR, "--port", str(ports.chunked)]),
        # Read by h11, as every response that is not plain.
        Check([*_HOUR, "--port", str(ports.keep_alive), "--data", "any"]),
        Check([*_HOUR, "--port", str(ports.until_the_end)]),
        Check([*_HOUR, "--port", str(ports.slow)]),
        Check([*_HOUR, "--port", str(ports.slow_to_refuse)], healthy=False),
        Check([*_HOUR, "--host", "localhost", "--port", str(ports.http), "--path", "/v1.0/health"]),
        Check([*_HOUR, f"grpc://127.0.0.1:{ports.grpc}/service"]),
        Check([*_HOUR, f"grpc://127.0.0.1:{ports.grpc_in_pieces}"]),
        # The server speaks no TLS, but the check has already used most of what TLS needs.
        Check([*_HOUR, "--insecure", f"https://127.0.0.1:{ports.no_tls}"], healthy=False),
        Check([*_HOUR, "--port", str(ports.unavailable)], healthy=False),
        Check([*_HOUR, "--port", str(ports.error_page)], healthy=False),
        Check([*_HOUR, "--port", str(ports.closed)], healthy=False),
        Check([*_HOUR, "--cacert", _STORE, f"https://127.0.0.1:{ports.tls}"]),
        Check([*_HOUR, "--cacert", _MANY, f"https://127.0.0.1:{ports.tls}"]),
        Check([*_HOUR, "--cacert", _OLDER, f"https://127.0.0.1:{ports.older_tls}"]),
        Check([*_HOUR, f"https://127.0.0.1:{ports.tls}/"]),
        Check([*_HOUR, f"https://127.0.0.1:{ports.tls}/"], variables=(hashed,)),
    ]


def less_usual(ports: Ports) -> list[Check]:
    """Return checks that many use now and then."""
    plain = ["--port", str(ports.http), *_HOUR]
    trusted = [*_HOUR, f"https://127.0.0.1:{ports.tls}/", "--cacert", _STORE]
    first, second = (f"http://127.0.0.1:{ports.in_turn}/{number}" for number in range(2))
    return [
        Check([*plain, "--expect-json", "status=UP"]),
        Check([*plain, "--expect-json", "status=DOWN"], healthy=False),
        Check([*plain, "--expect-body", "UP"]),
        Check([*plain, "--expect-body", "DOWN"], healthy=False),
        Check([*plain, "--match-body", r'"status": *"(UP|OK|[a-z]+)"[}]?']),
        Check([*plain, "--status", "204"], healthy=False),
        Check([*plain, "--header", "a: b", "--verbose"]),
        Check([*plain, "-v", "-H", "a: b"]),
        Check(["--timeout=1h", f"--port={ports.http}"]),
        Check([*plain, "--output", "json"]),
        Check(["--port", str(ports.closed), "--output", "json", *_HOUR], healthy=False),
        Check(["--timeout", "50ms", "--port", str(ports.silent)], healthy=False),
        Check([*_HOUR, f"grpc://127.0.0.1:{ports.grpc_not_serving}"], healthy=False),
        Check([*_HOUR, f"grpc://127.0.0.1:{ports.grpc_not_found}/service"], healthy=False),
        Check([*_HOUR, f"http://localhost:{ports.closed}/"], healthy=False),
        Check([*_HOUR, first, second]),
        Check(["wait", *_HOUR, f"http://127.0.0.1:{ports.http}/", "--deadline", "1h"]),
        Check([*trusted, "--verbose"]),
        Check(["--prot", str(ports.http)], healthy=False),
        Check(["--port", "none"], healthy=False),
        Check(["--timeout", "none"], healthy=False),
        Check(["localhost:80"], healthy=False),
        Check(["none"], healthy=False),
    ]


def rare(stack: ExitStack, ports: Ports) -> list[Check]:
    """Return checks of the features, of which each is used by few; their servers run in `stack`."""

    def at(answer: Callable[[socket], None]) -> str:
        return f"127.0.0.1:{stack.enter_context(server(answer))}"

    plain = [*_HOUR, f"http://127.0.0.1:{ports.http}/"]
    trusted = [*_HOUR, f"https://127.0.0.1:{ports.tls}/", "--cacert", _STORE]
    moved = at(reply(_MOVED % ports.http))
    garbage = at(greet(b"garbage\r\n\r\n"))
    healthy = [
        [*plain, "--expect-header", "content-type"],
        [*plain, "--attempts", "2", "--status", "2xx"],
        [*plain, "--loopback-only"],
        [*_HOUR, f"http://user:password@127.0.0.1:{ports.http}/"],
        [*_HOUR, "--method", "HEAD", f"http://127.0.0.1:{ports.http}/"],
        [*_HOUR, "--follow-redirects", f"http://{moved}/"],
        [*trusted, "--cert-lifetime", "7d"],
        [*_HOUR, f"tcp://127.0.0.1:{ports.http}"],
        [*_HOUR, "redis://" + at(reply(b"+PONG\r\n"))],
        [*_HOUR, "postgresql://" + at(reply(b"R\0\0\0\x08\0\0\0\x03"))],
        [*_HOUR, "smtp://" + at(greet(b"220 ready\r\n"))],
        [*_HOUR, "file:///etc/hosts"],
        ["--help"],
        ["watch", "--help"],
        ["--version"],
    ]
    unhealthy = [
        [*_HOUR, f"http://{moved}/"],
        [*_HOUR, f"http://{garbage}/"],
        [*_HOUR, f"http://127.0.0.1:{ports.no_tls}/"],
        [*_HOUR, "http://unknown.example/"],
        ["--port", str(ports.unavailable), "--output", "json", *_HOUR],
        [*trusted, "--server-name", "another.example"],
        ["list", *_HOUR, f"grpc://127.0.0.1:{ports.grpc}"],
        [*_HOUR, f"grpc://127.0.0.1:{ports.closed}"],
        [*_HOUR, f"tcp://127.0.0.1:{ports.closed}"],
        [*_HOUR, "pid:///none"],
        *([*_HOUR, f"{scheme}://{garbage}"] for scheme in _SCHEMES),
    ]
    return [
        *map(Check, healthy),
        *(Check(arguments, healthy=False) for arguments in unhealthy),
    ]


def main(memory: str, executable: str, layout: str, which: str, *trace: str) -> None:
    with ExitStack() as stack:
        files = stack.enter_context(system_files())
        tracer = Tracer([shutil.which(trace[0]) or trace[0], *trace[1:], "-L", files], executable)
        unhealthy = (answer_grpc_not_serving, answer_grpc_not_found)
        grpc = (answer_grpc_in_one_piece, answer_grpc_in_pieces, *unhealthy)
        replies = map(reply, (_UNAVAILABLE, _ERROR_PAGE, _KEEP_ALIVE, _CHUNKED, _UNTIL_THE_END))
        answers = (answer_http, *grpc, hang_up, *replies, keep_silent, in_turn())
        running = [stack.enter_context(server(answer)) for answer in answers]
        running += (stack.enter_context(slow_server(answer)) for answer in (answer_http, None))
        running += (
            stack.enter_context(tls_server(files + name, version))
            for name, version in ((_STORE, "TLSv1_3"), (_OLDER, "TLSv1_2"))
        )
        closed = stack.enter_context(socket())
        closed.bind(("127.0.0.1", 0))  # and does not listen, so nothing else can
        ports = Ports._make([*running, closed.getsockname()[1]])
        plain = zip(_HOURS, usual_checks(ports.http), strict=True)
        looks = [tracer.look(Check([*limit, *one])) for limit, one in plain]
        written = set[int]().union(*(one for one, _ in looks))
        read = set[int]().union(*(one for _, one in looks)) - written
        other = tracer.touched(usual(ports, files))
        seldom, rarely = set[int](), set[int]()
        if which == "all":
            seldom = tracer.touched(less_usual(ports))
            rarely = tracer.touched(rare(stack, ports))
    zones: dict[int, int] = {}
    saved = Path(memory).read_bytes()
    for number, address, size in blocks(saved, Path(executable).read_bytes()):
        words = range(address // 8, (address + size) // 8)
        is_written = not written.isdisjoint(words)
        if is_written and size <= PAGE:
            zones[number] = WRITTEN
        elif is_written or not read.isdisjoint(words):
            # Most pages of a large block that is written to are only read.
            zones[number] = READ
        elif not other.isdisjoint(words):
            zones[number] = OTHER
        elif not seldom.isdisjoint(words):
            zones[number] = SELDOM
        elif not rarely.isdisjoint(words):
            zones[number] = RARE
        else:
            zones[number] = COLD
    zones.pop(0, None)
    before = Path(layout).read_bytes()
    touched_before = sum(map(before.count, _TOUCHED))
    touched_now = sum(zone in _TOUCHED for zone in zones.values())
    print(f"blocks touched: {touched_now}, in the look before {touched_before}")
    if touched_now < _FEWEST * touched_before:
        raise RuntimeError("this look is incomplete; build again")
    numbers = range(max(len(before), max(zones) + 1))
    found = bytes(zones.get(number, TEMPORARY) for number in numbers)
    known = before.ljust(len(found), bytes((TEMPORARY,)))
    nearest = (min(pair, key=_NEARNESS.index) for pair in zip(known, found, strict=True))
    Path(layout).write_bytes(bytes(nearest))


if __name__ == "__main__":
    main(*sys.argv[1:])
