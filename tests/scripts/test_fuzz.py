"""Short runs of the fuzzers, and whether they would find a bug."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from healthchecker._values.expect.json_path import JsonExpectation
from tests.support import NIGHTLY, ROOT
from tests.support.forms import SAVED, why_not_built
from tests.support.fuzzing import fuzz
from tests.support.fuzzing_cli import SECRET, Line, Outcome, fuzz_cli, problems, shows_secret


@pytest.mark.usefixtures("full_speed")
def test_short_run() -> None:
    """In a process of its own, whose memory nothing but the fuzzer fills."""
    command = [sys.executable, "-m", "tests.support.fuzzing", "--cases=2500", "--seed=20261120"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_bug_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def problem(self: JsonExpectation, document: dict[str, str], _: object) -> str:
        return document[self.path]  # it need not be a dict with this key

    monkeypatch.setattr(JsonExpectation, "problem", problem)
    lines: list[str] = []
    assert not fuzz(1000, 20261120, lines.append)
    assert any("Error" in line for line in lines)
    assert any("--seed 20261120 --only" in line for line in lines)


@pytest.mark.usefixtures("full_speed")
@pytest.mark.parametrize("part", range(20 if NIGHTLY else 1))
def test_command_lines(part: int) -> None:
    """Fifty take 16 s if forms can be compared; the Python form alone is tested less."""
    lines: list[str] = []
    alone = bool(why_not_built(SAVED))
    assert fuzz_cli(10 if alone else 50, 20261124 + part, lines.append, alone=alone), lines


def test_one_form_alone_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.fuzzing_cli.why_not_built", lambda _: "it is not built")
    lines: list[str] = []
    assert not fuzz_cli(10, 20261124, lines.append)
    assert lines == ["only one form, nothing to compare: it is not built"]


def test_problems_of_a_command_line_would_be_found() -> None:
    line = Line(("--basic-auth", SECRET), {})
    right = Outcome(1, "", "healthchecker: usage_error: ...\n")
    assert list(problems(line, {"python": right, "saved": right})) == []
    wrong = Outcome(2, "", f"Traceback of {SECRET}\x1b")
    assert list(problems(line, {"python": right, "saved": wrong})) == [
        "saved: exit code 2",
        "saved: a secret is shown",
        "saved: a bug",
        "saved: not printable",
        "python and saved differ",
    ]
    silent = Outcome(1, "", "")
    assert list(problems(line, {"python": silent})) == ["python: a silent failure"]


@pytest.mark.parametrize("before", ["", "a", "me"])
def test_a_part_of_a_secret_would_be_found(before: str) -> None:
    encoded = base64.b64encode(f"{before}:{SECRET}".encode()).decode()
    for shown in (SECRET[:6], SECRET[-5:].upper(), f"Basic {encoded}"):
        assert shows_secret(f"unhealthy: {shown}: timeout")
    assert not shows_secret("it is not shown because it may hold a secret")
