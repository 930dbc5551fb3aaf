"""A short run of the fuzzer, and a look at whether it would find anything."""

from __future__ import annotations

import pytest

from healthchecker._judge import JsonExpectation
from tests.support.fuzzing import fuzz


def test_short_run() -> None:
    said: list[str] = []
    assert fuzz(2500, 20261120, said.append), said


def test_a_bug_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def holds(self: JsonExpectation, document: dict[str, str]) -> bool:
        return document[self.path] == "UP"  # nobody said that it is a dict with this key

    monkeypatch.setattr(JsonExpectation, "holds", holds)
    said: list[str] = []
    assert not fuzz(1000, 20261120, said.append)
    assert any("Error" in line for line in said)
    assert any("--seed 20261120 --only" in line for line in said)
