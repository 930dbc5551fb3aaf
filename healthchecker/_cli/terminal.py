"""The terminal that a command shows a table on."""

from __future__ import annotations

import os
from collections.abc import Sequence

from healthchecker._cli.invocation import Write
from healthchecker._cli.table import Row, drawn, table

REDRAW_INTERVAL = 0.5
"""Seconds after which a table is drawn again as time goes by, and in the terminal's new size."""

_USUAL_SIZE = os.terminal_size((80, 24))


def can_redraw(fd: int) -> bool:
    """Return whether a standard stream is a terminal that can move the cursor."""
    return os.isatty(fd) and os.environ.get("TERM", "dumb") not in ("", "dumb")


class Terminal:
    """Shows a table in place of the previous one, each in the terminal's present size."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._color = not os.environ.get("NO_COLOR")  # https://no-color.org
        self._shown: Sequence[str] = ()

    def show(self, write: Write, title: str, rows: Sequence[Row]) -> None:
        """Show a table instead of the previous one."""
        size = self._size()
        self._replace(write, table(title, rows, size.columns, size.lines), size.columns)

    def clear(self, write: Write) -> None:
        """Remove the table."""
        self._replace(write, (), self._size().columns)

    def _replace(self, write: Write, lines: Sequence[str], columns: int) -> None:
        text = drawn(self._shown, lines, columns, color=self._color)
        self._shown = lines  # first: a signal may be handled as soon as they are written
        write(self._fd, text)

    def _size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._fd)
        except OSError:
            return _USUAL_SIZE
        return os.terminal_size((size.columns or _USUAL_SIZE[0], size.lines or _USUAL_SIZE[1]))
