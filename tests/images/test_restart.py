"""`--on-unhealthy` in real containers: what is unhealthy is stopped, and its policy restarts it.

Docker and Compose do not do that by themselves. The image has neither a shell nor `kill`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import poll
from tests.support.engine import (
    build_images,
    built,
    container,
    docker,
    health,
    outcome,
    require_compose,
    require_engine,
    succeed,
)

pytestmark = pytest.mark.alone

NAME = f"healthchecker-restart-{os.getpid()}"
CHECK = ["/healthchecker", "--port=6767", "--on-unhealthy=TERM:1", "--attempts=3"]
DOCKERFILE = f"""
FROM accountservice:test
USER 0
RUN rm -f /bin/sh /bin/dash /bin/bash /bin/kill
USER 10001:10001
ENV ACCOUNTSERVICE_TESTABILITY=1
HEALTHCHECK --interval=5s --timeout=15s CMD {json.dumps([*CHECK, "--interval=500ms"])}
"""
COMPOSE = f"""
services:
  service:
    image: {NAME}
    network_mode: none
    restart: unless-stopped
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_engine()
    build_images("test")
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    with built(folder) as identity:
        yield identity


@pytest.fixture
def service(image: str) -> Iterator[str]:
    with container("--restart=unless-stopped", "--network=none", image) as identity:
        await_healthy(identity)
        yield identity


def await_healthy(service: str) -> None:
    poll(lambda: health(service)["Status"] == "healthy", timeout=60, what="healthy")


def turn(service: str, *, healthy: bool) -> None:
    path = f"/testability/healthy/{str(healthy).lower()}"
    docker("exec", service, "/healthchecker", "--port=6767", f"--path={path}")


def restarts(service: str) -> int:
    return int(docker("inspect", "--format", "{{.RestartCount}}", service))


def await_restart(service: str, times: int) -> None:
    """Wait until a container has been restarted `times` times, and is healthy."""
    poll(lambda: restarts(service) == times, timeout=60, what=f"restart number {times}")
    await_healthy(service)


def ends(service: str) -> list[str]:
    """Return the exit code of each time that the container has ended."""
    which = [f"--filter=container={service}", "--filter=event=die", "--since=1h"]
    form = "--format={{.Actor.Attributes.exitCode}}"
    return docker("events", *which, form, f"--until={time.time():.0f}").split()


def test_an_unhealthy_container_stops_gracefully_and_comes_back_healthy(service: str) -> None:
    for times in (1, 2, 3):
        turn(service, healthy=False)
        await_restart(service, times)
    poll(lambda: ends(service) == ["0"] * 3, timeout=10, what="the engine reports each end")
    assert restarts(service) == 3


def test_a_blip_restarts_nobody(image: str) -> None:
    options = ["--restart=unless-stopped", "--network=none", "--no-healthcheck"]
    with container(*options, image) as service:
        ready = ["exec", service, "/healthchecker", "--port=6767"]
        poll(lambda: outcome(*ready).returncode == 0, timeout=60, what="it serves")
        check = ["docker", "exec", service, *CHECK, "--interval=3s"]

        def survives_blip() -> bool:
            """Return whether the check has failed first and then not."""
            turn(service, healthy=False)
            begin = time.monotonic()
            with subprocess.Popen(check) as checking:
                poll(lambda: "--attempts=3" in docker("top", service), timeout=20, what="it runs")
                turn(service, healthy=True)
                assert checking.wait(30) == 0
            return time.monotonic() - begin >= 3  # it has waited before another attempt

        poll(survives_blip, timeout=60, what="the check saw the blip")
        assert (restarts(service), ends(service)) == (0, [])


def test_compose_restarts_what_its_check_stops(image: str, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE)
    compose = [*require_compose(), "--project-name", NAME, "--file", str(file)]
    docker("tag", image, NAME)  # which goes with the image
    try:
        succeed([*compose, "up", "--detach"], timeout=60)
        service = succeed([*compose, "ps", "--quiet", "service"], timeout=30)
        await_healthy(service)
        turn(service, healthy=False)
        await_restart(service, 1)
        poll(lambda: ends(service) == ["0"], timeout=10, what="the engine reports the end")
    finally:
        succeed([*compose, "down", "--volumes", "--timeout", "2"], timeout=60)


@pytest.mark.parametrize(
    ("options", "process", "problem"),
    [
        (["--user=65534"], "1", "Operation not permitted"),
        ([], "4000000", "No such process"),
    ],
)
def test_it_says_when_it_cannot_send_the_signal(
    service: str, options: list[str], process: str, problem: str
) -> None:
    check = ["/healthchecker", "--port=1", f"--on-unhealthy=TERM:{process}"]
    done = outcome("exec", *options, service, *check)
    failure, said = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert ": connection_refused: " in failure
    assert said == f"healthchecker: cannot send SIGTERM to process {process}: {problem}"
