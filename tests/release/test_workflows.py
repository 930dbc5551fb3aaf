"""The workflows: linted by scripts/test; here what the linters do not know."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_they_are_all_there() -> None:
    assert [file.stem for file in WORKFLOWS] == ["ci", "nightly", "release", "rescan"]
    assert (ROOT / ".github/dependabot.yml").exists()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.stem))
def test_actions_are_pinned_by_commit(file: Path) -> None:
    for used in re.findall(r"uses: (.*)", file.read_text()):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.stem))
def test_a_workflow_has_no_permissions_but_those_of_its_jobs(file: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"]
        assert job["timeout-minutes"] <= 90


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.stem))
def test_the_scripts_exist(file: Path) -> None:
    for name in re.findall(r"\b((?:scripts|binary)/[\w./-]+|\.ci/run)\b", file.read_text()):
        assert os.access(ROOT / name, os.X_OK), name
