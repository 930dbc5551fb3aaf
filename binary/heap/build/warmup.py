"""What to import and to run before the heap is saved.

An executable with a saved heap cannot import, so everything must be imported here, directly or
indirectly. Specialized code is faster, so the usual checks also run here.
"""

# ruff: noqa: F401 - these modules are imported late elsewhere, or looked up by name

from __future__ import annotations

import difflib
import encodings.ascii
import encodings.idna
import encodings.latin_1
import encodings.punycode
import encodings.utf_8_sig
import encodings.utf_16
import encodings.utf_16_be
import encodings.utf_16_le
import encodings.utf_32
import encodings.utf_32_be
import encodings.utf_32_le
import gc
import heapq
import shlex
import sys
from collections.abc import Callable, Iterable

import click._textwrap
import click.shell_completion
from servers import usual_checks

import healthchecker._values.expect.regex
from healthchecker.__main__ import run_to_end
from healthchecker._net.issuers import bundled

_ROUNDS = 20  # the interpreter specializes code after some runs


def warm_up(http: int, grpc: int, closed: int, begin: Callable[[list[str]], None]) -> None:
    """Check the servers on these ports of 127.0.0.1; no server listens on `closed`.

    `begin` does what a start does before it runs the command line.
    """
    bundled()  # kept for checks with a large file of CA certificates
    usual = usual_checks(http)
    _run([*usual, [f"grpc://127.0.0.1:{grpc}"]] * _ROUNDS, begin)
    sys._clear_internal_caches()  # type: ignore[attr-defined]  # noqa: SLF001 - of what only imports look up
    _run(
        [
            [*usual[0], "--verbose", "--expect-json", "status=UP"],
            [*usual[0], "--output", "json"],
            ["--port", str(closed)],
            [*usual[0], "--status", "204"],
            ["--prot", str(http)],
            [f"tcp://127.0.0.1:{http}"],
            ["--help"],
            [f"grpc://127.0.0.1:{grpc}"],
            *usual,  # the last cache entries are found first
        ],
        begin,
    )


def _run(checks: Iterable[list[str]], begin: Callable[[list[str]], None]) -> None:
    for arguments in checks:
        begin(arguments)
        run_to_end()
        gc.collect()  # so that remains of this run do not mix with those of the next
