"""Write saved memory into an executable.

    write_executable.py PROGRAM MEMORY EXECUTABLE

MEMORY, from heap.c, is a row of records: address, size, content. What lies inside a segment of
PROGRAM, a static ELF file at a fixed address, becomes the content of that segment. The rest becomes
segments of its own; the kernel maps them into place when it starts the program. What only the build
needs is left out.
"""

import struct
import sys
from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_LOAD, _NOTE, _PROPERTY = 1, 4, 0x6474E553
_READ, _READ_WRITE = 4, 6
_PAGE = 4096

AWAY = 0x100000000  # as in heap.c: the blocks' headers lie so far behind the blocks
HEADERS = 2 * AWAY


def records(memory: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at < len(memory):
        address, size = struct.unpack_from("<QQ", memory, at)
        found.append((address, memory[at + 16 : at + 16 + size]))
        at += 16 + size
    return found


def put(program: bytearray, memory: bytes) -> bytearray:
    header = list(_HEADER.unpack_from(program))
    table, entry_size, entries = header[5], header[9], header[10]
    segments = [list(_SEGMENT.unpack_from(program, table + i * entry_size)) for i in range(entries)]
    spare = [s for s in segments if s[0] in (_NOTE, _PROPERTY)]
    # Only the build needs the last segment, which is the last thing in the file but for sections.
    build_only = max((s for s in segments if s[0] == _LOAD), key=lambda s: s[3])
    if build_only[1] != _READ:
        raise ValueError("the last segment is not what it should be")
    del program[build_only[2] :]
    build_only[:] = [0] * len(build_only)
    spare.append(build_only)
    header[6] = header[12] = header[13] = 0  # no section headers; nobody needs them
    for address, content in records(memory):
        if address >= HEADERS:
            continue
        for kind, _, offset, start, _, in_file, in_memory, _ in segments:
            if kind == _LOAD and start <= address < start + in_memory:
                if address + len(content) > start + in_file:
                    raise ValueError("saved variables are not in the file")
                program[offset + address - start : offset + address - start + len(content)] = (
                    content
                )
                break
        else:
            segment = spare.pop(0)
            program += bytes(-len(program) % _PAGE)
            size = len(content)
            segment[:] = _LOAD, _READ_WRITE, len(program), address, address, size, size, _PAGE
            program += content
    loads = sorted((s for s in segments if s[0] == _LOAD), key=lambda s: s[3])
    others = [s for s in segments if s[0] != _LOAD]
    _HEADER.pack_into(program, 0, *header)
    for index, segment in enumerate(loads + others):
        _SEGMENT.pack_into(program, table + index * entry_size, *segment)
    return program


def main(program: str, memory: str, executable: str) -> None:
    content = put(bytearray(Path(program).read_bytes()), Path(memory).read_bytes())
    path = Path(executable)
    path.write_bytes(content)
    path.chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
