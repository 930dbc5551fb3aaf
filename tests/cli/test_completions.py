"""The completions, tried in real shells, and the man page."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT, require


def made(module: str, *args: str) -> str:
    """Return what a module of the release prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"release.{module}", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def bash(line: str, folder: Path) -> list[str]:
    script = folder / "completion.bash"
    script.write_text(made("completions", "bash"))
    words = line.split(" ")
    asked = f"""
        source {script}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words) - 1}
        _healthchecker 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout.split()


def fish(line: str, folder: Path) -> list[str]:
    script = folder / "completion.fish"
    script.write_text(made("completions", "fish"))
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return [offered.partition("\t")[0] for offered in done.stdout.splitlines()]


def zsh(line: str, folder: Path) -> list[str]:
    """Type a line and a tabulator into a zsh on a terminal, and read what it lists."""
    (folder / "_healthchecker").write_text(made("completions", "zsh"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe("zsh", ["zsh", "-f"], {**os.environ, "TERM": "dumb", "COLUMNS": "200"})
    seen = ""

    def expect(pattern: str) -> None:
        nonlocal seen
        end = time.monotonic() + 20
        while not re.search(pattern, seen):
            ready, _, _ = select.select([terminal], [], [], max(end - time.monotonic(), 0))
            assert ready, f"no {pattern!r} in {seen!r}"
            seen += os.read(terminal, 65536).decode("utf-8", "replace")

    try:
        setup = (
            "unsetopt zle prompt_cr; PS1='rea''dy> '; LISTMAX=0; fpath=($PWD $fpath); "
            "autoload -U compinit; compinit -u -D; zstyle ':completion:*' insert-tab false; "
            "setopt zle no_list_ambiguous no_list_beep; bindkey '^I' list-choices\n"
        )
        os.write(terminal, setup.encode())
        expect("ready> ")  # written, not typed
        seen = ""
        # When the next command has run, all is there that the tabulator brought.
        os.write(terminal, f"{line}\t\x15print do''ne\n".encode())
        expect(r"[\r\n]done")
    finally:
        os.kill(pid, 9)
        os.close(terminal)
        os.waitpid(pid, 0)
    return re.findall(r"\S+", seen)


SHELLS = {"bash": bash, "fish": fish, "zsh": zsh}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "offered", "not_offered"),
    [
        ("healthchecker --time", {"--timeout"}, {"--status"}),
        ("healthchecker --failure", set(), {"--failure-threshold"}),
        ("healthchecker watch --failure", {"--failure-threshold"}, set()),
        ("healthchecker list --ca", {"--cacert"}, set()),
        ("healthchecker --output ", {"text", "json"}, set()),
        ("healthchecker --cacert ", {"ca.pem"}, set()),
        ("healthchecker wa", {"wait", "watch"}, {"list"}),
        ("healthchecker install ", {"ca.pem"}, set()),
        ("healthchecker wait --dead", {"--deadline"}, set()),
        ("healthchecker wait tcp://db:1 -- mkdi", {"mkdir"}, set()),
    ],
)
def test_completion(
    shell: str, line: str, offered: set[str], not_offered: set[str], tmp_path: Path
) -> None:
    require(shutil.which(shell), f"no {shell}")
    (tmp_path / "ca.pem").touch()
    (tmp_path / "other.pem").touch()
    found = set(SHELLS[shell](line, tmp_path))
    assert offered <= found
    assert not found & not_offered


def test_man_page() -> None:
    require(shutil.which("mandoc"), "no mandoc")
    page = made("man_page", "2026-11-24")
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning"],
        input=page,
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout
    shown = subprocess.run(
        ["mandoc", "-T", "ascii"], input=page, capture_output=True, text=True, check=True
    ).stdout
    plain = re.sub(".\b", "", shown)
    for words in (
        "healthchecker - check whether services are healthy",
        "FILES",
        "EXAMPLES",
        "SEE ALSO",
        "--expect-json",
        "--failure-threshold",
    ):
        assert words in plain
