"""Write saved memory into an executable.

    write_executable.py PROGRAM MEMORY EXECUTABLE [COMPRESS MOST]

MEMORY, from save.c, is a sequence of records: address, size, content. PROGRAM is a static ELF file
at a fixed address. A record inside one of its segments becomes the content of that segment. The
others become segments of their own, which the kernel maps when it starts the program. The segment
that only the build needs is left out.

With COMPRESS, the program made from compress.c, the zones that few checks touch become a single
segment of compressed chunks, which inflate.c unpacks. Zones SELDOM and RARE are compressed by
COMPRESS, which is ten times as fast to unpack as zlib; zone COLD by zlib, which makes it smaller by
a sixth. The executable may then take MOST bytes.
"""

import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import ClassVar, Self

from constants import CHUNK, MOST_CHUNKS, PLACES

# Kinds of segments; the last one describes a section of RISC-V, which is not kept.
_UNUSED, LOAD, _NOTE, _PROPERTY, _ATTRIBUTES = 0, 1, 4, 0x6474E553, 0x70000003
_WRITABLE, _READABLE = 2, 4


def word(file: bytes | bytearray) -> int:
    """Return the bytes of a pointer in an ELF file."""
    return {1: 4, 2: 8}[file[4]]


def order(file: bytes | bytearray) -> str:
    """Return the order of bytes in an ELF file, as the module `struct` calls it."""
    return {1: "<", 2: ">"}[file[5]]


@dataclass
class _Packed:
    """A structure of an ELF file, whose fields are those of a data class."""

    FORMATS: ClassVar[dict[int, str]]
    """By the bytes of a pointer."""
    ORDERS: ClassVar[dict[int, str]] = {}
    """The names of the fields, if a file has them in another order than the class."""

    @classmethod
    def _fields(cls, file: bytearray) -> list[str]:
        names = cls.ORDERS.get(word(file))
        return names.split() if names else [field.name for field in fields(cls)]

    @classmethod
    def _format(cls, file: bytearray) -> str:
        return order(file) + cls.FORMATS[word(file)]

    @classmethod
    def read(cls, file: bytearray, at: int = 0) -> Self:
        values = struct.unpack_from(cls._format(file), file, at)
        return cls(**dict(zip(cls._fields(file), values, strict=True)))

    def write(self, file: bytearray, at: int = 0) -> None:
        values = (getattr(self, name) for name in self._fields(file))
        struct.pack_into(self._format(file), file, at, *values)


@dataclass
class Header(_Packed):
    """The start of a file. Names are those of elf(5), without `e_`."""

    FORMATS: ClassVar = {4: "16sHHIIIIIHHHHHH", 8: "16sHHIQQQIHHHHHH"}

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


@dataclass
class Segment(_Packed):
    """A program header. Names are those of elf(5), without `p_`."""

    FORMATS: ClassVar = {4: "IIIIIIII", 8: "IIQQQQQQ"}
    ORDERS: ClassVar = {4: "type offset vaddr paddr filesz memsz flags align"}

    type: int = _UNUSED
    flags: int = 0
    offset: int = 0
    vaddr: int = 0
    paddr: int = 0
    filesz: int = 0
    memsz: int = 0
    align: int = 0


