"""Regular expressions in linear time: the same verdict as `re`, and an end to every search."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading

import pytest

from healthchecker._net.deadline import Deadline
from healthchecker._values.expect import regex
from healthchecker._values.expect.regex import Pattern
from healthchecker._values.result import ProbeFailure
from tests.support import ROOT

ATOMS = [
    *("a", "b", "ab", "A", "é", r"\n", ".", r"\d", r"\w", r"\s", r"\W", "[ab]", "[^a]", "[a-c_]"),
    *(r"[^\d\s]", r"\b", r"\B", "^", "$", r"\A", r"\Z"),
]
FLAGS = ["", "(?i)", "(?m)", "(?s)", "(?a)", "(?im)", "(?x)"]
REPEATS = ["*", "+", "?", "*?", "+?", "{2}", "{0,2}", "{1,3}", "{1,}"]


def found(pattern: str, text: str) -> bool:
    return Pattern(pattern).found_in(text, lambda: None)


def random_pattern(source: random.Random, depth: int = 0) -> str:
    kind = source.randrange(8) if depth < 4 else 0
    if kind < 3:
        return source.choice(ATOMS)
    part = random_pattern(source, depth + 1)
    if kind == 3:
        return part + random_pattern(source, depth + 1)
    if kind == 4:
        return f"({part}|{random_pattern(source, depth + 1)})"
    if kind == 5:
        return f"{source.choice(['(?i:', '(?s:', '(?m:', '(?-i:', '('])}{part})"
    return f"(?:{part}){source.choice(REPEATS)}"


def test_the_same_verdict_as_pythons_own() -> None:
    source = random.Random(14)
    compared = 0
    while compared < 30_000:
        pattern = source.choice(FLAGS) + random_pattern(source)
        own, pythons = Pattern(pattern), re.compile(pattern)
        for _ in range(10):
            text = "".join(source.choices("abcAB \n1_éÉ", k=source.randrange(1, 9)))
            assert own.found_in(text, lambda: None) is bool(pythons.search(text)), (pattern, text)
            compared += 1


def test_empty_text() -> None:
    assert found("", "")
    assert found("^$", "")
    assert not found(".", "")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "unterminated"),
        ("*", "nothing to repeat"),
        ("[z-a]", "bad character range"),
        (r"(a)\1", "backtracking"),
        ("(?=a)", "backtracking"),
        ("(?<!a)b", "backtracking"),
        ("(a)?(?(1)b|c)", "backtracking"),
        ("(?>a+)", "backtracking"),
        ("a++", "backtracking"),
        ("a{5000}", "too large"),
        ("(?:a{100}){100}", "too large"),
        ("a{99999999999999999999}", "too large"),
        ("(" * 5000 + ")" * 5000, "too large"),
    ],
)
def test_what_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(.*)(.*)(.*)(.*)(.*)x", "(a?){30}a{30}b"]
)
def test_what_would_backtrack_for_ever_ends(pattern: str) -> None:
    assert not found(pattern, "a" * 100_000 + "!")


def test_the_deadline_ends_a_search_on_any_thread() -> None:
    ended: list[str] = []

    def search() -> None:
        pattern, text = Pattern("(x+x+)+y"), "x" * 20_000_000
        with pytest.raises(ProbeFailure) as failure:
            pattern.found_in(text, Deadline(0.2).remaining)
        ended.append(failure.value.reason)

    thread = threading.Thread(target=search)
    thread.start()
    thread.join(timeout=10)
    assert ended == ["timeout"]


def test_categories_are_known_by_their_value(monkeypatch: pytest.MonkeyPatch) -> None:
    # On PyPy str() of a constant is its number.
    constants = vars(regex)["_constants"]
    monkeypatch.setattr(type(constants.CATEGORY_DIGIT), "__repr__", int.__repr__)
    assert found(r"^\d\D\s\S\w\W$", "1a b_!")
    assert not found(r"\d", "a")


@pytest.mark.parametrize("parser", [None, object()])
def test_an_unknown_parser_is_reported(parser: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex, "_parser", parser)
    with pytest.raises(ValueError, match="this Python's re module"):
        Pattern("a")


def test_the_engine_is_imported_for_patterns_only() -> None:
    code = """
import sys
from healthchecker import check
name = "healthchecker._values.expect.regex"
check("tcp://127.0.0.1:9")
assert name not in sys.modules
check("http://127.0.0.1:9", match_body="x")
assert name in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
