"""`python -m healthchecker`, and the entry of every executable."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from healthchecker._cli import openssl as _openssl  # noqa: F401 - before anything loads it
from healthchecker._cli.main import main
from healthchecker._cli.process import open_standard_streams


def run() -> NoReturn:
    """Run the command line and end the process with its exit code.

    Skips the interpreter's clean-up, which would print an error and exit with code 120 if standard
    output has been closed.
    """
    os._exit(run_to_end())


def run_to_end() -> int:
    """Run the command line with all that belongs to a process but its end; return the exit code."""
    open_standard_streams()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue
    return code


if __name__ == "__main__":
    run()
