"""scripts/demo shows the promised checks and leaves nothing running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.engine import docker, require_engine
from tests.support.forms import SAVED, require_form


def running_services(environment_mark: str) -> list[int]:
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            environment = (proc / "environ").read_bytes()
        except OSError:
            continue
        if environment_mark.encode() in environment:
            found.append(int(proc.name))
    return found


def demo(*arguments: str) -> str:
    """Run the demo, which must succeed; return its output."""
    done = subprocess.run(
        [ROOT / "scripts/demo", *arguments],
        env={
            **os.environ,
            "DEMO_TEST": str(os.getpid()),
            "VENV": sys.prefix,
            "SETUP": "skip",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    codes = re.findall(r"^exit code (\d)$", done.stdout, re.MULTILINE)
    assert codes == ["0", "0", "1", "1", "0", "0"]
    assert "HTTP status 503, expected 200" in done.stdout
    return done.stdout


def test_demo() -> None:
    demo()
    assert running_services(f"DEMO_TEST={os.getpid()}") == []


@pytest.mark.alone
def test_demo_with_the_executable() -> None:
    require_engine()
    require_form(SAVED)
    output = demo("--binary")
    states = re.findall(r"^# Docker reports the container as (\w+)$", output, re.MULTILINE)
    assert states == ["healthy", "unhealthy", "healthy"]
    assert docker("ps", "--all", "--quiet", "--filter", "name=healthchecker-demo") == ""
