"""Helpers for every test: polling, time on a loaded machine, the one way to skip."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.programs.launch import waited_for_processor

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]

REQUIRE_ALL = os.environ.get("TESTS_REQUIRE_ALL") == "1"
"""Whether something that is missing on this machine fails its tests instead of skipping them."""
NIGHTLY = os.environ.get("TESTS_NIGHTLY") == "1"
"""Whether tests run that take minutes."""
STRESS = os.environ.get("TESTS_STRESS") == "1"
"""Whether `scripts/stress` runs this."""
SANITIZED = "ASAN_OPTIONS" in os.environ
"""Whether `scripts/fuzz --sanitize` runs this, on a slow interpreter that needs much memory."""
SLOWNESS = 4 if SANITIZED else 1
"""How many times as long the program may take, and as slow a peer is that sends slowly."""
LOADED = 10
"""How many times as long something may take on a loaded machine: 25 runnable processes on 2 cores.

Limits that only end a test that hangs are multiplied by it.
"""


def poll(condition: Callable[[], T], *, timeout: float, what: str) -> T:
    """Call `condition` until it returns something truthy.

    Fail after `timeout` seconds, or `LOADED` times as many on a machine that may be loaded.
    """
    end = time.monotonic() + timeout * LOADED
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {timeout * LOADED} s: {what}")
        time.sleep(0.02)


def stat_fields(status: Path) -> list[str]:
    """Return the fields of a `stat` file of /proc that follow the name: state, parent, group..."""
    return status.read_text().rpartition(")")[2].split()


def require(ok: object, why: str) -> None:
    """Skip the test if `ok` is false; with TESTS_REQUIRE_ALL=1 fail instead."""
    if ok:
        return
    if REQUIRE_ALL:
        pytest.fail(f"required here: {why}")
    pytest.skip(why)


class Stopwatch:
    """Seconds since it was made, on the clock and without waiting for a processor."""

    def __init__(self, *processes: int) -> None:
        """Count also the waiting of other processes, given by their ids."""
        self._processes = ("self", *map(str, processes))
        self._start, self._waited = time.monotonic(), self._waiting()

    @property
    def elapsed(self) -> float:
        """Seconds on the clock: for lower bounds."""
        return time.monotonic() - self._start

    @property
    def own(self) -> float:
        """Without the time for which threads waited for a processor: for upper bounds."""
        return self.elapsed - (self._waiting() - self._waited)

    def _waiting(self) -> float:
        """Return for how long the threads of the processes have waited, in sum."""
        threads = (
            str(thread)
            for process in self._processes
            for thread in Path(f"/proc/{process}/task").iterdir()
        )
        return sum(map(waited_for_processor, threads))


def open_files() -> set[str]:
    """Return this process's open descriptors."""
    return {file.name for file in Path("/proc/self/fd").iterdir() if file.exists()}


@contextmanager
def full_pipe() -> Iterator[int]:
    """Make a pipe without a reader that is full: a write to it blocks."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        while select.select([], [writing], [], 0)[1]:
            os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        yield writing
    finally:
        os.close(reading)
        os.close(writing)
