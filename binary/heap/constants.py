"""Constants of the heap's C code and Python code.

As a program, it prints them as a header for C, which link.sh uses.
"""

PAGE = 4096  # the smallest of any kernel

# Zones of the heap. The first five make up a saved heap and are numbered by what layout.py writes.
COLD = 0  # touched by no check that the build traces
WRITTEN = 1  # a plain HTTP check writes to it
READ = 2  # a plain HTTP check only reads it
OTHER = 3  # other checks touch it
TEMPORARY = 4  # freed before the heap is saved, and not saved
FRESH = 5  # what a started process allocates
ZONES = 6

MOST_TOUCHED = 0x200000  # the limit of the zones WRITTEN, READ and OTHER together, in bytes

AWAY = 0x1_0000_0000  # the distance from a block to its header in the build
HEAP = AWAY  # the start of the lowest zone
HEADERS = 2 * AWAY  # all addresses of headers are above, all those of blocks below

# States of a standard stream.
CLOSED = 0
OPEN = 1
TERMINAL = 2


def main() -> None:
    print("/* Made from constants.py. */")
    for name, value in list(globals().items()):
        if name.isupper():
            print(f"#define {name} {value:#x}")


if __name__ == "__main__":
    main()
