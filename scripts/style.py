"""Check the spelling, and the words of docs/style.md, in all files of the repository.

    scripts/style [FILE...]

The tables of that page are the rules. Prints a line for each violation; the exit code is 1 if there
are any.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/style.md"

# Written by programs, or by others: bytes, lists of names, licenses, changes to foreign sources.
_NOT_OURS = re.compile(r"LICENSE|.*_pb2(_grpc)?\.pyi?|.*\.(json|svg|patch|lds|txt)")


class Rule(NamedTuple):
    """A phrase that is not used, and its replacement."""

    phrase: str
    instead: str
    exceptions: tuple[str, ...]


class Violation(NamedTuple):
    """A place where a rule is broken."""

    line: int
    rule: Rule

    def __str__(self) -> str:
        return f'{self.line}: "{self.rule.phrase}": write {self.rule.instead}'


def rules(page: str) -> list[Rule]:
    """Return the rules of the tables of a page."""
    found = []
    for table in re.findall(
        r"^<!-- (?!end)\w+ -->\n(.*?)^<!-- end", page, re.MULTILINE | re.DOTALL
    ):
        for row in table.splitlines()[2:]:
            _, phrases, instead, exceptions, _ = (cell.strip() for cell in row.split("|"))
            allowed = tuple(re.findall(r"`([^`]+)`", exceptions))
            found += [Rule(one, instead, allowed) for one in re.findall(r"`([^`]+)`", phrases)]
    return found


def violations(text: str, all_rules: Iterable[Rule]) -> Iterator[Violation]:
    """Yield the violations in a text, also those that a line break divides."""
    for rule in all_rules:
        for start in _places(text, rule.phrase):
            around = " ".join(text[max(start - 40, 0) : start + 40].split())
            if not any(allowed in around for allowed in rule.exceptions):
                yield Violation(text.count("\n", 0, start) + 1, rule)


def _places(text: str, phrase: str) -> Iterator[int]:
    """Yield where a phrase begins: whole words, with a capital or not, over marks of comments."""
    words = [re.escape(word) for word in phrase.split()]
    first = words[0]
    if first[0].isalpha():
        words[0] = rf"(?<![\w-])[{first[0].upper()}{first[0]}]{first[1:]}"
    pattern = r"\s+(?:(?:#|//|\*)\s+)?".join(words)
    end = r"(?![\w-])" if phrase[-1].isalpha() else ""
    yield from (match.start() for match in re.finditer(pattern + end, text))


def files() -> list[str]:
    """Return the files that are ours."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = listed.stdout.splitlines()
    return [name for name in names if not _NOT_OURS.fullmatch(Path(name).name)]


def main(arguments: Sequence[str]) -> int:
    for one in arguments:
        if not (path := Path(one).resolve()).is_file() or not path.is_relative_to(ROOT):
            print(f"scripts/style: {one} is not a file of this repository", file=sys.stderr)
            return 1
    names = [str(Path(one).resolve().relative_to(ROOT)) for one in arguments] or files()
    all_rules = rules(PAGE.read_text())
    failed = False
    for name in names:
        path = ROOT / name
        if path == PAGE or not path.is_file():
            continue
        for violation in sorted(violations(path.read_text(), all_rules)):
            print(f"{name}:{violation}")
            failed = True
    spelling = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *names], cwd=ROOT, check=False
    )
    return 1 if failed or spelling.returncode else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
