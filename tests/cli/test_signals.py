"""`--on-unhealthy`: which signal, and what becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from healthchecker._cli.signals import send, signal_name, signal_number
from tests.servers.peers import SilentPeer, refusing_port
from tests.support import LOADED, require
from tests.support.forms import Form, run
from tests.support.running import start


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("TERM", 15),
        ("SIGTERM", 15),
        ("term", 15),
        ("15", 15),
        ("SIGRTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmin+3", 37),
        ("37", 37),
        ("RTMAX", 64),
        ("RTMAX-1", 63),
        ("64", 64),
        ("0", None),
        ("65", None),
        ("999999", None),
        ("RTMIN-1", None),
        ("RTMIN+31", None),
        ("RTMAX+1", None),
        ("RTMIN+", None),
        ("FIRE", None),
        ("", None),
        ("\u0661", None),
    ],
)
def test_signal_number(word: str, number: int | None) -> None:
    assert signal_number(word) == number


def test_signal_name() -> None:
    assert [signal_name(number) for number in (9, 15, 32, 34, 37)] == [
        *("SIGKILL", "SIGTERM", "signal 32", "SIGRTMIN", "SIGRTMIN+3"),
    ]


_WAIT = """
import signal, sys
{setup}
print(flush=True)
signal.pause()
"""


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that waits for a signal, after the statements of the parameter."""
    program = _WAIT.format(setup=getattr(request, "param", ""))
    argv = [sys.executable, "-ISc", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("word", ["SIGRTMIN+3", "37", "KILL"])
@pytest.mark.parametrize("attempts", [1, 2])
def test_a_signal_that_is_sent(
    form: Form, process: subprocess.Popen[bytes], word: str, attempts: int
) -> None:
    with refusing_port() as port:
        args = [f"--on-unhealthy={word}:{process.pid}", f"--port={port}", "--interval=10ms"]
        outcome = run(form, [*args, f"--attempts={attempts}"])
    number = 9 if word == "KILL" else 37
    assert process.wait(5 * LOADED) == -number
    times = "1 failed attempt" if attempts == 1 else "2 failed attempts"
    message = f"healthchecker: sent {signal_name(number)} to process {process.pid} after {times}"
    assert outcome.stderr.splitlines()[1:] == [message]


@pytest.mark.parametrize(
    "process", ["signal.signal(signal.SIGTERM, signal.SIG_IGN)"], indirect=True
)
def test_a_process_that_ignores_the_signal(process: subprocess.Popen[bytes]) -> None:
    message = send(signal.SIGTERM, process.pid, 3)
    start = f"sent SIGTERM to process {process.pid} after 3 failed attempts"
    assert message == f"{start}, which ignores that signal"


def test_itself() -> None:
    pid = os.getpid()
    message = f"SIGTERM was not sent: process {pid} is healthchecker itself"
    assert send(signal.SIGTERM, pid, 1) == message


_AS_INIT = """
import os, signal, subprocess, sys
{setup}
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
sys.stdout.write(done.stderr)
"""
NO_HANDLER = (
    "sent SIGTERM to process 1 after 1 failed attempt, which does not receive it: it has no handler"
    " for that signal (use an init, such as docker run --init)"
)


@pytest.mark.parametrize(
    ("word", "setup", "message"),
    [
        ("TERM", "", NO_HANDLER),
        (
            "TERM",
            "signal.signal(signal.SIGTERM, lambda *_: None)",
            "sent SIGTERM to process 1 after 1 failed attempt",
        ),
        (
            "KILL",
            "",
            "SIGKILL was not sent: the kernel never delivers it to process 1; use TERM:1",
        ),
    ],
)
def test_process_1(form: Form, word: str, setup: str, message: str) -> None:
    isolated = ["unshare", "--user", "--map-root-user", "--pid", "--mount-proc", "--fork"]
    tried = subprocess.run([*isolated, "true"], capture_output=True, check=False)
    require(tried.returncode == 0, "no process namespace can be made: needs unshare and root")
    init = [sys.executable, "-ISc", _AS_INIT.format(setup=setup)]
    check = [*form.argv, "--port=1", f"--on-unhealthy={word}:1"]
    done = subprocess.run(
        [*isolated, *init, *check], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[1:] == [f"healthchecker: {message}"]


@pytest.mark.usefixtures("full_speed")
def test_none_is_sent_when_the_check_is_interrupted(
    form: Form, process: subprocess.Popen[bytes]
) -> None:
    with SilentPeer() as silent:
        args: Sequence[str] = ["--timeout=60s", f"--on-unhealthy=TERM:{process.pid}", silent.url()]
        with start(form, *args) as program, silent.accept() as connection:
            assert connection.hear()
            line = r"unhealthy: \S+: interrupted: .*\n"
            assert program.stop(signal.SIGINT, stderr=line) == 1
    assert process.poll() is None
