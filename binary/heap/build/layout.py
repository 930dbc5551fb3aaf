"""Trace which blocks of a saved heap checks touch, so that a second build puts them together.

    layout.py MEMORY EXECUTABLE LAYOUT TRACE...

MEMORY was written by save.c and is part of EXECUTABLE. TRACE is a command that runs another one and
writes its memory accesses to file 9, in the format of Valgrind's lackey. LAYOUT gets one byte for
each allocation of the build: the zone of its block. Its previous content counts: of two zones, a
block gets the one that is nearer to a plain check.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from constants import COLD, OTHER, PAGE, PLACES, READ, TEMPORARY, WRITTEN
from servers import answer_grpc_at_once, answer_http, hang_up, server, usual_checks
from write_executable import records, word

_NEARNESS = (WRITTEN, READ, OTHER, COLD, TEMPORARY)
_TOUCHED = (WRITTEN, READ, OTHER)
_FEWEST = 0.97
"""How many blocks a look may find, of those of the look before."""


def blocks(memory: bytes, word: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, address and size of all blocks; freed ones have number 0."""
    away, headers = PLACES[word].away, PLACES[word].headers
    for address, content in records(memory):
        if address < headers:
            continue
        at = 0
        while at < len(content):
            size = int.from_bytes(content[at : at + 4], "little")
            yield int.from_bytes(content[at + 4 : at + 8], "little"), address - away + at, size
            at += size


def touched(
    trace: tuple[str, ...], command: list[str], *, healthy: bool = True
) -> tuple[set[int], set[int]]:
    """Run a check; return the 8-byte words, by number, that it wrote to and that it only read."""
    written: set[int] = set()
    read: set[int] = set()
    tool = ["env", "-i", "--default-signal", shutil.which(trace[0]) or trace[0], *trace[1:]]
    with subprocess.Popen(
        ["bash", "-c", 'exec "$@" 9>&1 >/dev/null', "bash", *tool, *command], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line[:2] in (b" L", b" S", b" M"):
                address, _, size = line[3:].partition(b",")
                first = int(address, 16)
                words = range(first // 8, (first + int(size) - 1) // 8 + 1)
                (read if line[1:2] == b"L" else written).update(words)
    if (process.returncode == 0) != healthy:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    return written, read - written


def main(memory: str, executable: str, layout: str, *trace: str) -> None:
    with (
        server(answer_http) as http,
        server(answer_grpc_at_once) as grpc,
        server(hang_up) as no_tls,
    ):
        check = [executable, "--timeout", "1h"]  # real time, of which tracing takes much
        looks = [touched(trace, [*check, *usual]) for usual in usual_checks(http)]
        written = set[int]().union(*(one for one, _ in looks))
        read = set[int]().union(*(one for _, one in looks)) - written
        other = set.union(
            *touched(trace, [*check, f"grpc://127.0.0.1:{grpc}"]),
            # The server speaks no TLS, but the check has already used most of what TLS needs.
            *touched(trace, [*check, "--insecure", f"https://127.0.0.1:{no_tls}"], healthy=False),
        )
    zones: dict[int, int] = {}
    pointer = word(Path(executable).read_bytes())
    for number, address, size in blocks(Path(memory).read_bytes(), pointer):
        words = range(address // 8, (address + size) // 8)
        is_written = not written.isdisjoint(words)
        if is_written and size <= PAGE:
            zones[number] = WRITTEN
        elif is_written or not read.isdisjoint(words):
            # Most pages of a large block that is written to are only read.
            zones[number] = READ
        elif not other.isdisjoint(words):
            zones[number] = OTHER
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
