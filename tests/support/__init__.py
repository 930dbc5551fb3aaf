"""What every test may use: polling with a deadline, the one way to skip, a pipe that is full."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]


def poll(condition: Callable[[], T], *, timeout: float, what: str) -> T:
    """Call `condition` until it returns something truthy; fail after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


def require(ok: object, why: str) -> None:
    """Skip the test when `ok` is false; under TESTS_REQUIRE_ALL=1 fail instead."""
    if ok:
        return
    if os.environ.get("TESTS_REQUIRE_ALL") == "1":
        pytest.fail(f"required here: {why}")
    pytest.skip(why)


def open_files() -> set[str]:
    """Return the descriptors that this process has open."""
    return {file.name for file in Path("/proc/self/fd").iterdir() if file.exists()}


@contextmanager
def full_pipe() -> Iterator[int]:
    """Make a pipe that nobody reads and nothing more can be written to."""
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
