"""A command that ends before it has a result: by a signal, or by its limit while a call hangs."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.http import http_service
from tests.servers.peers import SilentPeer, refusing_port
from tests.support import LOADED, poll
from tests.support.forms import PYTHON, Form, run
from tests.support.running import start

# Coverage is saved at the end of a process, and may wait there for what a signal has interrupted.
pytestmark = pytest.mark.usefixtures("full_speed")

IN_TLS, IN_WRITE = (
    dataclasses.replace(PYTHON, argv=(sys.executable, "-m", "tests.programs.stuck", place))
    for place in ("tls", "write")
)


def stop(form: Form, args: Sequence[str], silent: SilentPeer, *numbers: int) -> tuple[str, str]:
    """Send signals to a command that waits for a silent peer; return its output."""
    with start(form, *args) as program, silent.accept() as connection:
        assert connection.hear()
        for number in numbers:
            program.process.send_signal(number)
        assert program.process.wait(5 * LOADED) == 1
        assert program.process.stdout
        assert program.process.stderr
        return program.process.stdout.read().decode(), program.process.stderr.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("scheme", "command", "phase"),
    [
        ("http", ["check"], "response"),
        ("https", ["check"], "tls"),
        ("http", ["check", "--attempts=3"], "response"),
        ("grpc", ["list"], "response"),
        ("http", ["wait", "--deadline=60s"], "response"),
    ],
)
def test_a_signal_names_the_phase(
    form: Form, number: int, scheme: str, command: Sequence[str], phase: str
) -> None:
    name = signal.Signals(number).name
    with SilentPeer() as silent:
        target = silent.url(scheme, path="")
        args = [*command, "--timeout=60s", target]
        line = f"unhealthy: {target}: interrupted: {phase}: stopped by {name}\n"
        # `timeout` sends its signal twice.
        assert stop(form, args, silent, number, number) == ("", line)
        out, err = stop(form, [*args, "--output=json"], silent, number)
        (check,) = json.loads(out)["checks"]
        assert (check["reason"], check["detail"]) == ("interrupted", f"{phase}: stopped by {name}")
        assert check["phases_ms"].keys() >= {phase}
        assert err == ""
        assert stop(form, [*args, "-q"], silent, number) == ("", "")
        _, err = stop(form, [*args, "-v"], silent, number)
        assert re.search(rf"interrupted: {phase}: stopped by {name} \([\d.]+ ms\)\n", err)


def test_a_signal_keeps_the_results_that_are_there(form: Form) -> None:
    with SilentPeer() as silent, http_service() as port, refusing_port() as refused:
        # The first one is probed by the main thread, after the others' threads have started.
        targets = [silent.url(), f"http://127.0.0.1:{port}/health", f"tcp://127.0.0.1:{refused}"]
        with start(form, "-v", "--timeout=60s", *targets) as program, silent.accept() as connection:
            assert connection.hear()
            tasks = Path(f"/proc/{program.process.pid}/task")
            poll(lambda: len(list(tasks.iterdir())) == 1, timeout=60, what="the others are done")
            program.process.send_signal(signal.SIGTERM)
            assert program.process.wait(5 * LOADED) == 1
            assert program.process.stdout
            assert program.process.stderr
            out = program.process.stdout.read().decode()
            err = program.process.stderr.read().decode().splitlines()
    assert re.fullmatch(rf"healthy: {targets[1]}: HTTP status 200 .*\n", out)
    assert [line.split(": ")[2] for line in err] == ["interrupted", "connection_refused"]


def test_a_signal_between_two_attempts_keeps_the_last_result(form: Form) -> None:
    with SilentPeer() as silent:
        args = ["--attempts=2", "--interval=1h", "--timeout=60s", silent.url()]
        with start(form, *args) as program:
            with silent.accept() as connection:
                connection.read_request()
                connection.send(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
                assert connection.hear() == b""
            poll(program.waits_in_poll, timeout=15, what="it waits")
            line = f"unhealthy: {silent.url()}: unexpected_status: HTTP status 500, expected 200\n"
            assert program.stop(stderr=re.escape(line)) == 1


@pytest.mark.parametrize(
    ("args", "milliseconds"),
    [
        (["--timeout=300ms"], 300),
        (["--timeout=100ms", "--attempts=2", "--interval=200ms"], 400),
        (["list", "--timeout=300ms"], 300),
        (["wait", "--timeout=300ms", "--deadline=400ms"], 400),
        (["check", "--timeout=300ms", "--output=json"], 300),
    ],
)
def test_the_limit_ends_a_call_that_no_signal_interrupts(
    args: Sequence[str], milliseconds: int
) -> None:
    with SilentPeer() as silent:
        target = silent.url("grpcs", path="")
        outcome = run(IN_TLS, [*args, target], timeout=15)
    assert outcome.code == 1
    detail = f"timed out after {milliseconds} ms"
    out = outcome.stdout.removeprefix("stuck\n")
    if out:
        (check,) = json.loads(out)["checks"]
        assert check["detail"] == f"{detail} (tls)"
    else:
        assert outcome.stderr == f"unhealthy: {target}: timeout: {detail} (tls)\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["check", "list", "wait"])
def test_a_signal_ends_a_call_that_no_signal_interrupts(number: int, command: str) -> None:
    with SilentPeer() as silent:
        target = silent.url("grpcs", path="")
        args = [command, target]
        with start(IN_TLS, *args, "--timeout=60s") as program:
            assert program.line() == "stuck"
            name = signal.Signals(number).name
            line = f"unhealthy: {target}: interrupted: tls: stopped by {name}\n"
            assert program.stop(number, stderr=re.escape(line)) == 1


@pytest.mark.parametrize("args", [["--timeout=200ms"], ["wait", "--deadline=200ms"]])
@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_an_output_on_a_file_system_that_hangs(
    args: Sequence[str], number: int | None, tmp_path: Path
) -> None:
    with (
        (tmp_path / "err").open("wb") as err,
        refusing_port() as port,
        start(IN_WRITE, *args, f"tcp://127.0.0.1:{port}", stderr=err) as program,
    ):
        assert program.line() == "stuck"
        if number is not None:
            program.process.send_signal(number)
        assert program.process.wait(10 * LOADED) == 1
