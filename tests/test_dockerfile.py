"""The Dockerfile: what its layers hold, so that they are kept when something else changes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.support import ROOT
from tests.support.forms import BUILD, SAVED, require_form


def copied_before_the_first_command() -> list[str]:
    """Return what the Dockerfile copies before anything is compiled."""
    first, _, _ = (ROOT / "Dockerfile").read_text().partition("\nRUN ")
    return [
        source
        for line in re.findall(r"^COPY (.*) \S+$", first, re.MULTILINE)
        for source in line.split()
    ]


def test_what_is_compiled_first_needs_nothing_else(tmp_path: Path) -> None:
    """On a finished build, `--sources` finds all of it done, also where the rest is missing."""
    require_form(SAVED)
    for source in copied_before_the_first_command():
        place = tmp_path / source
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
    kept = [*BUILD.parent.glob("*.key"), *BUILD.glob("*.key"), BUILD.parent / "sources/versions"]
    for file in kept:
        place = tmp_path / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    (tmp_path / "build/venv").symlink_to(ROOT / "build/venv")
    done = subprocess.run(
        [tmp_path / "scripts/build-binary", "--sources"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_python_code_is_copied_after_what_is_compiled() -> None:
    assert not [
        source
        for source in copied_before_the_first_command()
        if source in (".", "binary") or source.startswith("healthchecker")
    ]
