"""What the build runs to fill the heap that it saves: import all, warm up, put everything away."""

import _frozen_importlib
import contextlib
import functools
import gc
import os
import re
import signal
import socket
import sys
from types import FunctionType, ModuleType
from typing import NoReturn

import _saved_heap
from servers import answer_grpc, answer_http, server
from start import start
from unused import drop_unused
from warmup import warm_up

# What type checkers, readers and the import system want to know.
_SPARE = (
    *("__annotations__", "__cached__", "__file__", "__firstlineno__", "__loader__"),
    *("__orig_bases__", "__spec__", "__static_attributes__"),
)
_BUILD_ONLY = ("servers", "unused", "never_called", "__main__")


def main() -> None:
    end_imports()
    forget_caches()
    forget_documentation()
    drop_unused(start)
    gc.collect()
    _saved_heap.all_imported()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    with server(answer_http) as http, server(answer_grpc) as grpc:
        warm_up(http, grpc, closed)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Where this was built is nobody's business.
    os.environ.clear()
    del sys._MEIPASS  # type: ignore[attr-defined]  # noqa: SLF001 - as PyInstaller has it
    _saved_heap.start_with(start)
    put_away(_saved_heap, gc)


def end_imports() -> None:
    """Make the import of what has not been imported fail, without all that would look for it."""

    def find_and_load(name: str, _import: object) -> NoReturn:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    _frozen_importlib._find_and_load = find_and_load  # type: ignore[attr-defined]  # noqa: SLF001
    for places in (sys.meta_path, sys.path, sys.path_hooks, sys.path_importer_cache):
        places.clear()


def forget_caches() -> None:
    re.purge()
    for thing in gc.get_objects():
        if isinstance(thing, functools._lru_cache_wrapper):  # noqa: SLF001 - the type has no name
            thing.cache_clear()


def forget_documentation() -> None:
    for thing in gc.get_objects():
        if isinstance(thing, type | ModuleType):
            with contextlib.suppress(AttributeError, TypeError):
                thing.__doc__ = None
            for name in _SPARE:
                with contextlib.suppress(AttributeError, TypeError):
                    (type if isinstance(thing, type) else ModuleType).__delattr__(thing, name)
        elif isinstance(thing, FunctionType):
            thing.__annotations__ = None  # type: ignore[assignment]


def put_away(heap: ModuleType, collector: ModuleType) -> None:
    """Leave only what is to be saved; what this function itself needs, it is given."""
    for name in _BUILD_ONLY:
        vars(sys.modules[name]).clear()
    heap.all_warm()
    collector.collect()
    heap.immortalize(collector.get_objects())
    collector.freeze()


main()
