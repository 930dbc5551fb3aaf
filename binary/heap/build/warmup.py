"""What the executable does before its build saves its memory: the one part that knows of that.

An executable with a saved heap has no files to import from, so everything must be imported here or
by what is imported here. Code that has run before is faster, so the usual checks are also run.
"""

# ruff: noqa: F401 - what is imported here is imported late elsewhere, or looked up by name

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

_ROUNDS = 20  # after some runs the interpreter has specialized the code for what it does


def warm_up(http: int, grpc: int, closed: int) -> None:
    """Check the servers on these ports of 127.0.0.1; `closed` has no listener."""
    usual = usual_checks(http)
    runs = [*usual, [f"grpc://127.0.0.1:{grpc}"]] * _ROUNDS
    runs += [
        [*usual[0], "--verbose", "--expect-json", "status=UP"],
        [*usual[0], "--output", "json"],
        ["--port", str(closed)],
        [f"tcp://127.0.0.1:{http}"],
        ["--help"],
    ]
    runs += usual  # what is cached last is found first
    for arguments in runs:
        main(arguments)
        gc.collect()  # what is left of one run must not lie between what the next ones leave
