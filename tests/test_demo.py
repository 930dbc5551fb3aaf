"""scripts/demo shows what it promises and leaves nothing running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT


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


def test_demo() -> None:
    mark = f"DEMO_TEST={os.getpid()}"
    done = subprocess.run(
        [ROOT / "scripts/demo"],
        env={
            **os.environ,
            "DEMO_TEST": str(os.getpid()),
            "VENV": sys.prefix,
            "PYTHON": sys.executable,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    codes = re.findall(r"^exit code (\d)$", done.stdout, re.MULTILINE)
    assert codes == ["0", "0", "1", "1", "0", "0"]
    assert "HTTP status 503, expected 200" in done.stdout
    assert running_services(mark) == []