def records(memory: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield address and content of each record."""
    head = struct.Struct(order + "QQ")
    at = 0
    while at < len(memory):
        address, size = head.unpack_from(memory, at)
        at += head.size
        yield address, memory[at : at + size]
        at += size


def replace(program: bytearray, segment: Segment, address: int, content: bytes) -> None:
    """Set the initial values of variables in this segment to the saved ones."""
    if address + len(content) > segment.vaddr + segment.filesz:
        raise ValueError("saved variables are not in the file")
    at = segment.offset + address - segment.vaddr
    program[at : at + len(content)] = content


def append(program: bytearray, address: int, content: bytes, page: int, flags: int) -> Segment:
    """Append content to the file; return the segment that maps it.

    Place and address in the file must be equal within a page.
    """
    program += bytes((address - len(program)) % page)
    offset, size = len(program), len(content)
    program += content
    return Segment(LOAD, flags, offset, address, address, size, size, page)


def chunks(zone: bytes) -> Iterator[bytes]:
    for at in range(0, len(zone), CHUNK):
        yield zone[at : at + CHUNK]


def compressed(fast: list[bytes], small: bytes, order: str, compress: str) -> bytes:
    """Return the ends of all chunks, and the chunks.

    Zones are `fast` to unpack, or as `small` as possible.
    """
    parts = [
        subprocess.run([compress], input=chunk, stdout=subprocess.PIPE, check=True).stdout
        for zone in fast
        for chunk in chunks(zone)
    ]
    for chunk in chunks(small):
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
        parts.append(packer.compress(chunk) + packer.flush())
    if len(parts) > MOST_CHUNKS:
        raise ValueError("there are more chunks than MOST_CHUNKS")
    ends = struct.pack(f"{order}{len(parts)}I", *accumulate(map(len, parts)))
    return b"".join([ends, *parts])


def fill(program: bytearray, segments: list[Segment], memory: bytes) -> dict[int, bytes]:
    """Set the variables of the program; return the other records, the zones, by address."""
    zones: dict[int, bytes] = {}
    headers = PLACES[word(program)].headers
    for address, content in records(memory, order(program)):
        if address >= headers:
            continue
        for segment in segments:
            if segment.vaddr <= address < segment.vaddr + segment.memsz:
                replace(program, segment, address, content)
                break
        else:
            zones[address] = content
    return zones


def put(program: bytearray, memory: bytes, compress: str = "") -> None:
    header = Header.read(program)
    table = range(header.phoff, header.phoff + header.phnum * header.phentsize, header.phentsize)
    segments = [Segment.read(program, at) for at in table]
    loaded = sorted((s for s in segments if s.type == LOAD), key=lambda s: s.vaddr)
    others = [s for s in segments if s.type not in (LOAD, _NOTE, _PROPERTY, _ATTRIBUTES)]
    # Only the build needs the last segment, which only sections follow in the file.
    build_only = loaded.pop()
    if build_only.flags & _WRITABLE:
        raise ValueError("the last segment is not the one that only the build needs")
    del program[build_only.offset :]
    page = build_only.align  # of all segments, as set by link.sh
    places = PLACES[word(program)]
    zones = fill(program, loaded, memory)
    for start, content in sorted(zones.items()):
        if not compress or start < places.seldom:
            loaded.append(append(program, start, content, page, _READABLE | _WRITABLE))
        if compress and start == places.written:
            # Behind this zone, which is smaller than a page, nothing is lost; see inflate.c.
            fast = [zones.get(places.seldom, b""), zones.get(places.rare, b"")]
            packed = compressed(fast, zones[places.cold], order(program), compress)
            address = places.compressed + len(content) % CHUNK
            loaded.append(append(program, address, packed, page, _READABLE))
    loaded.sort(key=lambda s: s.vaddr)
    # The new segments use the entries of the notes and of that last segment.
    unused = len(table) - len(loaded) - len(others)
    if unused < 0:
        raise ValueError("the program has too few spare program headers")
    for at, segment in zip(table, [*loaded, *others, *[Segment()] * unused], strict=True):
        segment.write(program, at)
    header.shoff = header.shnum = header.shstrndx = 0  # no section headers: unused
    header.write(program)


def main(program: str, memory: str, executable: str, compress: str = "", most: str = "") -> None:
    content = bytearray(Path(program).read_bytes())
    put(content, Path(memory).read_bytes(), compress)
    if compress and len(content) > int(most):
        raise ValueError(f"the executable takes {len(content):,} bytes, more than {int(most):,}")
    path = Path(executable)
    path.write_bytes(content)
    path.chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
