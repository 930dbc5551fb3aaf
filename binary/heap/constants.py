"""What the heap's C code and its Python code must both know.

Run as a program, it writes the same as a header for C; link.sh does that.
"""

PAGE = 4096  # the smallest of any kernel

# Zones of the heap. The first five make up a saved heap and are numbered by what layout.py writes.
COLD = 0  # touched by no check that the build has watched
WRITTEN = 1  # a plain HTTP check writes to it
READ = 2  # a plain HTTP check only reads it
OTHER = 3  # other checks touch it
TEMPORARY = 4  # freed before the heap is saved, and not saved
FRESH = 5  # what a started process allocates
ZONES = 6

AWAY = 0x1_0000_0000  # in the build, a block's header lies so far behind the block
HEAP = AWAY  # where its lowest zone begins
HEADERS = 2 * AWAY  # all addresses of headers are above, all those of blocks below

# What a standard stream can be.
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
