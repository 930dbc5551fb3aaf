"""The pages of documentation, and the parts of them that tests run or compare."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

REFERENCE = ROOT / "docs/reference.md"
"""The page with the tables of targets, options and reasons."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: the heading above it, its language, its text."""

    title: str
    language: str
    text: str


class Page:
    """A page of Markdown."""

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

    def section(self, title: str) -> str:
        """Return the text under a heading, up to the next heading of any level."""
        (found,) = re.findall(
            rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", self.text, re.MULTILINE | re.DOTALL
        )
        return str(found)

    def table(self, name: str) -> list[str]:
        """Return the rows between `<!-- NAME -->` and `<!-- end of NAME -->`."""
        (found,) = re.findall(
            rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", self.text, re.DOTALL
        )
        return str(found).splitlines()


def examples(console: str) -> list[tuple[str, str]]:
    """Return the commands in a block of a terminal, each with the output shown for it."""
    return re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", console, re.MULTILINE)
