"""Measure one check as a whole process: wall and CPU time, peak memory, page faults, size.

    scripts/bench process [--runs N] [--peer NAME=KIND:COMMAND] [--limits]
                          [--json FILE] [--svg FILE]

The programs check the same healthy servers and take turns, run by run. Ratios are of the medians,
with the quartiles of the ratios of pairs. Programs that are installed are measured: curl, wget,
busybox, and a helper in Go if there is a compiler. --peer adds another one; KIND is http, https or
grpc, and COMMAND may contain {port}, {url} and {ca}. With --limits, the exit code is 1 if the
executable exceeds the limits of the project.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import certifi
import trustme

from scripts.benchmarks.comparison import OURS, Figures, picture
from scripts.benchmarks.instructions import (
    MANY_VARIABLES,
    MAX_BYTES,
    MAX_INSTRUCTIONS,
    MAX_WITH_VARIABLES,
    instructions,
)
from scripts.benchmarks.turns import Program, Run, Taken, start, take_turns
from scripts.benchmarks.usage import at_least, need, parser

_DIST = f"dist/{os.uname().machine}"
_EXECUTABLE, _COLD = f"{_DIST}/healthchecker", f"{_DIST}/healthchecker-cold"
_EXECUTABLES = "dist/*/healthchecker"
_HTTP = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n" + b'{"status":"UP"}'
_UNAVAILABLE = _HTTP.replace(b"200 OK", b"503 Service Unavailable")
_SYSTEM_STORE = Path("/etc/ssl/certs")
_NEEDED = {"openssl": "openssl", "time": "time", "valgrind": "valgrind"}
_KINDS = ("http", "https", "grpc")
# The gRPC server that the build warms up with; binary/ is not a package to import from.
answer_grpc = runpy.run_path("binary/heap/build/servers.py")["answer_grpc"]


def serve(listener: socket.socket, kind: str, chain: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if kind == "https":
        context.load_cert_chain(chain)

    def respond(client: socket.socket) -> None:
        with client:
            try:
                if kind == "grpc":
                    answer_grpc(client)
                    return
                connection = (
                    context.wrap_socket(client, server_side=True) if kind == "https" else client
                )
                with connection:
                    connection.recv(65536)
                    if kind == "slow":
                        threading.Event().wait(0.1)  # the time of a slow response
                    connection.sendall(_UNAVAILABLE if kind == "503" else _HTTP)
            except OSError:
                return

    while True:
        client, _ = listener.accept()
        if kind == "slow":
            threading.Thread(target=respond, args=(client,), daemon=True).start()
        else:
            respond(client)


@contextmanager
def server(kind: str, chain: str = "") -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        process = multiprocessing.get_context("fork").Process(
            target=serve, args=(listener, kind, chain), daemon=True
        )
        process.start()
        yield listener.getsockname()[1]
        process.kill()
        process.join()


@dataclass(frozen=True, slots=True)
class Scene:
    """The servers, and the files that go with them."""

    http: int
    https: int
    grpc: int
    slow: int
    unavailable: int
    """A server that responds with 503."""
    closed: int
    """A port without a server."""
    ca: str
    bundle: str
    """A file with the bundled CA certificates and ours."""
    hashed: str
    """A directory of the system's CA certificates and ours, named by their hashes."""

    def port(self, kind: str) -> int:
        return {"http": self.http, "https": self.https, "grpc": self.grpc}[kind]

    def url(self, kind: str) -> str:
        return f"{kind}://127.0.0.1:{self.port(kind)}/health"


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    authority = trustme.CA()
    ca, chain, hashed = directory / "ca.pem", directory / "chain.pem", directory / "hashed"
    bundle = directory / "bundle.pem"
    authority.cert_pem.write_to_path(ca)
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(chain)
    bundle.write_bytes(certifi.contents().encode() + ca.read_bytes())
    hashed.mkdir()
    for file in (ca, *_SYSTEM_STORE.glob("*.pem")):
        shutil.copyfile(file, hashed / file.name)
    subprocess.run(["openssl", "rehash", hashed], check=True, capture_output=True)
    with ExitStack() as stack:
        ports = {
            kind: stack.enter_context(server(kind, str(chain)))
            for kind in ("http", "https", "grpc", "slow")
        }
        unavailable = stack.enter_context(server("503"))
        with socket.create_server(("127.0.0.1", 0)) as unused:
            closed = unused.getsockname()[1]
        yield Scene(
            **ports,
            unavailable=unavailable,
            closed=closed,
            ca=str(ca),
            bundle=str(bundle),
            hashed=str(hashed),
        )


def go_helper(directory: Path) -> str:
    if not shutil.which("go"):
        return ""
    source, helper = Path(__file__).with_name("gohelper.go"), directory / "gohelper"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(directory / "cache")}
    subprocess.run(["go", "build", "-o", helper, source], check=True, env=environment)
    return str(helper)


