"""docs/library.md tells the truth: its code runs, and its defaults are those of the code."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from healthchecker import HealthServer, awatch, watch
from healthchecker._options import CheckOptions
from healthchecker._watch.rule import WatchOptions
from tests.servers.http import http_service
from tests.support import ROOT

TEXT = (ROOT / "docs/library.md").read_text()
BLOCKS = re.findall(r"^## (.*?)$|^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def blocks() -> list[Any]:
    found: list[Any] = []
    title = ""
    for heading, code in BLOCKS:
        title = heading or title
        if code:
            found.append(pytest.param(code, id=f"{title} {len(found) + 1}"))
    return found


@pytest.mark.parametrize("code", blocks())
def test_code_runs(code: str) -> None:
    with http_service() as port:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code.replace("6767", str(port))],
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
    assert len(blocks()) == 6


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
    assert inspect.signature(HealthServer).parameters["path"].default == "/healthz"
