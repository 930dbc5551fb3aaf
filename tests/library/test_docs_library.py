"""docs/library.md is true: its code runs, and its names and defaults are those of the code."""

from __future__ import annotations

import inspect
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import healthchecker
from healthchecker import HealthServer, ServerCheck, awatch, check, watch
from healthchecker._values.options import CheckOptions
from healthchecker._watch.rule import WatchOptions
from tests.servers.daemons import free_port
from tests.servers.http import http_service
from tests.support import LOADED, ROOT, poll

TEXT = (ROOT / "docs/library.md").read_text()
PROGRAM = "server.run()\n"
"""The end of the block that is a whole program."""
BLOCKS = re.findall(r"^## (.*?)$|^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def blocks() -> list[Any]:
    found: list[Any] = []
    title = ""
    for heading, code in BLOCKS:
        title = heading or title
        if code:
            found.append(pytest.param(code, id=f"{title} {len(found) + 1}"))
    return found


@pytest.mark.parametrize("code", [block for block in blocks() if PROGRAM not in block.values[0]])
def test_code_runs(code: str, tmp_path: Path) -> None:
    with http_service() as port:
        code = code.replace("6767", str(port)).replace("/dev/shm", str(tmp_path))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert (done.returncode, done.stderr) == (0, "")
    if "print(" in code and "watch" in code:
        assert done.stdout == "healthy\n"


def test_there_are_blocks_for_each_part() -> None:
    assert len(blocks()) == 11


def test_the_program_is_ready_as_long_as_its_database_and_its_cache_are(tmp_path: Path) -> None:
    (code,) = (block.values[0] for block in blocks() if PROGRAM in block.values[0])
    (shown,) = re.findall(r"^    \$ curl .*\n((?:    .*\n)+)", TEXT, re.MULTILINE)
    database = tmp_path / "accounts.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE account (id)")
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as cache:
        code = code.replace("8080", str(port)).replace("6379", str(cache.getsockname()[1]))
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        ) as program:
            try:
                base = f"http://127.0.0.1:{port}"

                def readiness() -> tuple[int, str]:
                    response = httpx.get(f"{base}/readyz?verbose", trust_env=False)
                    return response.status_code, response.text

                ready = (200, "[+]ready ok\n[+]database ok\n[+]cache ok\nreadyz check passed\n")
                poll(lambda: check(f"{base}/livez"), timeout=20, what="the program listens")
                assert readiness() == ready
                database.rename(tmp_path / "away")
                expected = (503, re.sub("^    ", "", shown, flags=re.MULTILINE))
                poll(lambda: readiness() == expected, timeout=10, what="the database is missing")
                (tmp_path / "away").rename(database)
                poll(lambda: readiness() == ready, timeout=10, what="the database is back")
                cache.close()
                poll(lambda: readiness()[0] == 503, timeout=10, what="the cache is missing")
                assert check(f"{base}/livez")
            finally:
                program.terminate()
            log = program.communicate(timeout=10 * LOADED)[1].splitlines()
            assert program.returncode == 0
            assert [line.partition(":")[0] for line in log] == [
                "health check database fails",
                "health check cache fails",
            ]


@pytest.mark.parametrize("function", [watch, awatch])
def test_defaults_of_the_watch_are_those_of_the_table(function: Callable[..., Any]) -> None:
    written = dict(re.findall(r"\| `(\w+)=`(?: seconds)? \| ([\d.]+)", TEXT))
    parameters = inspect.signature(function).parameters
    settings = WatchOptions()
    names = ("initial_delay", "interval", "failure_threshold", "timeout")
    assert written == {**{name: str(getattr(settings, name)) for name in names}, "status": "200"}
    for name in names[:3]:
        assert parameters[name].default == getattr(settings, name)
    assert CheckOptions().status.text == "200"


def test_defaults_of_the_server() -> None:
    server = HealthServer()
    assert f"`port` {server.port} of `host` {server.host}" in TEXT
    assert (
        f"`cache` seconds ({inspect.signature(HealthServer).parameters['cache'].default:g})" in TEXT
    )
    limit = inspect.signature(ServerCheck).parameters["timeout"].default
    assert f"its own ({limit:g} s if not given)" in " ".join(TEXT.split())


ASSIGNED = re.compile(r"^ +self\.([a-z]\w*)(?:: [^=\n]+)? = ", re.MULTILINE)
CLASSES = [
    healthchecker.CheckResult,
    healthchecker.Observation,
    healthchecker.Watch,
    healthchecker.AsyncWatch,
    healthchecker.Heartbeat,
    healthchecker.HealthServer,
    healthchecker.ServerCheck,
    healthchecker.HealthReport,
    healthchecker.CheckOutcome,
]


def attributes(of: type) -> set[str]:
    """Return the public attributes of a class, and those that its `__init__` sets."""
    names = {name for name in dir(of) if not name.startswith("_")}
    return names | set(ASSIGNED.findall(inspect.getsource(of)))


@pytest.mark.parametrize("of", CLASSES, ids=lambda of: of.__name__)
def test_every_attribute_is_in_its_table(of: type) -> None:
    section = TEXT[TEXT.index("\n## All names") :]
    found = re.search(rf"^[^|\n]*`{of.__name__}\b[^|\n]*\n\n((?:\|.*\n)+)", section, re.MULTILINE)
    assert found
    listed = set()
    for row in found[1].splitlines():
        listed |= set(re.findall(r"`(\w+)(?:\(\))?`", row.split("|")[1]))
    expected = attributes(of)
    if of is healthchecker.Watch:
        listed.discard("aclose")
    assert listed == expected


def test_every_public_name_is_documented() -> None:
    for name in set(healthchecker.__all__) - {"__version__"}:
        assert re.search(rf"\b{name}\b", TEXT), name


def test_every_parameter_of_the_server_is_documented() -> None:
    for name in inspect.signature(HealthServer).parameters:
        assert re.search(rf"`{name}[`=(]", TEXT), name
