"""Constants of the heap's C code and Python code.

As a program with the bytes of a pointer as its argument, it prints them as a header for C, which
link.sh uses.
"""

import sys
from typing import NamedTuple

PAGE = 4096  # the smallest of any kernel

# Zones of the heap. The first seven make up a saved heap and are numbered by what layout.py writes.
COLD = 0  # touched by no check that the build traces
WRITTEN = 1  # a plain HTTP check writes to it
READ = 2  # a plain HTTP check only reads it
OTHER = 3  # other usual checks touch it
SELDOM = 4  # less usual checks touch it; compressed, and fast to unpack
RARE = 5  # the other traced checks touch it; compressed in the same way
TEMPORARY = 6  # freed before the heap is saved, and not saved
FRESH = 7  # what a started process allocates
ZONES = 8

MOST_TOUCHED = 0x200000  # the limit of the zones WRITTEN, READ and OTHER together, in bytes
MOST_SELDOM = 0x180000  # that of the zones SELDOM and RARE together

CHUNK = 0x1_0000  # bytes that a fault unpacks of a compressed zone: a multiple of the largest page
MOST_CHUNKS = 0x100


class Places(NamedTuple):
    """Addresses of the heap."""

    away: int
    """The distance from a block to its header in the build."""
    written: int
    """The start of each zone; this is the lowest one."""
    read: int
    other: int
    seldom: int
    rare: int
    cold: int
    compressed: int
    """The chunks of SELDOM, RARE and COLD in a started process, above all saved zones."""
    temporary: int

    @property
    def headers(self) -> int:
        """All addresses of headers are above, all those of blocks below."""
        return self.written + self.away


PLACES = {
    # Below 1 GiB, which every kernel leaves to its processes.
    4: Places(
        away=0x1000_0000,
        written=0x2000_0000,
        read=0x2100_0000,
        other=0x2180_0000,
        seldom=0x21C0_0000,
        rare=0x21E0_0000,
        cold=0x2200_0000,
        compressed=0x2700_0000,
        temporary=0x2800_0000,
    ),
    8: Places(
        away=0x1_0000_0000,
        written=0x1_0000_0000,
        read=0x1_0800_0000,
        other=0x1_0C00_0000,
        seldom=0x1_0E00_0000,
        rare=0x1_0F00_0000,
        cold=0x1_1000_0000,
        compressed=0x1_1800_0000,
        temporary=0x1_2000_0000,
    ),
}
"""By the bytes of a pointer."""

# States of a standard stream.
CLOSED = 0
OPEN = 1
TERMINAL = 2


def main(word: int) -> None:
    places = PLACES[word]
    away, *starts = places
    numbers = {name: value for name, value in globals().items() if isinstance(value, int)}
    names = (f"{zone.upper()}_START" for zone in places._fields[1:])
    numbers |= dict(zip(names, starts, strict=True))
    numbers |= {"AWAY": away, "HEAP": places.written, "HEADERS": places.headers}
    print("/* Made from constants.py. */")
    for name, value in numbers.items():
        print(f"#define {name} {value:#x}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
