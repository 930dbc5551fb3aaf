"""Trace which functions and variables checks use, so that the linker puts them together.

    order.py BUILD ORDER

BUILD is the folder of a finished build, ORDER the list that link.sh reads. Each line has a kind and
a name: `plain` for the functions of a plain HTTP check, in the order of their first use; `other`
for the functions that only gRPC and TLS use; `constant`, first those of a plain check; `variable`
for the variables of CPython that a plain check reads.
"""

import bisect
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import trustme
from servers import answer_grpc_in_pieces, answer_http, server, usual_checks

_LARGE = 8192  # larger ones come after the others of a check, which they would separate


class Symbol(NamedTuple):
    name: str
    address: int
    size: int
    is_code: bool


def symbols(program: Path) -> list[Symbol]:
    command = ["nm", "--defined-only", "--print-size", "--numeric-sort", str(program)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fields = [line.split() for line in listed.splitlines()]
    return [
        Symbol(line[3], int(line[0], 16), int(line[1], 16), line[2] in "tTwW")
        for line in fields
        if len(line) == 4
    ]


def address_of(program: Path, name: str) -> int:
    listed = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    return next(int(line[:16], 16) for line in listed.splitlines() if line.split()[-1] == name)


def accesses(command: list[str]) -> Iterator[int]:
    """Run a check, which must succeed; yield all addresses that it uses."""
    tool = ["valgrind", "--tool=lackey", "--trace-mem=yes", "--log-fd=9"]
    shell = ["bash", "-c", 'exec "$@" 9>&1 >/dev/null', "bash"]
    with subprocess.Popen([*shell, *tool, *command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line[:2] in (b"I ", b" L", b" S", b" M"):
                yield int(line[3:].partition(b",")[0], 16)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")


def used(known: list[Symbol], commands: Iterable[list[str]]) -> dict[Symbol, None]:
    """Return the unique items in the order of first use."""
    addresses = [symbol.address for symbol in known]
    found: dict[Symbol, None] = {}
    for command in commands:
        for address in accesses(command):
            symbol = known[bisect.bisect_right(addresses, address) - 1]
            if symbol.address <= address < symbol.address + symbol.size:
                found.setdefault(symbol)
    return found


def main(build: str, order: str) -> None:
    # Valgrind cannot run what unpacks chunks, see inflate.c.
    program, executable = Path(build, "link/warm.symbols"), Path(build, "work/traced").resolve()
    known = symbols(program)
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    def answer_https(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as encrypted:
            answer_http(encrypted)

    with (
        server(answer_http) as http,
        server(answer_grpc_in_pieces) as grpc,
        server(answer_https) as https,
        authority.cert_pem.tempfile() as certificate,
    ):
        check = [str(executable), "--timeout", "600"]
        tls = ["--cacert", certificate, f"https://localhost:{https}"]
        plain = used(known, ([*check, *usual] for usual in usual_checks(http)))
        others = used(known, [[*check, f"grpc://127.0.0.1:{grpc}"], [*check, *tls]])

    start, stop = (address_of(program, f"__{name}_saved_data") for name in ("start", "stop"))
    more = [symbol for symbol in others if symbol not in plain]
    data = [one for one in [*plain, *more] if not one.is_code]
    kinds = {
        "plain": [one for one in plain if one.is_code],
        "other": [one for one in more if one.is_code],
        "constant": [one for one in data if not start <= one.address < stop],
        "variable": [one for one in data if start <= one.address < stop and one in plain],
    }
    kinds["constant"].sort(key=lambda one: (one not in plain, one.size > _LARGE))
    kinds["variable"].sort(key=lambda one: one.size > _LARGE)
    # The name of a section is that of one of its symbols.
    names: dict[int, list[str]] = {}
    for symbol in known:
        names.setdefault(symbol.address, []).append(symbol.name)
    lines = [
        f"{kind} {name}\n"
        for kind, ones in kinds.items()
        for one in ones
        for name in names[one.address]
    ]
    Path(order).write_text("".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main(*sys.argv[1:])
