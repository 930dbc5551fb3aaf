"""Drop functions and classes that no code of the program can name.

The program never calls most of what the libraries contain. A name of a module is kept if reachable
code names it, directly or as an attribute of the module. A method is kept if its name occurs in
reachable code or in the machine code of the executable. The functions in `never_called.py` and the
methods that each dataclass gets to show, change and copy its objects are dropped anyway. Using a
dropped name is a NameError or an AttributeError. left-out.txt lists the dropped functions; the
tests fail if the program calls any of them.
"""

import _abc  # type: ignore[import-not-found]
import gc
import os
import re
import sys
from abc import ABCMeta
from collections.abc import Iterable, Iterator, Mapping
from opcode import opmap
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from forget import compilers
from never_called import NEVER_CALLED

_METHODS = (FunctionType, classmethod, staticmethod, property)
_WHOLE = re.compile(r"__main__|builtins|sys|encodings(\..*)?")
# C code looks up names in these modules.
_USED_BY_C = re.compile(
    r"_frozen_importlib|abc|codecs|copyreg|io|os|posixpath|signal|threading|warnings|weakref"
)
# Methods of each dataclass: no object is shown, changed, deleted from, or copied.
_OF_DATACLASSES = ("__repr__", "__setattr__", "__delattr__", "__getstate__", "__setstate__")
# How far the argument of an instruction has to be shifted right to get the index of a name.
_NAME_SHIFT = {
    opmap[name]: shift
    for name, shift in {"LOAD_GLOBAL": 1, "LOAD_NAME": 0, "LOAD_ATTR": 1, "IMPORT_NAME": 0}.items()
}
_GLOBAL = (opmap["LOAD_GLOBAL"], opmap["LOAD_NAME"])
_ATTRIBUTE, _IMPORT = opmap["LOAD_ATTR"], opmap["IMPORT_NAME"]
_CACHE, _EXTENDED_ARG = opmap["CACHE"], opmap["EXTENDED_ARG"]


def is_special(name: object) -> bool:
    return not isinstance(name, str) or (name.startswith("__") and name.endswith("__"))


def members(thing: type) -> Mapping[str, object]:
    namespace: Mapping[str, object] = type.__dict__["__dict__"].__get__(thing)
    return namespace


def known_subclasses(thing: type) -> list[type]:
    """Return the subclasses that isinstance() of an abstract class consults."""
    return thing.__subclasses__() if isinstance(thing, ABCMeta) else []


def has_registered(thing: type) -> bool:
    return bool(_abc._get_dump(thing)[0]) or any(  # noqa: SLF001 - for introspection
        map(has_registered, known_subclasses(thing))
    )


def names_in_program() -> set[str]:
    """Return the names that C code could look up."""
    content = Path("/proc/self/exe").read_bytes()
    return {name.decode() for name in re.findall(rb"(?<=\0)[A-Za-z_]\w*(?=\0)", content)}


def names_in(code: CodeType) -> Iterator[str]:
    """Yield all names and strings in `code` and in the functions that it defines."""
    yield from code.co_names
    constants = list(code.co_consts)
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            constants += constant
        elif isinstance(constant, CodeType):
            yield from names_in(constant)


def held_by_c() -> list[object]:
    """Return the lists and dictionaries that only C code refers to, such as fork handlers."""
    objects = gc.get_objects()
    referents = {id(referent) for thing in objects for referent in gc.get_referents(thing)}
    return [
        thing for thing in objects if type(thing) in (dict, list) and id(thing) not in referents
    ]


def find(name: str) -> object:
    """Return the object named by `module:name` or `module:class.name`."""
    module, _, path = name.partition(":")
    thing: object = sys.modules[module]
    for part in path.split("."):
        thing = vars(thing)[part]
    return thing


def never_called() -> Iterator[object]:
    """Yield the objects to drop even if reachable code names them."""
    yield from map(find, NEVER_CALLED)
    for thing in gc.get_objects():
        if isinstance(thing, type) and "__dataclass_fields__" in members(thing):
            yield from (members(thing)[name] for name in _OF_DATACLASSES if name in members(thing))


def instructions(code: CodeType) -> Iterator[tuple[int, str]]:
    """Yield the operations of `code`, each with the name that it looks up, if any."""
    argument = 0
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = argument << 8 | low
        if operation in _NAME_SHIFT:
            yield operation, code.co_names[argument >> _NAME_SHIFT[operation]]
        elif operation not in (_CACHE, _EXTENDED_ARG):
            yield operation, ""
        if operation != _EXTENDED_ARG:
            argument = 0


def chains(code: CodeType) -> Iterator[list[str]]:
    """Yield each name that `code` looks up, with the attributes directly taken from it."""
    chain: list[str] = []
    for operation, name in instructions(code):
        if operation == _ATTRIBUTE and chain:
            chain.append(name)
            continue
        if chain:
            yield chain
        chain = [name] if operation in _GLOBAL else []


