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


def found(text: str, phrase: str = "blue moon", *exceptions: str) -> list[int]:
    return [one.line for one in violations(text, [Rule(phrase, "rarely", exceptions)])]


def test_where_a_phrase_is_found() -> None:
    assert found("It ends in a blue moon.\nBlue moon nights.") == [1, 2]
    assert found("    # it ends in a blue\n    # moon, and\n") == [1]
    assert found("It ends in a blue  moon") == [1]
    assert found("true-blue moon, blue moons, blue moon-light") == []
    assert found("it works, blue. It works, blue", ", blue.") == [1]


def test_an_exception_is_allowed() -> None:
    assert found('"Once in a blue moon"', "blue moon", "Once in a") == []
    assert found("at a blue moon", "blue moon", "Once in a") == [1]


def test_a_file_that_is_not_there() -> None:
    for name in ("no-such-file.md", "/etc/passwd"):
        done = subprocess.run(
            [ROOT / "scripts/style", name],
            env={**os.environ, "VENV": sys.prefix, "SETUP": "skip"},
            capture_output=True,
            text=True,
            check=False,
            timeout=20 * LOADED,
        )
        assert done.returncode == 1
        assert done.stderr == f"scripts/style: {name} is not a file of this repository\n"


def test_the_command_names_file_line_and_replacement() -> None:
    page = ROOT / "build" / f"style-{os.getpid()}.md"
    page.parent.mkdir(exist_ok=True)
    phrase, misspelled = RULES[0].phrase, "re" + "cieved"
    page.write_text(f"Right.\n\nIt ends {phrase}, {misspelled}.\n")
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
    assert f'build/{page.name}:3: "{phrase}": write {RULES[0].instead}' in done.stdout
    assert f"{misspelled} ==> received" in done.stdout
