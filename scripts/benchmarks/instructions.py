"""Instructions and page faults of one check: figures that a busy machine does not change."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from scripts.benchmarks.turns import Program

MAX_INSTRUCTIONS = 2_000_000
"""How many one healthy HTTP check may take from the saved heap."""


def instructions(program: Program) -> int:
    """Return how many instructions a program executes, as Valgrind's callgrind counts them."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "callgrind"
        # With a path that has a slash, because Valgrind otherwise searches PATH.
        argv = [str(Path(program.argv[0]).absolute()), *program.argv[1:], "--timeout", "60"]
        subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *argv],
            env={"PATH": os.environ["PATH"], **program.environment},  # each variable costs 3,400
            capture_output=True,
            check=True,
        )
        (total,) = re.findall(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[:1]
    return int(total)
