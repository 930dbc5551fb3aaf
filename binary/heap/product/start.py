"""The Python half of a start from the saved heap: set what belongs to one process.

start.c calls `start` instead of a main program. Nothing is imported after that.
"""

import os
import signal
import sys
import threading
from typing import NoReturn

from constants import CLOSED, TERMINAL

from healthchecker.__main__ import run
from healthchecker._cli import process

_STREAMS = ("stdin", "stdout", "stderr")


def start(
    argv: list[str], variables: dict[bytes, bytes], streams: tuple[int, ...], ignored: int
) -> NoReturn:
    """Run the program with the arguments and variables of this process.

    `streams` are the states of the three standard files. `ignored` has a bit for each signal that
    was ignored.
    """
    sys.argv[:] = argv
    sys.orig_argv[:] = argv
    environment = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001 - bytes, like in posix
    environment.clear()
    environment.update(variables)
    for name, state in zip(_STREAMS, streams, strict=True):
        if state == CLOSED:
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
        elif state == TERMINAL:
            getattr(sys, name).reconfigure(line_buffering=True)
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # noqa: SLF001 - like in a new thread
    process.ignored_at_start = ignored
    no_interrupt = ignored >> signal.SIGINT & 1
    signal.signal(signal.SIGINT, signal.SIG_IGN if no_interrupt else signal.default_int_handler)
    run()
