"""scripts/style finds the words that docs/style.md lists."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts.style import PAGE, Rule, rules, violations
from tests.support import LOADED, ROOT

RULES = rules(PAGE.read_text())


def test_the_page_has_rules() -> None:
    assert len(RULES) > 20
    assert all(rule.phrase and rule.instead for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.phrase)
def test_each_rule_finds_its_phrase(rule: Rule) -> None:
    assert [found.rule for found in violations(f"a\n\nb {rule.phrase} c", [rule])] == [rule]


def found(text: str, phrase: str = "at once", *exceptions: str) -> list[int]:
    return [one.line for one in violations(text, [Rule(phrase, "immediately", exceptions)])]


def test_where_a_phrase_is_found() -> None:
    assert found("It ends at once.\nAt once it ends.") == [1, 2]
    assert found("    # it ends at\n    # once, and\n") == [1]
    assert found("It ends at  once") == [1]
    assert found("that once, feat once-only") == []
    assert found("it works, too. It works, too", ", too.") == [1]


def test_an_exception_is_allowed() -> None:
    assert found('"Database unaccessible"', "unaccessible", "Database unaccessible") == []
    assert found("an unaccessible host", "unaccessible", "Database unaccessible") == [1]


def test_the_command_names_file_line_and_replacement() -> None:
    page = ROOT / "build" / f"style-{os.getpid()}.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text("Right.\n\nIt ends at once, recieved.\n")
    try:
        done = subprocess.run(
            [ROOT / "scripts/style", str(page)],
            env={**os.environ, "VENV": sys.prefix, "SETUP": "skip"},
            capture_output=True,
            text=True,
            check=False,
            timeout=20 * LOADED,
        )
    finally:
        page.unlink()
    assert done.returncode == 1
    assert f'build/{page.name}:3: "at once": write immediately' in done.stdout
    assert "recieved ==> received" in done.stdout
