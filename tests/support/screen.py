"""A small terminal emulator: the lines that a program has drawn."""

from __future__ import annotations

import re

_PART = re.compile(r"\x1b\[(\d*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")
_BEGUN = re.compile(r"(\x1b(\[\d*)?)?\Z")


class Screen:
    """Knows the commands for drawing lines in place; any other one is an error."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.colors: set[str] = set()
        self._begun = ""
        self._lines = [""]
        self._row = 0
        self._column = 0

    def feed(self, text: str) -> None:
        """Take more output, which may end in the middle of a command."""
        text = self._begun + text
        begun = _BEGUN.search(text)
        assert begun
        self._begun = begun[0]
        text = text[: begun.start()]
        end = 0
        for part in _PART.finditer(text):
            assert part.start() == end, text[end:]
            end = part.end()
            number, command, move, word = part.groups()
            if command == "A":
                self._row = max(self._row - int(number or 1), 0)
            elif command == "J":
                del self._lines[self._row + 1 :]
                self._lines[self._row] = self._lines[self._row][: self._column]
            elif command == "m":
                self.colors.add(number)
            elif move == "\r":
                self._column = 0
            elif move == "\n":
                self._row, self._column = self._row + 1, 0
                self._lines += [""] * (self._row + 1 - len(self._lines))
            else:
                assert word, f"unknown: {part[0]!r}"
                line = self._lines[self._row]
                self._lines[self._row] = line[: self._column] + word
                self._column += len(word)
                assert self._column < self.columns, f"would wrap: {word!r}"
        assert end == len(text), text[end:]

    def resize(self, columns: int) -> None:
        """Become narrower or wider; lines that no longer fit are wrapped."""
        assert self._row == len(self._lines) - 1
        assert not self._column
        self._lines = [
            line[start : start + columns]
            for line in self._lines
            for start in range(0, max(len(line), 1), columns)
        ]
        self._row = len(self._lines) - 1
        self.columns = columns

    @property
    def lines(self) -> list[str]:
        """The visible lines, without the empty one of the cursor."""
        return self._lines if self._lines[-1] else self._lines[:-1]
