"""A short run of the fuzzer, and a look at whether it would find anything."""

from __future__ import annotations

import pytest

from healthchecker._probers import http
from tests.support.fuzzing import fuzz


def test_short_run() -> None:
    said: list[str] = []
    assert fuzz(2500, 20261120, said.append), said


def test_a_bug_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def matches_json(body: dict[str, str], path: str, value: str) -> bool:
        return body[path] == value  # nobody said that it is a dict with this key

    monkeypatch.setattr(http, "matches_json", matches_json)
    said: list[str] = []
    assert not fuzz(1000, 20261120, said.append)
    assert any("Error" in line for line in said)
    assert any("--seed 20261120 --only" in line for line in said)
