"""The Python half of a start from the saved heap: set what belongs to one process.

start.c calls `start` instead of a main program. Nothing is imported after that.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

import _saved_heap
from constants import CLOSED, TERMINAL

from healthchecker.__main__ import run
from healthchecker._cli import environment, process

_STREAMS = ("stdout", "stderr")
_HANDLERS = (signal.default_int_handler, int(signal.SIG_IGN))
"""Of SIGINT, by whether it was ignored: the warm-up for one is also that for the other."""


class _Variables(dict[bytes, bytes]):
    """The environment of the process, looked up when it is needed."""

    def __missing__(self, name: bytes) -> bytes:
        value = _saved_heap.variable(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[bytes]:
        return iter({**_saved_heap.environment(), **dict(self.items())})


os.environ._data = os.environb._data = _Variables()  # type: ignore[attr-defined]  # noqa: SLF001 - as in posix: bytes


def start(argv: list[str], names: list[bytes], streams: tuple[int, ...], ignored: int) -> NoReturn:
    """Run the program with what belongs to this process; see `take`."""
    take(argv, names, streams, ignored)
    run()


def take(argv: list[str], names: list[bytes], streams: tuple[int, ...], ignored: int) -> None:
    """Set the arguments and the state of this process; the build also runs this, to warm it up.

    `names` are our variables. `streams` are the states of standard output and standard error;
    nothing reads the input. `ignored` has a bit for each signal that was ignored.
    """
    sys.argv[:] = argv
    sys.orig_argv[:] = argv
    environment.names_at_start = names
    for number, name in enumerate(_STREAMS):
        state = streams[number]
        if state == CLOSED:
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
        elif state == TERMINAL:
            getattr(sys, name).reconfigure(line_buffering=True)
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # noqa: SLF001 - like in a new thread
    process.ignored_at_start = ignored
    process.set_handler(signal.SIGINT, _HANDLERS[ignored >> signal.SIGINT & 1])
