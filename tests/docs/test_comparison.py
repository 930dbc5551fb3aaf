"""docs/comparison.md has the figures that were measured, and its command measures them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.benchmarks import comparison
from tests.support import ROOT, require
from tests.support.forms import SAVED, require_form
from tests.support.pages import Page

PAGE = Page(ROOT / "docs/comparison.md")

FIGURES = json.loads((ROOT / "docs/comparison.json").read_text())


def test_the_figures_are_those_that_were_measured() -> None:
    assert PAGE.table("figures") == comparison.table(FIGURES)
    assert (ROOT / "docs/comparison.svg").read_text() == comparison.picture(FIGURES)
    shown = {one["name"] for one in FIGURES["programs"]}
    assert shown >= {"healthchecker", "curl", "GNU wget", "grpc-health-probe", "hc", "microcheck"}


@pytest.mark.alone
def test_the_command_that_measures(tmp_path: Path) -> None:
    """The executable stands in for programs that are not on this machine."""
    require_form(SAVED)
    for name in ("busybox", "curl", "time", "valgrind", "wget"):
        require(shutil.which(name), f"needs {name}")
    for file in Path("/usr/bin").iterdir():
        if file.name != "go":  # it would compile for half a minute
            (tmp_path / file.name).symlink_to(file)
    for name in ("hc", "httpcheck"):
        (tmp_path / name).symlink_to(SAVED.argv[0])
    probe = tmp_path / "grpc-health-probe"
    probe.write_text('#!/bin/sh\nexec hc "grpc://${1#-addr=}"\n')
    probe.chmod(0o755)
    command = PAGE.block("Figures", "sh").replace("\\\n", "")
    program, benchmark, *options = shlex.split(command.replace("docs/", f"{tmp_path}/"))
    assert program == "scripts/bench"
    subprocess.run(
        [sys.executable, "-m", f"scripts.benchmarks.{benchmark}", *options, "--runs", "2"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        check=True,
        timeout=200,
        stdout=subprocess.DEVNULL,
    )
    measured = json.loads((tmp_path / "comparison.json").read_text())
    kinds = {(one["name"], one["kind"]) for one in measured["programs"]}
    written = {(one["name"], one["kind"]) for one in FIGURES["programs"]}
    assert kinds | {("Go helper", "http")} >= written
    assert (tmp_path / "comparison.svg").read_text() == comparison.picture(measured)
