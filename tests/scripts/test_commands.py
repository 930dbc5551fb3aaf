"""The commands that pages show and that no other test runs: short runs of each."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts import terminal_picture
from tests.support import LOADED, ROOT, require
from tests.support.forms import SAVED, require_form


def command(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / words[0]), *words[1:]],
        env={**os.environ, "VENV": sys.prefix, "SETUP": "skip"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout * LOADED,
    )


@pytest.mark.usefixtures("full_speed")
def test_bench_watch() -> None:
    done = command("bench", "watch", "--endpoints=5", "--hung=1", "--interval=0.5", "--seconds=2")
    assert "Traceback" not in done.stderr
    assert "endpoints            5, interval 0.5 s, 1 hung\n" in done.stdout
    assert "not healthy          0\n" in done.stdout


@pytest.mark.usefixtures("full_speed")
def test_bench_watch_of_the_executable() -> None:
    require_form(SAVED)
    options = ["--endpoints=5", "--interval=0.5", "--seconds=2", "--program"]
    done = command("bench", "watch", *options)
    assert "Traceback" not in done.stderr
    assert "not healthy          0\n" in done.stdout


@pytest.mark.alone
def test_bench_process() -> None:
    require_form(SAVED)
    done = command("bench", "process", "--runs=2", "--limits", timeout=200)
    require("missing packages" not in done.stderr, done.stderr.strip())
    assert "Traceback" not in done.stderr
    assert "instructions of one healthy HTTP check: " in done.stdout
    assert "kept      " in done.stdout  # two runs do not show that all limits are


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["process", "--runs=0"], "argument --runs: expected a number of at least 2, got 0"),
        (["process", "--runs=x"], "argument --runs: expected a number of at least 2, got x"),
        (["process", "--peer=x"], "expected NAME=http|https|grpc:COMMAND, got x"),
        (["process", "--peer=x=ftp:true"], "expected NAME=http|https|grpc:COMMAND, got x=ftp:true"),
        (["process", "--peer=x=http:'"], "expected NAME=http|https|grpc:COMMAND, got x=http:'"),
        (["process", "--peer=x=http:/no"], "there is no program /no"),
        (["watch", "--program=/no"], "--program: there is no executable /no"),
        (["watch", "--endpoints=0"], "expected a number of at least 1, got 0"),
        (["watch", "--seconds=-1"], "expected a positive number of seconds, got -1"),
        (["watch", "--endpoints=1", "--hung=1"], "at least one of 1 endpoints must respond"),
        (["accountservice", "--rounds=0"], "expected a number of at least 1, got 0"),
    ],
)
def test_mistyped_options_of_measurements(options: list[str], message: str) -> None:
    done = command("bench", *options)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(message)
    assert "Traceback" not in done.stderr


@pytest.mark.alone
@pytest.mark.parametrize(
    ("option", "shown"), [("--size", "healthchecker"), ("--versions", "CPython")]
)
def test_build_binary_describes_the_executable(option: str, shown: str) -> None:
    require_form(SAVED)
    done = command("build-binary", "--allow-older", option)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


@pytest.mark.usefixtures("full_speed")
@pytest.mark.parametrize("options", [[], ["--tls"]])
def test_fuzz(options: list[str]) -> None:
    done = command("fuzz", "--cases=100", "--seed=1", *options)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("seed 1")


@pytest.mark.usefixtures("full_speed")
def test_fuzz_cli() -> None:
    require_form(SAVED)
    done = command("fuzz", "cli", "--cases=5", "--seed=1")
    assert done.returncode == 0, done.stdout
    assert " 0 failures, python and cold and saved\n" in done.stdout


@pytest.mark.alone
def test_terminal_picture() -> None:
    """It rewrites the picture, whose times differ; the old one is restored."""
    require_form(SAVED)
    before = terminal_picture.PICTURE.read_bytes()
    try:
        done = command("terminal-picture")
        assert done.returncode == 0, done.stderr
        assert terminal_picture.PICTURE.read_bytes().startswith(b"<svg ")
    finally:
        terminal_picture.PICTURE.write_bytes(before)
