"""The command line works with the oldest click that is allowed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, require

LINES = [
    "--port 1 --timeout 1s",
    "--port=1 -v --attempts 2 --interval 10ms",
    "tcp://127.0.0.1:1 --output json --max-age 1s",
    "watch --prot",
    "list",
    "--help",
    "wait --deadline 50ms tcp://127.0.0.1:1 -- true",
]


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the oldest click that pyproject.toml allows."""
    bound = re.search(r'"click>=([\d.]+),<', (ROOT / "pyproject.toml").read_text())
    assert bound
    place = tmp_path_factory.mktemp("click")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place)]
    installed = subprocess.run(
        [*pip, f"click=={bound[1]}"], capture_output=True, text=True, timeout=120, check=False
    )
    require(installed.returncode == 0, "pip cannot install the oldest click: no network?")
    return place


def output(line: str, path: str) -> tuple[int, str]:
    program = [sys.executable, "-m", "healthchecker", *line.split()]
    done = subprocess.run(
        program,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "HEALTHCHECKER_CONNECT_TIMEOUT": "1s"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, re.sub(
        r"[\d.]+(?= ms)|(?<=_ms\": )[\d.]+|(?<=\": )[\d.]+", "N", done.stdout + done.stderr
    )


@pytest.mark.parametrize("line", LINES)
def test_the_oldest_click_will_do(line: str, oldest: Path) -> None:
    assert output(line, str(oldest)) == output(line, "")
