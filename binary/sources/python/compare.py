#!/usr/bin/env python3
"""Compare the results of configure for two machines; fail on a difference that is not allowed.

    compare.py PYCONFIG PYCONFIG ALLOWED MACHINE MACHINE

Each line of ALLOWED is a name and the machines for which it differs from the others; the reason
follows a #.
"""

import re
import sys
from pathlib import Path


def definitions(header: str) -> dict[str, str]:
    """Return the definitions; names without one are left out."""
    define = re.compile(r"^#\s*define\s+(\w+)[ \t]*(.*)$", re.MULTILINE)
    return dict(define.findall(Path(header).read_text()))


def main(one: str, other: str, allowed: str, *machines: str) -> int:
    lines = (line.partition("#")[0].split() for line in Path(allowed).read_text().splitlines())
    may_differ = {name for name, *odd in filter(None, lines) if len({*odd} & {*machines}) == 1}
    ours, theirs = definitions(one), definitions(other)
    differing = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
    for name in sorted(differing - may_differ):
        print(f"{name}: {ours.get(name)} in {one}, {theirs.get(name)} in {other}", file=sys.stderr)
    for name in sorted(may_differ - differing):
        print(f"{name}: listed in {allowed}, but the same for both", file=sys.stderr)
    return 1 if differing ^ may_differ else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
