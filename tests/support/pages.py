"""The pages of documentation, cut into what tests run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: the heading that it stands under, its language, and what it says."""

    title: str
    language: str
    text: str


class Page:
    """A page of Markdown, which is asked for its blocks."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()
        self.blocks: list[Block] = []
        title = ""
        for heading, language, text in re.findall(
            r"^##+ ([^\n]*)$|^```(\w+)\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL
        ):
            title = heading or title
            if language:
                self.blocks.append(Block(title, language, text))

    def block(self, title: str, language: str) -> str:
        """Return the one block of that language under a heading."""
        wanted = (title, language)
        (found,) = (one.text for one in self.blocks if (one.title, one.language) == wanted)
        return found


def examples(console: str) -> list[tuple[str, str]]:
    """Return what is typed in a block of a terminal, and what is shown for it."""
    return re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", console, re.MULTILINE)
