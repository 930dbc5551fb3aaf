"""Programs that run until they are stopped, and a terminal for them."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support import LOADED, poll, require
from tests.support.forms import Form, without_variables
from tests.support.screen import Screen


class Program:
    """A running program whose output is read line by line; every wait has a limit."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._buffer = b""

    def line(self, timeout: float = 15.0 * LOADED) -> str:
        assert self.process.stdout
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(left, 0))
            assert ready, f"no line within {timeout} s; so far {self._buffer!r}"
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"the program has ended: {self._buffer!r}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def waits_in_poll(self) -> bool:
        """Return whether it waits in poll(); skip the test if this machine hides that from us."""
        process = Path(f"/proc/{self.process.pid}")
        try:
            # Where it may not be read either, `wchan` looks like that of a busy process.
            (process / "io").read_bytes()
        except PermissionError:
            require(ok=False, why="a protected process is hidden: needs CAP_SYS_PTRACE")
        return "poll" in (process / "wchan").read_text()

    def stop_reading(self) -> tuple[int, bytes]:
        """Close its output; return its exit code and its standard error."""
        assert self.process.stdout
        self.process.stdout.close()
        code = self.process.wait(5 * LOADED)
        assert self.process.stderr
        return code, self.process.stderr.read()

    def stop(self, number: int = signal.SIGTERM, stderr: str = "") -> int:
        """Send a signal; return the exit code. `stderr` is a pattern of its standard error."""
        self.process.send_signal(number)
        code = self.process.wait(5 * LOADED)
        assert self.process.stderr
        text = self.process.stderr.read().decode()
        assert re.fullmatch(stderr, text), text
        return code


@contextmanager
def start(form: Form, *args: str, **options: Any) -> Iterator[Program]:
    with subprocess.Popen(
        [*form.argv, *args],
        env={**without_variables(), **options.get("env", {})},
        stdin=subprocess.DEVNULL,
        stdout=options.get("stdout", subprocess.PIPE),
        stderr=options.get("stderr", subprocess.PIPE),
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


class Tty:
    """A terminal whose screen is in the test."""

    def __init__(self, columns: int, lines: int = 25) -> None:
        self.controller, self.terminal = pty.openpty()
        self.screen = Screen(columns)
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int = 25) -> None:
        termios.tcsetwinsize(self.terminal, (lines, columns))

    def read(self) -> bool:
        """Read new output; return whether there was any."""
        if not select.select([self.controller], [], [], 0.05)[0]:
            return False
        self.screen.feed(os.read(self.controller, 65536).decode())
        return True

    def shows(self, pattern: str) -> bool:
        """Wait until the lines match, one pattern a line."""

        def matches() -> bool:
            self.read()
            return bool(re.fullmatch(pattern, "\n".join(self.screen.lines)))

        try:
            return poll(matches, timeout=15, what=pattern)
        except AssertionError as error:
            raise AssertionError(f"{self.screen.lines} is not {pattern}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self.controller)
        os.close(self.terminal)
