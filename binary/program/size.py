"""Print the sizes of the parts of the executable with the saved heap.

    size.py BUILD    the folder of a finished build

The program by linked library, from the linker's map; the heap, before its last zones are
compressed, by the type of its objects, and byte code by package.
"""

import re
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from layout import blocks
from write_executable import LOAD, Header, Segment, order, put, word

_PARTS = {
    "python.o": "CPython and OpenSSL",
    "libc.a": "musl",
    "libz.a": "zlib",
    "libgcc.a": "libgcc",
}
# Without sections that are not in the file.
_SECTION = re.compile(r"^ (?!\.bss|COMMON)\S*\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S+)$")
_BUILD_ONLY = 0x8000000  # as in link.sh
# Offsets in pointers in CPython 3.13: type of an object, name and flags of a type, text of a str.
_OB_TYPE, _TP_NAME, _TP_FLAGS, _TEXT = 1, 3, 21, 5
_TYPE_SUBCLASS = 1 << 31
_LONGEST = 200  # name
_SMALLEST = 30_000  # of the parts that are printed


class Memory:
    """The initial memory of a started process."""

    def __init__(self, executable: bytearray) -> None:
        self.pointer = word(executable)
        self._word = struct.Struct(order(executable) + {4: "I", 8: "Q"}[self.pointer])
        header = Header.read(executable)
        table = (header.phoff + i * header.phentsize for i in range(header.phnum))
        segments = [Segment.read(executable, at) for at in table]
        self._loaded = [
            (one.vaddr, bytes(executable[one.offset : one.offset + one.filesz]))
            for one in segments
            if one.type == LOAD
        ]

    def _from(self, address: int) -> bytes:
        for start, content in self._loaded:
            if start <= address < start + len(content):
                return content[address - start : address - start + _LONGEST]
        return b""

    def word(self, address: int, offset: int) -> int:
        """Return the pointer or number at an offset in pointers, 0 if nothing is mapped there."""
        at = address + offset * self.pointer
        (number,) = self._word.unpack_from(self._from(at).ljust(self.pointer, b"\0"))
        return int(number)

    def text(self, address: int, offset: int = 0) -> str:
        return self._from(address + offset * self.pointer).partition(b"\0")[0].decode("latin-1")


def parts(linker_map: str) -> Iterator[tuple[str, int]]:
    """Yield origin and size of each section of the program."""
    # A long name has a line of its own.
    joined = re.sub(r"^( \S+)\n +(?=0x)", r"\1 ", linker_map, flags=re.MULTILINE)
    for line in joined.splitlines():
        found = _SECTION.match(line)
        if found and 0 < int(found[1], 16) < _BUILD_ONLY:
            name = found[3].partition("(")[0].rpartition("/")[2]
            yield _PARTS.get(name, "heap, loader and others"), int(found[2], 16)


def print_sizes(title: str, sizes: Counter[str]) -> None:
    print(f"{title}: {sizes.total():,}")
    small = sum(size for size in sizes.values() if size < _SMALLEST)
    for name, size in [*sizes.most_common(), ("all that is smaller", small)]:
        if size >= _SMALLEST or (size and name == "all that is smaller"):
            print(f"    {size:>10,}  {name}")


class Heap:
    """The objects in the saved blocks, with the sizes of their blocks."""

    def __init__(self, executable: bytearray, saved: bytes) -> None:
        self._memory = Memory(executable)
        self._blocks = {
            address: size for number, address, size in blocks(saved, executable) if number
        }

    def _is_type(self, address: int) -> bool:
        """Return whether it is an instance of a metaclass, which is an instance of `type`."""
        metaclass = self._memory.word(address, _OB_TYPE)
        top = self._memory.word(metaclass, _OB_TYPE)
        is_top = top != 0 and self._memory.word(top, _OB_TYPE) == top
        return is_top and bool(self._memory.word(metaclass, _TP_FLAGS) & _TYPE_SUBCLASS)

    def objects(self) -> Iterator[tuple[int, str, int]]:
        """Yield address, name of the type and size; blocks that are no objects are "tables"."""
        for block, size in self._blocks.items():
            for front in (0, 2, 4):  # the headers of the collector and of classes in Python
                start = block + front * self._memory.pointer
                kind = self._memory.word(start, _OB_TYPE) if start < block + size else 0
                if kind and self._is_type(kind):
                    yield start, self._memory.text(self._memory.word(kind, _TP_NAME)), size
                    break
            else:
                yield block, "tables of dictionaries and lists, others", size

    def package(self, code: int) -> str:
        """Return the origin of a code object, by the name of its file, one of its first words."""
        for offset in range(25):
            pointer = self._memory.word(code, offset)
            text = self._memory.text(pointer, _TEXT) if pointer in self._blocks else ""
            if text.endswith(".py") or text.startswith("<frozen "):
                return text.partition("/")[0] if "/" in text else "standard library"
        return "unknown"


def main(build: str) -> None:
    saved = Path(build, "work/memory").read_bytes()
    executable = bytearray(Path(build, "link/warm").read_bytes())
    put(executable, saved)
    heap = Heap(executable, saved)
    program: Counter[str] = Counter()
    for name, size in parts(Path(build, "link/warm.map").read_text()):
        program[name] += size
    types: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    for address, name, size in heap.objects():
        types[name] += size
        if name == "code":
            packages[heap.package(address)] += size
    size = Path(build, "work/saved").stat().st_size
    print(f"healthchecker: {size:,}")
    print(f"without compression: {len(executable):,}")
    print_sizes("program", program)
    print_sizes("heap", types)
    print_sizes("of which code", packages)


if __name__ == "__main__":
    main(sys.argv[1])
