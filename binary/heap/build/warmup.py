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

import click._textwrap
import click.shell_completion
from servers import usual_checks

import healthchecker._values.expect.regex
from healthchecker._cli.main import main

_ROUNDS = 20  # the interpreter specializes code after some runs


def warm_up(http: int, grpc: int, closed: int) -> None:
    """Check the servers on these ports of 127.0.0.1; no server listens on `closed`."""
    usual = usual_checks(http)
    runs = [*usual, [f"grpc://127.0.0.1:{grpc}"]] * _ROUNDS
    runs += [
        [*usual[0], "--verbose", "--expect-json", "status=UP"],
        [*usual[0], "--output", "json"],
        ["--port", str(closed)],
        [f"tcp://127.0.0.1:{http}"],
        ["--help"],
    ]
    runs += usual  # the last cache entries are found first
    for arguments in runs:
        main(arguments)
        gc.collect()  # so that remains of this run do not mix with those of the next
