"""A short run of the fuzzer, and a look at whether it would find anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from healthchecker._values.expect.json_path import JsonExpectation
from tests.support import ROOT
from tests.support.forms import SAVED, why_not_built
from tests.support.fuzzing import fuzz
from tests.support.fuzzing_cli import SECRET, Line, Outcome, fuzz_cli, problems


@pytest.mark.usefixtures("full_speed")
def test_short_run() -> None:
    """In a process of its own, whose memory nothing but the fuzzer fills."""
    command = [sys.executable, "-m", "tests.support.fuzzing", "--cases=2500", "--seed=20261120"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_bug_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def holds(self: JsonExpectation, document: dict[str, str]) -> bool:
        return document[self.path] == "UP"  # nobody said that it is a dict with this key

    monkeypatch.setattr(JsonExpectation, "holds", holds)
    said: list[str] = []
    assert not fuzz(1000, 20261120, said.append)
    assert any("Error" in line for line in said)
    assert any("--seed 20261120 --only" in line for line in said)


@pytest.mark.usefixtures("full_speed")
@pytest.mark.parametrize("part", range(20))
def test_command_lines(part: int) -> None:
    """A thousand where forms can be compared; by itself, the Python form has less to tell."""
    said: list[str] = []
    cases = 10 if why_not_built(SAVED) else 50
    assert fuzz_cli(cases, 20261124 + part, said.append), said


def test_what_is_wrong_with_a_command_line_would_be_found() -> None:
    line = Line(("--basic-auth", SECRET), {})
    right = Outcome(1, "", "healthchecker: usage_error: ...\n")
    assert list(problems(line, {"python": right, "saved": right})) == []
    wrong = Outcome(2, "", f"Traceback of {SECRET}\x1b")
    assert list(problems(line, {"python": right, "saved": wrong})) == [
        "saved: exit code 2",
        "saved: a secret shows",
        "saved: a bug",
        "saved: not fit for a terminal",
        "python and saved differ",
    ]
    silent = Outcome(1, "", "")
    assert list(problems(line, {"python": silent})) == ["python: silence about a failure"]