class _Search:
    """The objects that are reachable from `roots`."""

    def __init__(self, roots: Iterable[object]) -> None:
        self.modules = {
            name: module for name, module in sys.modules.items() if isinstance(module, ModuleType)
        }
        self.namespaces = {id(module.__dict__) for module in self.modules.values()}
        self.names = names_in_program()
        self.never = set(map(id, never_called()))
        self.seen: set[int] = {id(sys.modules)} | self.never
        self.kept: dict[int, set[str]] = {}
        self.waiting: dict[str, list[object]] = {}
        self.todo = list(roots)
        for name, module in self.modules.items():
            if _WHOLE.fullmatch(name):
                self.todo.append(module)
            else:
                used = self.names if _USED_BY_C.fullmatch(name) else ()
                for special in module.__dict__:
                    if special in used or (is_special(special) and special != "__getattr__"):
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
                if self.may_be_used(name, value):
                    self.todo.append(value)
                else:
                    self.waiting.setdefault(name, []).append(value)
            self.todo += thing.__mro__
            for subclass in filter(has_registered, known_subclasses(thing)):
                # By its name in its module, because a class does not keep its subclasses alive.
                self.keep(self.modules[subclass.__module__], subclass.__name__)
            return
        if isinstance(thing, FunctionType):
            self.call(thing.__code__, thing.__globals__)
            self.todo += (thing.__code__, thing.__defaults__, thing.__kwdefaults__)
            self.todo += (thing.__closure__, thing.__dict__)
            return
        self.todo += gc.get_referents(thing)

    def may_be_used(self, name: str, value: object) -> bool:
        """Return whether a class needs this member, as far as is known."""
        return not isinstance(value, _METHODS) or is_special(name) or name in self.names

    def call(self, code: CodeType, namespace: dict[str, object]) -> None:
        names = set(names_in(code))
        for name in names - self.names:
            self.todo += self.waiting.pop(name, ())
        self.names |= names
        found = list(self.modules_in(code, namespace))
        searched = set()
        while found:
            module = found.pop()
            if id(module) not in searched:
                searched.add(id(module))
                for name in names & module.__dict__.keys():
                    self.keep(module, name)
                    if isinstance(module.__dict__[name], ModuleType):
                        found.append(module.__dict__[name])

    def modules_in(self, code: CodeType, namespace: dict[str, object]) -> Iterator[ModuleType]:
        """Keep the names that `code` uses; yield modules of which it may use any name."""
        owner = self.modules.get(str(namespace.get("__name__")))
        if owner is not None:
            for chain in chains(code):
                yield from self.look_up(owner, chain)
        for operation, name in instructions(code):
            if operation == _IMPORT:
                yield from self.imported(name, str(namespace.get("__package__")))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from self.modules_in(constant, namespace)

    def look_up(self, module: ModuleType, names: list[str]) -> Iterator[ModuleType]:
        """Keep a name of `module` and its attributes; yield the module at the end, if any."""
        for name in names:
            if name not in module.__dict__:
                if "__getattr__" in module.__dict__:
                    self.keep(module, "__getattr__")
                return
            self.keep(module, name)
            value = module.__dict__[name]
            if not isinstance(value, ModuleType):
                return
            module = value
        yield module

    def imported(self, name: str, package: str) -> Iterator[ModuleType]:
        """Yield the modules that an import of `name`, absolute or relative, may mean."""
        parents = package.split(".")
        for count in range(len(parents) + 1):
            full = ".".join([*parents[:count], name]).rstrip(".")
            if full in self.modules:
                yield self.modules[full]

    def unused(self) -> Iterator[tuple[int, str]]:
        """Yield the identity of a module or class, and a name in it."""
        for module in {id(module): module for module in self.modules.values()}.values():
            whole = id(module) in self.seen
            names = self.kept.get(id(module.__dict__), set())
            for name, value in module.__dict__.items():
                if id(value) in self.never or not (whole or name in names):
                    yield id(module), name
        for thing in gc.get_objects():
            if isinstance(thing, type) and id(thing) in self.seen:
                for name, value in members(thing).items():
                    if id(value) in self.never or not self.may_be_used(name, value):
                        yield id(thing), name


def functions() -> set[str]:
    """Return module, name and line of each function."""
    return {
        ":".join(
            (
                str(thing.__globals__.get("__name__")),
                thing.__code__.co_qualname,
                f"{thing.__code__.co_firstlineno}\n",
            )
        )
        for thing in gc.get_objects()
        if isinstance(thing, FunctionType)
    }


def drop(unused: Iterable[tuple[int, str]]) -> None:
    names: dict[int, list[str]] = {}
    for owner, name in unused:
        names.setdefault(owner, []).append(name)
    for thing in gc.get_objects():
        dropped = names.get(id(thing), ())
        if dropped and isinstance(thing, ModuleType):
            kept = {name: value for name, value in vars(thing).items() if name not in dropped}
            vars(thing).clear()  # so that it shrinks
            vars(thing).update(kept)
        else:
            for name in dropped:
                type.__delattr__(thing, name)


def drop_unused(root: object, left_out: str) -> None:
    """Keep what `root` may need; write the names of dropped functions to the file `left_out`."""
    # The search takes much memory that must not be saved, so it runs in a process of its own.
    found = os.memfd_create("unused")
    if os.fork() == 0:
        before = functions()
        unused = list(_Search([*held_by_c(), root]).unused())
        with open(found, "w", closefd=False) as file:
            file.writelines(f"{owner} {name}\n" for owner, name in unused)
        drop(unused)
        gc.collect()
        if compilers():
            raise RuntimeError(f"code can still be created: {' '.join(compilers())}")
        Path(left_out).write_text("".join(sorted(before - functions())))
        os._exit(0)
    if os.wait()[1] != 0:
        raise RuntimeError("the search for unused functions failed")
    os.lseek(found, 0, os.SEEK_SET)
    with open(found) as file:  # noqa: PTH123 - a descriptor has no path
        owners_and_names = [line.split() for line in file]
    drop((int(owner), name) for owner, name in owners_and_names)
