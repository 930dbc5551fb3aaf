"""The public types, as another program's type checker sees them (mypy checks all tests itself)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import healthchecker
from tests.support import ROOT

PROGRAM = ROOT / "tests/support/typed_program.py"

WRONG = """
from healthchecker import Heartbeat, HealthServer, check, check_all, watch

check(80)
check("http://localhost", stauts=200)
check("http://localhost", basic_auth="user:password")
check_all("http://localhost").result
number: int = check("http://localhost").reason
for report in watch("http://localhost"):
    report.detail
HealthServer(checks={"it": 5})
Heartbeat(5)
"""
WRONG_LINES = {
    number
    for number, line in enumerate(WRONG.splitlines(), 1)
    if number > 3 and line and not line.startswith("for ")
}


def pyright(folder: Path) -> list[Any]:
    """Check all of a folder, strictly; return what it finds."""
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(folder)]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    found: list[Any] = report["generalDiagnostics"]
    return found


def ty(file: Path) -> set[int]:
    """Check a file; return the lines with errors."""
    command = [sys.executable, "-m", "ty", "check", "--output-format=concise", "--no-progress"]
    command += ["--color=never", f"--python={sys.prefix}", f"--extra-search-path={ROOT}", str(file)]
    done = subprocess.run(
        command, cwd=file.parent, capture_output=True, text=True, check=False, timeout=300
    )
    lines = {int(line) for line in re.findall(r"^\S+?:(\d+):\d+: ", done.stdout, re.MULTILINE)}
    assert done.returncode == bool(lines), done.stdout + done.stderr
    return lines


def test_the_program_uses_every_public_name() -> None:
    code = PROGRAM.read_text()
    assert [name for name in healthchecker.__all__ if code.count(name) < 2] == []


def test_pyright_finds_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.read_text())
    assert pyright(tmp_path) == []


def test_pyright_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(WRONG)
    lines = {found["range"]["start"]["line"] + 1 for found in pyright(tmp_path)}
    assert lines == WRONG_LINES


def test_ty_finds_nothing_in_it() -> None:
    assert ty(PROGRAM) == set()


def test_ty_finds_what_is_wrong(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WRONG)
    unknown_option = 5  # ty 0.0 does not compare the names with those of the TypedDict
    assert ty(program) | {unknown_option} == WRONG_LINES
