"""A real Docker engine; containers and images are removed at the end of their block."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import ROOT, require
from tests.support.forms import SAVED, require_form


@cache
def _is_running() -> bool:
    return bool(shutil.which("docker")) and _run(["docker", "info"], 30).returncode == 0


def require_engine() -> None:
    """Skip (in CI: fail) if no engine runs, or if it lacks the base images of the tests."""
    require(_is_running(), "needs a Docker engine: run scripts/engine start")
    for image in ("debian:trixie-slim", "busybox:latest"):
        there = _run(["docker", "image", "inspect", image], 30).returncode == 0
        require(there, f"needs the image {image}: run scripts/engine start")


def require_compose() -> list[str]:
    """Return the command of Compose; skip (in CI: fail) if it is not installed."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _run([*command, "version"], 30).returncode == 0:
            return command
    require(ok=False, why="needs Docker Compose")
    return []


def docker(*arguments: str, timeout: float = 60) -> str:
    """Run a docker command that must succeed; return its output."""
    return succeed(["docker", *arguments], timeout=timeout)


def succeed(command: Sequence[str], *, timeout: float, **options: Any) -> str:
    """Run any command that must succeed; return its output."""
    done = _run(command, timeout, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def outcome(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a docker command that may fail."""
    return _run(["docker", *arguments], timeout)


def _run(
    command: Sequence[str], timeout: float, **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, **options
    )


@contextmanager
def container(*arguments: str) -> Iterator[str]:
    """Start a container; the value is its id."""
    identity = docker("run", "--detach", *arguments)
    try:
        yield identity
    finally:
        docker("rm", "--force", "--volumes", identity)


@contextmanager
def built(folder: Path) -> Iterator[str]:
    """Build the image of a folder's Dockerfile; the value is its id."""
    identity = docker("build", "--quiet", str(folder))
    try:
        yield identity
    finally:
        docker("rmi", "--force", identity)


@contextmanager
def image(base: str, binary: Path, folder: Path) -> Iterator[str]:
    """Build `base` with the executable copied into it; the value is the image's id."""
    shutil.copy(binary, folder / "healthchecker")
    lines = [f"FROM {base}", "COPY healthchecker /", 'ENTRYPOINT ["/healthchecker"]', ""]
    (folder / "Dockerfile").write_text("\n".join(lines))
    with built(folder) as identity:
        yield identity


@cache
def build_images(tag: str) -> None:
    """Build the two images of the repository, once."""
    require_form(SAVED)
    succeed([str(ROOT / "scripts/build-images"), tag], timeout=600)


def health(identity: str) -> dict[str, Any]:
    """Return the health of a container: Status, FailingStreak, Log."""
    found: dict[str, Any] = json.loads(
        docker("inspect", "--format", "{{json .State.Health}}", identity)
    )
    return found