def known_programs(at: Scene, directory: Path) -> Iterator[Program]:
    """Yield all that are installed."""
    url, tls_url = at.url("http"), at.url("https")
    curl = ("-fsS", "-o", os.devnull)
    store = {"SSL_CERT_DIR": at.hashed}
    programs = [
        Program(OURS, "http", (_EXECUTABLE, "--port", str(at.http))),
        Program(f"{OURS}-cold", "http", (_COLD, "--port", str(at.http))),
        Program("curl", "http", ("curl", *curl, url)),
        Program("GNU wget", "http", ("wget", "-q", "-O", os.devnull, url)),
        Program("busybox wget", "http", ("busybox", "wget", "-q", "-O", os.devnull, url)),
        Program("Go helper", "http", (go_helper(directory), f"-port={at.http}")),
        Program(OURS, "https", (_EXECUTABLE, "--cacert", at.ca, tls_url)),
        Program("curl", "https", ("curl", *curl, "--cacert", at.ca, tls_url)),
        Program(OURS, "https, system store", (_EXECUTABLE, tls_url), store),
        Program("curl", "https, system store", ("curl", *curl, "--capath", at.hashed, tls_url)),
        Program(OURS, "https, bundle", (_EXECUTABLE, "--cacert", at.bundle, tls_url)),
        Program(OURS, "grpc", (_EXECUTABLE, f"grpc://127.0.0.1:{at.grpc}")),
        Program(OURS, "refused", (_EXECUTABLE, "--port", str(at.closed)), code=1),
        Program(OURS, "503", (_EXECUTABLE, "--port", str(at.unavailable)), code=1),
        Program(OURS, "JSON", (_EXECUTABLE, "--port", str(at.http), "--expect-json", "status=UP")),
        Program(OURS, "usage error", (_EXECUTABLE, "--prot", str(at.http)), code=1),
    ]
    for program in programs:
        path = shutil.which(program.argv[0])
        if path:
            yield replace(program, argv=(path, *program.argv[1:]))


@dataclass(frozen=True, slots=True)
class Peer:
    """The value of --peer."""

    name: str
    kind: str
    argv: tuple[str, ...]

    def program(self, at: Scene) -> Program:
        """Return the program that checks a server of the scene."""
        values = {"port": str(at.port(self.kind)), "url": at.url(self.kind), "ca": at.ca}
        argv = self.argv
        for name, value in values.items():
            argv = tuple(word.replace(f"{{{name}}}", value) for word in argv)
        return Program(self.name, self.kind, argv)


def peer(text: str) -> Peer:
    """Read NAME=KIND:COMMAND."""
    name, _, rest = text.partition("=")
    kind, _, command = rest.partition(":")
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not name or kind not in _KINDS or not words:
        raise ArgumentTypeError(f"expected NAME={'|'.join(_KINDS)}:COMMAND, got {text}")
    path = shutil.which(words[0])
    if path is None:
        raise ArgumentTypeError(f"there is no program {words[0]}")
    return Peer(name, kind, (path, *words[1:]))


def find(taken: Sequence[Taken], name: str, kind: str) -> Taken | None:
    for one in taken:
        if (one.program.name, one.program.kind) == (name, kind):
            return one
    return None


def ours(taken: Sequence[Taken], kind: str) -> Taken:
    found = find(taken, OURS, kind)
    if found is None:
        raise SystemExit(f"there is no {_EXECUTABLE}: run scripts/build-binary first")
    return found


def table(taken: Sequence[Taken]) -> str:
    lines = [f"{'':32}{'wall ms':>24}{'CPU ms':>8}{'peak MiB':>10}{'faults':>8}{'size MB':>9}"]
    for one in taken:
        low, median, high = (1000 * value for value in one.quartiles("wall"))
        wall = f"{median:.2f} ({low:.2f} to {high:.2f})"
        lines.append(
            f"{f'{one.program.name} {one.program.kind}':32}{wall:>24}"
            f"{1000 * one.median('cpu'):8.2f}{one.peak_mib:10.1f}{one.median('faults'):8.0f}"
            f"{one.program.size / 1e6:9.1f}"
        )
    for one in taken:
        mine = ours(taken, one.program.kind)
        if one is not mine:
            label = f"{OURS} / {one.program.name} {one.program.kind}"
            lines.append(
                f"{label:48} wall {mine.ratio(one, 'wall')!s:22} CPU {mine.ratio(one, 'cpu')}"
            )
    return "\n".join(lines)


