"""Several attempts before a verdict, and what is done when it is bad."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from healthchecker._net.deadline import Cancel
from healthchecker._protocols.base import Prober
from healthchecker._protocols.registry import make_probers, parse_target
from healthchecker._run.attempts import probe_repeatedly
from healthchecker._values.options import make_options
from tests.servers.http import http_service, scripted
from tests.servers.peers import refusing_port
from tests.support import LOADED, full_pipe, poll
from tests.support.forms import Form, run

WAITING = "import signal; print(flush=True); signal.pause()"


def probers(*urls: str) -> list[Prober]:
    return make_probers([parse_target(url) for url in urls], make_options())


@pytest.mark.parametrize(
    ("statuses", "attempts", "code", "requests"),
    [
        ((500, 200), 3, 0, 2),
        ((500, 500, 200), 3, 0, 3),
        ((500, 500, 500, 200), 3, 1, 3),
        ((200, 500), 3, 0, 1),
        ((500, 200), 1, 1, 1),
    ],
)
def test_a_blip_is_no_outage(
    form: Form, statuses: tuple[int, ...], attempts: int, code: int, requests: int
) -> None:
    with scripted(*statuses) as service:
        args = [f"--attempts={attempts}", "--interval=20ms", service.url]
        assert run(form, args).code == code
        assert len(service.requested_at) == requests


def test_attempts_are_apart(form: Form) -> None:
    with scripted(500) as service:
        run(form, ["--attempts=3", "--interval=200ms", service.url])
    first, second, third = service.requested_at
    assert second - first >= 0.2
    assert third - second >= 0.2


def test_only_what_failed_is_asked_again() -> None:
    with scripted(200) as good, scripted(500, 200) as bad, Cancel() as cancel:
        results = probe_repeatedly(
            probers(good.url, bad.url),
            2.0,
            attempts=3,
            interval=0.01,
            any_is_enough=False,
            cancel=cancel,
        )
    assert [result.healthy for result in results] == [True, True]
    assert [len(good.requested_at), len(bad.requested_at)] == [1, 2]


def test_one_healthy_target_is_enough(form: Form) -> None:
    with scripted(500, 500, 200) as service, refusing_port() as closed:
        args = ["--any", "--attempts=3", "--interval=10ms", f"tcp://127.0.0.1:{closed}"]
        assert run(form, [*args, service.url]).code == 0
    assert len(service.requested_at) == 3


def test_a_signal_ends_the_attempts(form: Form) -> None:
    with scripted(500) as service:
        command = [*form.argv, "--attempts=9", "--interval=60s", service.url]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            poll(lambda: service.requested_at, timeout=20, what="the first attempt")
            process.send_signal(signal.SIGTERM)
            assert process.wait(5 * LOADED) == 1
    assert len(service.requested_at) == 1


@contextmanager
def waiting_process() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that waits for a signal."""
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@contextmanager
def unread_checker(command: Sequence[str], unread: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a check whose output is not read, and end it in any case."""
    with subprocess.Popen(command, stdout=unread, stderr=unread) as checker:
        try:
            yield checker
        finally:
            checker.kill()


@pytest.mark.parametrize("word", ["TERM", "SIGTERM", "term", "15"])
def test_the_process_gets_the_signal(form: Form, word: str) -> None:
    with refusing_port() as closed, http_service() as port, waiting_process() as process:
        args = [f"--on-unhealthy={word}:{process.pid}", "--attempts=2", "--interval=10ms"]
        assert run(form, [*args, f"--port={port}", "--path=/health"]).code == 0
        assert process.poll() is None
        outcome = run(form, [*args, f"--port={closed}"])
        assert outcome.code == 1
        assert ": connection_refused: " in outcome.stderr
        assert process.wait(5 * LOADED) == -signal.SIGTERM


@pytest.mark.parametrize("output", ["text", "json"])
def test_the_signal_is_sent_while_nobody_reads_the_output(form: Form, output: str) -> None:
    with refusing_port() as closed, waiting_process() as process, full_pipe() as unread:
        args = [f"--on-unhealthy=TERM:{process.pid}", f"--port={closed}", f"--output={output}"]
        # With so much time, it would not give up writing before the test has seen the signal.
        command = [*form.argv, "--timeout=1h", *args]
        with unread_checker(command, unread) as checker:
            assert process.wait(20 * LOADED) == -signal.SIGTERM
            assert checker.poll() is None
            checker.terminate()
            assert checker.wait(5 * LOADED) == 1


def test_the_signal_is_sent_when_the_check_as_a_whole_overruns(form: Form, tmp_path: Path) -> None:
    pipe = tmp_path / "cacert"
    os.mkfifo(pipe)  # opening it waits for a writer
    with waiting_process() as process, full_pipe() as unread:
        args = [f"--on-unhealthy=TERM:{process.pid}", "--timeout=300ms", f"--cacert={pipe}"]
        command = [*form.argv, *args, "https://localhost/"]
        with unread_checker(command, unread):
            assert process.wait(20 * LOADED) == -signal.SIGTERM
