"""README.md is true: its commands do what it shows, its figures are the measured ones."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import terminal_picture
from scripts.benchmarks import comparison
from tests.servers.accountservice import UP, running_service
from tests.servers.daemons import free_port
from tests.support import ROOT, require
from tests.support.forms import PYTHON, SAVED, require_form, run
from tests.support.pages import Page, examples

PAGE = Page(ROOT / "README.md")
README = PAGE.text


def test_shell_examples_do_what_is_shown(tmp_path: Path) -> None:
    shown_examples = examples(PAGE.block("In a shell", "console"))
    assert len(shown_examples) > 5
    with running_service(tmp_path / "log") as service:
        service.await_health(UP, timeout=10)
        port = service.url.rpartition(":")[2]
        for command, shown in shown_examples:
            program, *args = shlex.split(command.replace("6767", port))
            assert program == "healthchecker"
            done = subprocess.run(
                [sys.executable, "-m", program, *args],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=20,
            )
            said = done.stdout.replace(port, "6767")
            assert without_times(said) == without_times(shown), command


def without_times(text: str) -> str:
    return re.sub(r'(\(|elapsed_ms": |"[\w-]+": )[\d.]+(?= ms\)|[,}])', r"\1N", text)


def written_commands() -> list[str]:
    """Return the commands that stand in the text with nothing beside them."""
    return [
        line
        for line in re.findall(r"^    (healthchecker .*)$", README, re.MULTILINE)
        if "  " not in line
    ]


@pytest.mark.parametrize("command", written_commands())
def test_commands_are_understood(command: str) -> None:
    """What they ask is not there, which is another thing than a mistake."""
    arguments = [word.replace("2m", "100ms") for word in shlex.split(command)[1:]]
    outcome = run(PYTHON, arguments, env={"HEALTHCHECKER_TIMEOUT": "100ms"})
    assert "usage_error" not in outcome.stderr
    assert outcome.stderr.startswith("unhealthy: ") or outcome.code == 0


def is_excerpt(text: str, whole: str) -> bool:
    """Tell whether all lines of the text are in another one, in the same order."""
    lines = iter(whole.splitlines())
    return all(line in lines for line in text.splitlines() if line)


def test_files_are_excerpts_of_recipes() -> None:
    """And recipes are run, by a test of their own."""
    recipes = Page(ROOT / "docs/recipes.md").blocks
    shown = [block for block in PAGE.blocks if block.language in ("dockerfile", "yaml")]
    assert len(shown) == 5
    for block in shown:
        assert any(is_excerpt(block.text, recipe.text) for recipe in recipes), block.title


@pytest.mark.alone
def test_the_terminal_shows_a_real_run() -> None:
    drawn = re.findall(r"<text [^>]*>(.*)</text>", terminal_picture.PICTURE.read_text())
    ran = terminal_picture.record(PYTHON.argv, str(free_port()), str(free_port()))
    again = re.findall(r"<text [^>]*>(.*)</text>", terminal_picture.picture(ran))
    assert [words(line) for line in again] == [words(line) for line in drawn]


def words(line: str) -> str:
    """Return a line of the table without its times, which are other ones in each run."""
    without_figures = re.sub(r"( *\b[\d.]+ ?(ms|s)\b)+", " N", line)
    return " ".join(without_figures.split())


FIGURES = json.loads((ROOT / "docs/comparison.json").read_text())


def test_the_figures_are_those_that_were_measured() -> None:
    assert PAGE.table("figures") == comparison.table(FIGURES)
    assert (ROOT / "docs/comparison.svg").read_text() == comparison.picture(FIGURES)
    shown = {one["name"] for one in FIGURES["programs"]}
    assert shown >= {"healthchecker", "curl", "GNU wget", "grpc-health-probe", "hc", "microcheck"}


@pytest.mark.alone
def test_the_command_that_measures(tmp_path: Path) -> None:
    """With the executable in the place of programs that are not on this machine."""
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
    command = PAGE.block("Beside others", "sh").replace("\\\n", "")
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