def figures(taken: Sequence[Taken], fifty: Run, count: int) -> Figures:
    programs = [
        {
            "name": one.program.name,
            "kind": one.program.kind,
            "wall_ms": [round(1000 * value, 3) for value in one.quartiles("wall")],
            "cpu_ms": [round(1000 * value, 3) for value in one.quartiles("cpu")],
            "peak_mib": round(one.peak_mib, 2),
            "faults": one.median("faults"),
            "size_bytes": one.program.size,
        }
        for one in taken
    ]
    return {"programs": programs, "fifty_ms": round(1000 * fifty.wall), "instructions": count}


# The requirements: figure, and limit.
_CPU_OF_OTHERS = {"refused": 1, "503": 1.5, "JSON": 2.2, "usage error": 2.5}
"""CPU time of other checks, in units of a healthy one's."""
_PEAKS = {"http": 3.3, "grpc": 3.8, "https": 7.5}
_RATIOS = (
    ("Go helper", "http", "wall", 0.52),
    ("Go helper", "http", "cpu", 0.42),
    ("busybox wget", "http", "wall", 1.25),
    ("curl", "http", "wall", 0.22),
    ("hc", "grpc", "wall", 0.68),
    ("grpc-health-probe", "grpc", "wall", 0.40),
    ("curl", "https", "cpu", 0.38),
)
_MAX_BUNDLE = 1.6
_MAX_STORE = 1.2
_MAX_FIFTY = 0.2


def judge(taken: Sequence[Taken], fifty: Run, count: int, with_variables: int) -> int:
    """Print for each limit whether it is kept; return an exit code."""
    http, https = ours(taken, "http"), ours(taken, "https")
    kept: list[tuple[str, float, float]] = [
        ("instructions of an HTTP check, millions", count / 1e6, MAX_INSTRUCTIONS / 1e6),
        ("300 variables, instructions", with_variables / count, MAX_WITH_VARIABLES),
        ("50 targets of 100 ms, ms", 1000 * fifty.wall, 1000 * _MAX_FIFTY),
    ]
    kept += [
        (f"{kind}, peak MiB", ours(taken, kind).peak_mib, most) for kind, most in _PEAKS.items()
    ]
    kept += [
        (f"{file}, MB", file.stat().st_size / 1e6, MAX_BYTES / 1e6)
        for file in sorted(Path().glob(_EXECUTABLES))
    ]
    for name, kind, figure, limit in _RATIOS:
        other = find(taken, name, kind)
        if other is not None:
            value = ours(taken, kind).ratio(other, figure).value
            kept.append((f"{kind} / {name}, {figure}", value, limit))
    for kind, limit in _CPU_OF_OTHERS.items():
        kept.append((f"{kind} / healthy, cpu", ours(taken, kind).ratio(http, "cpu").value, limit))
    for kind, figure, limit in (
        ("https, bundle", "cpu", _MAX_BUNDLE),
        ("https, system store", "wall", _MAX_STORE),
    ):
        value = ours(taken, kind).ratio(https, figure).value
        kept.append((f"{kind} / one CA, {figure}", value, limit))
    for text, value, limit in kept:
        print(f"{'kept    ' if value <= limit else 'NOT KEPT'}  {text}: {value:.2f} <= {limit}")
    return 0 if all(value <= limit for _, value, limit in kept) else 1


def arguments() -> ArgumentParser:
    made = parser(__doc__, "process")
    made.add_argument("--runs", type=at_least(2), default=200)
    made.add_argument("--peer", type=peer, action="append", default=[])
    made.add_argument("--limits", action="store_true")
    made.add_argument("--json", type=Path, metavar="FILE")
    made.add_argument("--svg", type=Path, metavar="FILE")
    return made


def main() -> int:
    options = arguments().parse_args()
    need(_NEEDED)
    if not Path(_EXECUTABLE).exists():
        raise SystemExit(f"there is no {_EXECUTABLE}: run scripts/build-binary first")
    with tempfile.TemporaryDirectory() as scratch, scene(Path(scratch)) as at:
        programs = [*known_programs(at, Path(scratch))]
        programs += [one.program(at) for one in options.peer]
        taken = take_turns(programs, options.runs)
        plain = ours(taken, "http").program
        slow_targets = (f"http://127.0.0.1:{at.slow}/",) * 50
        fifty = start(replace(plain, argv=(plain.argv[0], *slow_targets)))
        count = instructions(plain)
        with_variables = instructions(replace(plain, environment=MANY_VARIABLES))
        print(table(taken))  # measures the peaks
        measured = figures(taken, fifty, count)
    print(f"50 targets of 100 ms each: {1000 * fifty.wall:.0f} ms")
    print(f"instructions of one healthy HTTP check: {count / 1e6:.2f} million")
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(picture(measured))
    return judge(taken, fifty, count, with_variables) if options.limits else 0


if __name__ == "__main__":
    sys.exit(main())
