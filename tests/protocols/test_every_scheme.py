"""What holds for every scheme of the registry, in every way to check it."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from healthchecker import Reason, acheck, check
from healthchecker._protocols.registry import SCHEMES
from healthchecker._values.target import Place
from tests.servers.peers import Connection, Peer, refusing_port
from tests.servers.scripted import DATAGRAMS, ScriptedServer, scripted_server
from tests.servers.tls import server_context
from tests.support import LOADED
from tests.support.forms import Form, run
from tests.support.running import Program, start
from tests.tables.hostile_behaviours import OPENINGS

pytestmark = pytest.mark.not_cold

Make = Callable[..., ScriptedServer]
LIMIT = 0.2
EVERY_SCHEME = pytest.mark.parametrize("scheme", SCHEMES)
KEYS = {"target", "healthy", "reason", "detail", "status", "elapsed_ms", "phases_ms"}


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return server_context(trustme.CA(), "127.0.0.1")


@pytest.fixture
def make(context: ssl.SSLContext, open_directory: Path) -> Make:
    def make(scheme: str, *, unix_socket: bool = False) -> ScriptedServer:
        return scripted_server(scheme, open_directory, context, unix_socket=unix_socket)

    return make


@pytest.fixture
def servers(make: Make) -> list[ScriptedServer]:
    """One of every scheme."""
    return [make(scheme) for scheme in SCHEMES]


def library_options(server: ScriptedServer) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in server.options.items()}


# Once


@EVERY_SCHEME
def test_json(form: Form, scheme: str, make: Make) -> None:
    server = make(scheme)
    args = [*server.args, "--output=json", server.url]
    with server.serving():
        up = run(form, args)
    down = run(form, args)
    assert (up.code, up.stderr, down.code, down.stderr) == (0, "", 1, "")
    keys = KEYS - {"phases_ms"} if SCHEMES[scheme].place is Place.FILE else KEYS
    assert up.check.keys() == down.check.keys() == keys
    assert (up.check["healthy"], up.check["reason"]) == (True, "ok"), up.check
    assert (down.check["healthy"], down.check["reason"]) == (False, server.down), down.check
    assert up.check["target"] == down.check["target"]
    assert json.loads(down.stdout)["healthy"] is False


@EVERY_SCHEME
def test_equal_failures_are_equal_lines(form: Form, scheme: str, make: Make) -> None:
    server = make(scheme)
    lines = {run(form, [*server.args, server.url]).stderr for _ in range(2)}
    if server.silent is not None:
        with server.silent():
            args = [*server.args, f"--timeout={LIMIT}", server.url]
            silent = {run(form, args).stderr for _ in range(2)}
        assert len(silent) == 1, silent
        assert re.search(r": timeout: timed out after 200 ms \((tls|response)\)\n$", silent.pop())
    assert len(lines) == 1, lines
    assert f": {server.down}: " in lines.pop()


@EVERY_SCHEME
def test_library(scheme: str, make: Make) -> None:
    server = make(scheme)
    options = library_options(server)
    with server.serving():
        found = check(server.url, timeout=20, **options)
        found_by_task = asyncio.run(acheck(server.url, timeout=20, **options))
    assert (found.reason, found_by_task.reason) == (Reason.OK, Reason.OK), found
    assert (found.detail, found.status) == (found_by_task.detail, found_by_task.status)
    found = check(server.url, timeout=20, **options)
    assert (found.healthy, found.reason) == (False, server.down)
    assert asyncio.run(acheck(server.url, timeout=20, **options)).reason is server.down


@EVERY_SCHEME
def test_stopped_server_is_a_timeout(scheme: str, make: Make) -> None:
    """It accepts connections, as a server does that SIGSTOP or a deadlock has stopped."""
    server = make(scheme)
    if server.silent is None:
        return  # no server is involved
    with server.silent():
        found = check(server.url, timeout=LIMIT, **library_options(server))
        found_by_task = asyncio.run(acheck(server.url, timeout=LIMIT, **library_options(server)))
    assert (found.reason, found_by_task.reason) == (Reason.TIMEOUT, Reason.TIMEOUT), found
    assert LIMIT <= found.elapsed < LIMIT * LOADED


@pytest.mark.parametrize("scheme", [name for name, one in SCHEMES.items() if one.over_unix_socket])
def test_unix_socket(form: Form, scheme: str, make: Make) -> None:
    server = make(scheme, unix_socket=True)
    args = [*server.args, "--output=json", server.url]
    with server.serving():
        up = run(form, args).check
    assert up["reason"] == "ok", up
    assert server.options["unix-socket"] in up["target"]
    assert run(form, args).check["reason"] == "connection_failed"


@EVERY_SCHEME
def test_any(form: Form, scheme: str, make: Make) -> None:
    server = make(scheme)
    with server.serving(), refusing_port() as port:
        args = [*server.args, f"tcp://127.0.0.1:{port}", server.url]
        assert run(form, ["--any", *args]).code == 0
        assert run(form, args).code == 1


@EVERY_SCHEME
def test_second_attempt(form: Form, scheme: str, make: Make) -> None:
    server = make(scheme)
    args = [*server.args, "--attempts=2", "--interval=1s", "--timeout=4s", server.url]
    with server.failing_once():
        found = run(form, args)
    assert (found.code, found.stderr) == (0, "")


USER, PASSWORD = "us3r", "s3cret"
SECRETS = (PASSWORD, b64encode(f"{USER}:{PASSWORD}".encode()).decode().rstrip("="), USER)


def outputs(form: Form, args: list[str]) -> Iterator[str]:
    """Yield everything that is printed about one failure, in each form of output."""
    for more in ((), ("--verbose",), ("--output=json",)):
        found = run(form, [*more, f"--timeout={LIMIT}", *args])
        assert found.code == 1
        yield found.stdout + found.stderr


def repeat(connection: Connection) -> None:
    """Send back all that the client sends, as a server with a talkative error does."""
    while heard := connection.hear():
        connection.send(heard)


@pytest.mark.parametrize("login", [False, True])
@EVERY_SCHEME
def test_no_secret_is_shown(
    form: Form, scheme: str, make: Make, *, login: bool, context: ssl.SSLContext
) -> None:
    if SCHEMES[scheme].place is not Place.HOST or (
        login and "login" not in SCHEMES[scheme].options
    ):
        return  # such targets have no credentials
    server = make(scheme)
    place = server.url.partition("://")[2]
    url = f"{scheme}://{USER}:{PASSWORD}@{place}"
    args = [*server.args, *(["--login"] if login else []), url]
    shown = list(outputs(form, args))  # down, or a usage error
    if server.silent is not None:
        with server.silent():
            shown += outputs(form, args)
    if scheme not in DATAGRAMS:
        tls = context if SCHEMES[scheme].tls else None
        own = "postgresql" if scheme == "postgres" else scheme
        behaviour = OPENINGS[own].begin(repeat)
        port = int(place.partition(":")[2].partition("/")[0])
        with Peer(behaviour, context=tls, port=port) as peer:
            assert peer.port == port
            for more in ((), ("--verbose",), ("--output=json",)):
                found = run(form, [*more, f"--timeout={LIMIT}", *args])
                shown.append(found.stdout + found.stderr)
    assert not [text for text in shown if any(one in text for one in SECRETS)]


# All schemes in one process

CONTINUOUSLY = ("--initial-delay=0", "--interval=3s", "--timeout=3s", "--failure-threshold=1")
QUICK = ("--interval=200ms", "--timeout=10s")


def arguments(servers: list[ScriptedServer]) -> list[str]:
    options = dict.fromkeys(arg for server in servers for arg in server.args)
    return [*options, *(server.url for server in servers)]


def lines(program: Program, count: int) -> Iterator[tuple[str, str]]:
    """Yield the URL and the rest of lines of `watch --output json`."""
    for _ in range(count):
        line = json.loads(program.line())
        yield line["check"]["target"], line["check"]["reason"]


def test_watch_prints_one_change_each(form: Form, servers: list[ScriptedServer]) -> None:
    args = [*CONTINUOUSLY, "--output=json", *arguments(servers)]
    with ExitStack() as up:
        for server in servers:
            up.enter_context(server.serving())
        with start(form, "watch", *args) as program:
            first = dict(lines(program, len(servers)))
            assert set(first.values()) == {"ok"}, first
            up.close()
            second = dict(lines(program, len(servers)))
            assert second.keys() == first.keys()
            # A probe may just have been running: then it ends in another way than the next one.
            assert "ok" not in second.values(), second
            assert program.stop() == 1


def test_wait_and_wait_down(form: Form, servers: list[ScriptedServer]) -> None:
    command = ("--", sys.executable, "-c", "print('all are up')")
    with start(form, "wait", *QUICK, *arguments(servers), *command) as program, ExitStack() as up:
        for server in servers:
            up.enter_context(server.serving())
        assert program.line() == "all are up"
        assert program.process.wait(5 * LOADED) == 0
        with start(form, "wait", "--down", *QUICK, *arguments(servers)) as waiting:
            assert waiting.process.poll() is None
            up.close()
            assert waiting.process.wait(20 * LOADED) == 0
