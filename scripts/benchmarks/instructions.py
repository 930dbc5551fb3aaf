"""Figures of one check that a busy machine does not change: instructions and written pages."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
from pathlib import Path

from scripts.benchmarks.turns import Program

MAX_INSTRUCTIONS = 1_250_000
"""How many one healthy HTTP check may take from the saved heap."""
MAX_WITH_VARIABLES = 1.1
"""The same with `MANY_VARIABLES`, in units of a check without any."""
MAX_WRITTEN_PAGES = 30
"""How many pages of the executable a healthy HTTP check may write to: each must be copied."""
MAX_BYTES = 8_000_000
"""The size of an executable."""

MANY_VARIABLES = {f"SERVICE_{number}_PORT_8080_TCP_ADDR": "10.0.0.1" for number in range(300)}
"""What Kubernetes sets for 43 Services."""

_PAGE = 4096
_SEGMENT = struct.Struct("<IIQQQQQQ")  # type, flags, offset, address, ..., size in memory, ...
_LOAD, _WRITABLE = 1, 2


def instructions(program: Program) -> int:
    """Return how many instructions a program executes, as Valgrind's callgrind counts them."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "callgrind"
        _run(program, "--tool=callgrind", f"--callgrind-out-file={out}")
        (total,) = re.findall(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[:1]
    return int(total)


def written_pages(program: Program) -> int:
    """Return how many pages of the segments of its executable a program writes to."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        _run(program, "--tool=lackey", "--trace-mem=yes", f"--log-file={log}")
        stores = re.findall(r"^ [SM] ([0-9a-f]+),", log.read_text(), re.MULTILINE)
    written = {int(address, 16) // _PAGE for address in stores}
    return sum(len(written.intersection(pages)) for pages in _writable(Path(program.argv[0])))


def _writable(executable: Path) -> list[range]:
    """Return the pages of each segment of an ELF file that may be written to."""
    content = executable.read_bytes()
    (start,) = struct.unpack_from("<Q", content, 32)
    (count,) = struct.unpack_from("<H", content, 56)
    segments = (_SEGMENT.unpack_from(content, start + n * _SEGMENT.size) for n in range(count))
    return [
        range(address // _PAGE, (address + size - 1) // _PAGE + 1)
        for kind, flags, _, address, _, _, size, _ in segments
        if kind == _LOAD and flags & _WRITABLE
    ]


def _run(program: Program, *options: str) -> None:
    # With a path that has a slash, because Valgrind otherwise searches PATH.
    argv = [str(Path(program.argv[0]).absolute()), *program.argv[1:], "--timeout", "60"]
    subprocess.run(
        ["env", "--default-signal", "valgrind", *options, *argv],
        env={"PATH": os.environ["PATH"], **program.environment},
        capture_output=True,
        check=True,
    )
