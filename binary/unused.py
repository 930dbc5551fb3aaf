"""Drop functions and classes that no code of the program can name.

Most of what the libraries hold is never called by us. What a module holds is kept when code that
can be reached names it, directly or as an attribute of the module. A method is kept when its name
occurs in code that can be reached, or in the machine code of the executable. What is dropped and
used all the same is a NameError or an AttributeError, as with any other name that is not there.
"""

import gc
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

_METHODS = (FunctionType, classmethod, staticmethod, property)
# What C code looks up by name is in these.
_WHOLE = re.compile(
    r"__main__|_frozen_importlib|abc|builtins|codecs|copyreg|encodings(\..*)?|io|os|posixpath"
    r"|signal|sys|threading|warnings|weakref"
)


def is_special(name: object) -> bool:
    return not isinstance(name, str) or (name.startswith("__") and name.endswith("__"))


def members(thing: type) -> Mapping[str, object]:
    namespace: Mapping[str, object] = type.__dict__["__dict__"].__get__(thing)
    return namespace


def names_in_program() -> set[str]:
    """Return what C code could look up by name."""
    content = Path("/proc/self/exe").read_bytes()
    return {name.decode() for name in re.findall(rb"(?<=\0)[A-Za-z_]\w*(?=\0)", content)}


def names_in(code: CodeType) -> Iterator[str]:
    """Yield all names and strings in `code` and in the functions that it makes."""
    yield from code.co_names
    constants = list(code.co_consts)
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            constants += constant
        elif isinstance(constant, CodeType):
            yield from names_in(constant)


class _Search:
    """What can be reached from `roots`."""

    def __init__(self, roots: Iterable[object]) -> None:
        self.modules = {
            name: module for name, module in sys.modules.items() if isinstance(module, ModuleType)
        }
        self.namespaces = {id(module.__dict__) for module in self.modules.values()}
        self.names = names_in_program()
        self.seen: set[int] = {id(sys.modules)}
        self.kept: dict[int, set[str]] = {}
        self.waiting: dict[str, list[object]] = {}
        self.todo = list(roots)
        for name, module in self.modules.items():
            if _WHOLE.fullmatch(name):
                self.todo.append(module)
            else:
                for special in filter(is_special, module.__dict__):
                    self.keep(module, special)
        while self.todo:
            self.visit(self.todo.pop())

    def keep(self, module: ModuleType, name: str) -> None:
        kept = self.kept.setdefault(id(module.__dict__), set())
        if name not in kept:
            kept.add(name)
            value = module.__dict__[name]
            if not isinstance(value, ModuleType):
                self.todo.append(value)

    def visit(self, thing: object) -> None:
        if id(thing) in self.seen or id(thing) in self.namespaces:
            return
        self.seen.add(id(thing))
        if isinstance(thing, ModuleType):
            for name in thing.__dict__:
                self.keep(thing, name)
            return
        self.todo.append(type(thing))
        if isinstance(thing, type):
            for name, value in members(thing).items():
                if not isinstance(value, _METHODS) or is_special(name) or name in self.names:
                    self.todo.append(value)
                else:
                    self.waiting.setdefault(name, []).append(value)
            self.todo += thing.__mro__
            return
        if isinstance(thing, FunctionType):
            self.call(set(names_in(thing.__code__)), thing.__globals__)
        self.todo += gc.get_referents(thing)

    def call(self, names: set[str], namespace: dict[str, object]) -> None:
        for name in names - self.names:
            self.todo += self.waiting.pop(name, ())
        self.names |= names
        package = namespace.get("__package__")
        found = [sys.modules.get(str(namespace.get("__name__")))]
        for name in names:
            found += [sys.modules.get(name), sys.modules.get(f"{package}.{name}")]
        searched = set()
        while found:
            module = found.pop()
            if not isinstance(module, ModuleType) or id(module) in searched:
                continue
            searched.add(id(module))
            for name in names & module.__dict__.keys():
                self.keep(module, name)
                found.append(module.__dict__[name])

    def unused(self) -> Iterator[tuple[int, str]]:
        """Yield the identity of a module or class, and a name in it."""
        for module in {id(module): module for module in self.modules.values()}.values():
            if id(module) not in self.seen:
                names = self.kept.get(id(module.__dict__), set())
                yield from ((id(module), name) for name in module.__dict__.keys() - names)
        for thing in gc.get_objects():
            if isinstance(thing, type) and id(thing) in self.seen:
                for name, value in members(thing).items():
                    kept = is_special(name) or name in self.names
                    if isinstance(value, _METHODS) and not kept:
                        yield id(thing), name


def drop_unused(root: object) -> None:
    """Keep of all modules what `root` may need."""
    # The search takes much memory, so a process of its own does it: nothing of it is to be saved.
    found = os.memfd_create("unused")
    if os.fork() == 0:
        with open(found, "w", closefd=False) as file:
            file.writelines(f"{owner} {name}\n" for owner, name in _Search([root]).unused())
        os._exit(0)
    if os.wait()[1] != 0:
        raise RuntimeError("what is unused could not be found")
    unused: dict[int, list[str]] = {}
    os.lseek(found, 0, os.SEEK_SET)
    with open(found) as file:  # noqa: PTH123 - a descriptor has no path
        for line in file:
            owner, name = line.split()
            unused.setdefault(int(owner), []).append(name)
    for thing in gc.get_objects():
        for name in unused.get(id(thing), ()):
            if isinstance(thing, type):
                type.__delattr__(thing, name)
            elif isinstance(thing, ModuleType):
                del thing.__dict__[name]
