"""What the build runs to fill the heap that it saves: import all, warm up, put everything away."""

import contextlib
import gc
import os
import signal
import socket
import sys
from types import ModuleType

import _saved_heap
from servers import answer_grpc, answer_http, server
from start import start
from unused import drop_unused

from healthchecker._warmup import warm_up


def main() -> None:
    drop_unused(start)
    forget_documentation()
    _saved_heap.all_imported()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    with server(answer_http) as http, server(answer_grpc) as grpc:
        warm_up(http, grpc, closed)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Nothing can be imported any more, and where this was built is nobody's business.
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    os.environ.clear()
    del sys._MEIPASS  # type: ignore[attr-defined]  # noqa: SLF001 - as PyInstaller has it
    _saved_heap.start_with(start)
    _saved_heap.all_warm()
    gc.collect()
    _saved_heap.immortalize(gc.get_objects())
    gc.freeze()


def forget_documentation() -> None:
    """Drop what only readers want to know; functions are done by `immortalize`."""
    for thing in gc.get_objects():
        if isinstance(thing, type | ModuleType):
            with contextlib.suppress(AttributeError, TypeError):
                thing.__doc__ = None


main()
