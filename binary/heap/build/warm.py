"""Fill the heap that the build saves: import everything, warm up, freeze."""

import gc
import signal
import socket
import sys
import threading
from types import ModuleType

import _saved_heap
from constants import OPEN
from forget import forget
from servers import answer_grpc_in_pieces, answer_http, server
from start import start, take
from unused import drop_unused
from warmup import warm_up

from healthchecker._net.issuers import bundled_file

_BUILD_ONLY = ("forget", "servers", "unused", "never_called", "__main__")


def main() -> None:
    forget()
    _saved_heap.forget_fork_handlers()
    drop_unused(start, sys.argv[3])
    _saved_heap.set_up_openssl(bundled_file())
    gc.collect()
    _saved_heap.all_imported()
    with (
        socket.socket() as closed,
        server(answer_http) as http,
        server(answer_grpc_in_pieces) as grpc,
    ):
        closed.bind(("127.0.0.1", 0))  # and does not listen, so nothing else can
        warm_up(http, grpc, closed.getsockname()[1], begin)
    begin([])  # the arguments are saved, and the ports in them are random
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if threading._active != {threading.get_ident(): threading.main_thread()}:  # type: ignore[attr-defined]  # noqa: SLF001
        raise RuntimeError("a second thread would be saved")
    threading.main_thread()._native_id = 0  # type: ignore[attr-defined]  # noqa: SLF001 - each start sets it
    # Nothing reads it, and its buffer may not be saved; see refuse_buffer() in objects.c.
    sys.stdin = sys.__stdin__ = None  # type: ignore[misc]
    del sys._MEIPASS  # type: ignore[attr-defined]  # noqa: SLF001 - set by PyInstaller
    _saved_heap.start_with(start)
    put_away(_saved_heap, gc)


def begin(arguments: list[str]) -> None:
    """Do what a start does first."""
    take(["healthchecker", *arguments], [], (OPEN, OPEN), 0)


def put_away(heap: ModuleType, collector: ModuleType) -> None:
    """Leave only what will be saved. This function gets what it needs as arguments."""
    for name in _BUILD_ONLY:
        vars(sys.modules[name]).clear()
    heap.all_warm()
    collector.collect()
    heap.immortalize(collector.get_objects())
    collector.freeze()


main()
