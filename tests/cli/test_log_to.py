"""`--log-to`: failure lines also go to a file, which changes nothing else."""

from __future__ import annotations

import os
import pty
import signal
import socket
from pathlib import Path

import pytest

from tests.servers.http import http_service
from tests.servers.peers import SilentPeer, refusing_port
from tests.support import full_pipe
from tests.support.forms import Form, run
from tests.support.running import start


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "log"
    file.write_text("before\n")
    return file


@pytest.mark.parametrize("options", [[], ["-q"], ["-v"], ["--output=json"]])
@pytest.mark.parametrize("command", [["check"], ["wait", "--deadline=200ms"]])
def test_failures_are_appended(
    form: Form, log: Path, command: list[str], options: list[str]
) -> None:
    with refusing_port() as port, http_service() as up:
        url, good = f"tcp://127.0.0.1:{port}", f"http://127.0.0.1:{up}/health"
        outcome = run(form, [*command, *options, f"--log-to={log}", url, good])
    line = f"unhealthy: {url}: connection_refused: connect: 127.0.0.1:{port}: Connection refused\n"
    assert outcome.code == 1
    assert log.read_text() == f"before\n{line}"
    assert "append" not in outcome.stderr


def test_a_list_is_logged(form: Form, log: Path) -> None:
    with refusing_port() as port:
        for options in ([], ["--output=json"], ["-q"]):
            run(form, ["list", *options, f"--log-to={log}", f"grpc://127.0.0.1:{port}"])
    assert [line.split(": ")[2:3] for line in log.read_text().splitlines()[1:]] == [
        ["connection_refused"]
    ] * 3


def test_health_is_not_logged(form: Form, log: Path) -> None:
    with http_service() as port:
        assert run(form, ["-v", f"--log-to={log}", f"--port={port}"]).code == 0
    assert log.read_text() == "before\n"


@pytest.mark.usefixtures("full_speed")
def test_an_interruption_is_logged(form: Form, log: Path) -> None:
    with SilentPeer() as silent:
        args = ["--timeout=60s", f"--log-to={log}", silent.url()]
        with start(form, *args) as program, silent.accept() as connection:
            assert connection.hear()
            assert program.stop(signal.SIGTERM, stderr=".*\n") == 1
    assert log.read_text().endswith(": interrupted: response: stopped by SIGTERM\n")


def test_the_standard_error_of_another_process(form: Form) -> None:
    """As that of process 1, which is the container's log: here a pipe."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as log:
        outcome = run(form, ["--port=1", f"--log-to=/proc/{os.getpid()}/fd/{writing}"])
        os.close(writing)
        assert log.read() == outcome.stderr != ""


def test_a_terminal_is_written_and_does_not_become_ours(form: Form) -> None:
    controller, terminal = pty.openpty()
    outcome = run(form, ["--port=1", f"--log-to={os.ttyname(terminal)}"])
    assert os.read(controller, 4096).decode() == outcome.stderr.replace("\n", "\r\n")
    os.close(terminal)
    os.close(controller)


def test_a_log_that_cannot_be_written(form: Form, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as bound, full_pipe() as full:
        bound.bind(str(tmp_path / "socket"))
        for path, problem in (
            (tmp_path / "missing", "No such file or directory"),
            (tmp_path / "é\x1b", "No such file or directory"),
            (tmp_path / "link", "No such file or directory"),
            (tmp_path / "fifo", "No such device or address"),  # without a reader
            (tmp_path / "socket", "No such device or address"),
            (tmp_path, "Is a directory"),
            (Path("/dev/full"), "No space left on device"),
            (Path(f"/proc/{os.getpid()}/fd/{full}"), "it would block"),
        ):
            outcome = run(form, ["--port=1", f"--log-to={path}"])
            failure, message = outcome.stderr.splitlines()
            assert outcome.code == 1
            assert ": connection_refused: " in failure
            named = f"{str(path)!a} of --log-to"
            assert message == f"healthchecker: cannot append to {named}: {problem}"
            assert run(form, ["--port=1", "-q", f"--log-to={path}"]).stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "link", "socket"]
