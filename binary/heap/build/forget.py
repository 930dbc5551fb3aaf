"""Remove what a program no longer needs after its imports."""

import _frozen_importlib
import builtins
import contextlib
import functools
import gc
import logging
import re
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import NoReturn

# For type checkers, readers and the import system.
_SPARE = (
    *("__annotations__", "__cached__", "__file__", "__firstlineno__", "__loader__"),
    *("__orig_bases__", "__spec__", "__static_attributes__"),
)


_COMPILER = ("compile", "eval", "exec")


def forget() -> None:
    """Remove what a program needs only until everything is imported.

    The build and the guarded form of the tests do this, so that the tests notice what is missed.
    """
    end_imports()
    forget_compiler()
    forget_caches()
    forget_documentation()


def end_imports() -> None:
    """Let further imports fail, and remove everything that would search for modules."""

    def find_and_load(name: str, _import: object) -> NoReturn:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    _frozen_importlib._find_and_load = find_and_load  # type: ignore[attr-defined]  # noqa: SLF001
    for places in (sys.meta_path, sys.path, sys.path_hooks, sys.path_importer_cache):
        places.clear()


def forget_compiler() -> None:
    """Remove every way to create code. `unused.py` fails if anything still refers to one.

    Python keeps a copy of the dictionary of `builtins`, to which only C code refers.
    """
    for name in _COMPILER:
        function = vars(builtins)[name]
        for owner in gc.get_referrers(function):
            if isinstance(owner, dict) and owner.get(name) is function:
                del owner[name]


def compilers() -> list[str]:
    """Return the remaining functions that create code, each with its owners."""
    return [
        f"{thing.__name__}: {[type(owner) for owner in gc.get_referrers(thing)]}"
        for thing in gc.get_objects()
        if isinstance(thing, BuiltinFunctionType)
        and thing.__self__ is builtins
        and thing.__name__ in _COMPILER
    ]


def forget_caches() -> None:
    re.purge()
    for thing in gc.get_objects():
        if isinstance(thing, functools._lru_cache_wrapper):  # noqa: SLF001 - the type has no name
            thing.cache_clear()
    # The finalizer of a handler would miss the list, which is not kept.
    logging._handlerList.clear()  # type: ignore[attr-defined]  # noqa: SLF001 - nothing else does


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
