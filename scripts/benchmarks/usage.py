"""Arguments of measurements, programs that they need, and a line of progress each second."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Mapping


def parser(documentation: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser of `scripts/bench NAME` whose help is the module's documentation."""
    return argparse.ArgumentParser(
        prog=f"scripts/bench {name}",
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def at_least(least: int) -> Callable[[str], int]:
    """Return the type of an option whose value is an integer not below `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a number of at least {least}, got {text}")
        return int(text)

    return number


def seconds(text: str) -> float:
    """Read an option's value that is a positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text}")
    return value


def need(packages: Mapping[str, str]) -> None:
    """Exit unless all programs are installed; `packages` are their Debian packages."""
    missing = sorted({package for name, package in packages.items() if not shutil.which(name)})
    if missing:
        names = " ".join(missing)
        raise SystemExit(
            f"missing packages: run  sudo apt-get update && sudo apt-get install {names}  "
            "and start again"
        )


class Progress:
    """Writes to standard error how far a measurement is, at most once a second."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._began = self._written = time.monotonic()
        sys.stderr.write(f"{what}s: {total}\n")

    def __call__(self, done: int) -> None:
        """Report that `done` of them are done."""
        now = time.monotonic()
        if now < self._written + 1 or not done:
            return
        self._written = now
        left = (now - self._began) / done * (self._total - done)
        sys.stderr.write(f"{self._what} {done} of {self._total}, about {left:.0f} s left\n")
