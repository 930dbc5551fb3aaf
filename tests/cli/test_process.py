"""The program as a process: it ends in time, with 0 or 1, whatever happens around it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthchecker._cli.main import main
from tests.servers.http import http_service
from tests.servers.peers import SilentPeer
from tests.support import LOADED, ROOT, open_files
from tests.support.forms import PYTHON, Form, run

# Coverage is saved at the end of a process, and may wait there for what a signal has interrupted.
pytestmark = pytest.mark.usefixtures("full_speed")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http_service() as port:
        yield port


@pytest.fixture
def silent() -> Iterator[SilentPeer]:
    with SilentPeer() as peer:
        yield peer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(form: Form, silent: SilentPeer, number: int) -> None:
    target = silent.url()
    with subprocess.Popen([*form.argv, "--timeout", "60s", target]) as process, silent.accept():
        process.send_signal(number)
        assert process.wait(5 * LOADED) == 1


def test_an_ignored_sigpipe_and_a_closed_output_change_nothing(form: Form, port: int) -> None:
    read, write = os.pipe()
    os.close(read)
    for args, code in ((["--port", str(port), "-v"], 0), (["--port", "1", "-v"], 1)):
        done = subprocess.run(
            [*form.argv, *args], stdout=write, stderr=write, check=False, timeout=10 * LOADED
        )
        assert done.returncode == code
    done = subprocess.run(
        [*form.argv, "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
        timeout=10 * LOADED,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    os.close(write)


def shell(form: Form, command: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's command, in which "$@" is the program with its arguments."""
    return subprocess.run(
        ["/bin/sh", "-c", command, "sh", *form.argv, *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=20 * form.slowness,
    )


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_standard_streams_change_no_verdict(form: Form, port: int, closed: str) -> None:
    for args, code in (
        (["-v", f"--port={port}"], 0),
        (["-v", "--output=json", f"--port={port}", "--timeout=10s"], 0),
        (["-v", f"tcp://127.0.0.1:{port}", f"tcp://localhost:{port}"], 0),
        (["wait", "-v", "--deadline=10s", f"--port={port}"], 0),
        (["--port=1"], 1),
        (["--bad"], 1),
        (["--version"], 0),
    ):
        done = shell(form, f'"$@" {closed}', *args)
        assert done.returncode == code, (args, done)
        assert ">&-" in closed or code or args[0] == "-v" or done.stdout or args[0] == "wait"


@pytest.mark.parametrize("closed", CLOSED)
def test_what_replaces_wait_finds_the_streams_closed_again(
    form: Form, port: int, closed: str, tmp_path: Path
) -> None:
    report = 'for fd in 0 1 2; do [ -e /proc/$$/fd/$fd ] || echo $fd >>"$0"; done'
    ours, shells = tmp_path / "ours", tmp_path / "shells"
    wait = ["wait", "-v", f"--port={port}", "--", "sh", "-c", report]
    assert shell(form, f'"$@" {closed}', *wait, str(ours)).returncode == 0
    skip = f"shift {len(form.argv) + wait.index('sh')}"
    assert shell(form, f'{skip}; "$@" {closed}', *wait, str(shells)).returncode == 0
    assert ours.read_text() == shells.read_text() != ""


FULL = "healthchecker: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["--version"], ["list", "-h"], ["licenses"]])
def test_a_full_output_is_named(form: Form, args: list[str]) -> None:
    done = shell(form, '"$@" >/dev/full', *args)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", FULL)
    done = shell(form, '"$@" >/dev/full 2>&1', *args)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_full_output_changes_no_verdict(form: Form, port: int) -> None:
    for output in ("text", "json"):
        args = ["-v"] if output == "text" else ["--output=json"]
        done = shell(form, '"$@" >/dev/full', *args, f"--port={port}")
        assert (done.returncode, done.stderr) == (0, "")
        assert shell(form, '"$@" >/dev/full 2>&1', *args, "--port=1").returncode == 1


SECCOMP = ("/usr/bin/python3", "-IS", str(ROOT / "tests/programs/seccomp.py"))
DENIED = ["setitimer", "ioctl", "getrandom", "poll", "setitimer,ioctl,getrandom,poll"]


@pytest.mark.parametrize("code", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("names", DENIED)
def test_a_filter_of_system_calls(form: Form, port: int, names: str, code: str) -> None:
    prefix = (*SECCOMP, code, names)
    for args, exit_code, out, err in (
        (["-v", f"--port={port}"], 0, r"healthy: .*\n", ""),
        (
            ["-v", f"http://localhost:{port}/health", f"tcp://localhost:{port}"],
            0,
            "(healthy.*\n)*",
            "",
        ),
        (["--port=1"], 1, "", r"unhealthy: \S+: connection_refused: .*\n"),
        (["wait", "--deadline=300ms", "--port=1"], 1, "", r"unhealthy: \S+: connection_re.*\n"),
        (["--bad"], 1, "", r"healthchecker: usage_error: .*\n"),
        (["--version"], 0, "healthchecker, version .*\n.*\n", ""),
    ):
        outcome = run(form, args, prefix=prefix)
        assert outcome.code == exit_code, (args, outcome)
        assert re.fullmatch(out, outcome.stdout), outcome
        assert re.fullmatch(err, outcome.stderr), outcome


@pytest.mark.parametrize("code", ["ENOSYS", "EPERM"])
def test_a_limit_without_a_timer(form: Form, silent: SilentPeer, code: str) -> None:
    outcome = run(form, ["--timeout=300ms", silent.url()], prefix=(*SECCOMP, code, "setitimer"))
    assert outcome.code == 1
    assert re.fullmatch(
        r"unhealthy: \S+: timeout: timed out after 300 ms \(response\)\n", outcome.stderr
    )


def test_an_output_that_nobody_reads_does_not_hold_it(form: Form, port: int) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    done = subprocess.run(
        [*form.argv, "--port", str(port), "-v", "--timeout", "300ms"],
        stdout=write,
        check=False,
        timeout=10 * LOADED,
    )
    assert done.returncode == 1
    os.close(read)
    os.close(write)


def test_a_file_that_cannot_be_read_does_not_hold_it(
    form: Form, silent: SilentPeer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    target = silent.url("https")
    args = ["--cacert", str(tmp_path / "fifo"), "--timeout", "300ms", target]
    outcome = run(form, args, timeout=10)
    assert outcome.code == 1
    assert re.fullmatch(rf"unhealthy: {re.escape(target)}: timeout: .*\n", outcome.stderr)


@contextlib.contextmanager
def starved(pid: int) -> Iterator[None]:
    """Let a process run for a moment of every 30 ms only, as under a small CPU quota."""
    is_over = threading.Event()

    def stop_and_go() -> None:
        with contextlib.suppress(ProcessLookupError):
            while not is_over.is_set():
                os.kill(pid, signal.SIGSTOP)
                is_over.wait(0.03)
                os.kill(pid, signal.SIGCONT)
                is_over.wait(0.0001)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("args", [(), ("--output=json",), ("wait", "--deadline=60ms")])
def test_a_starved_process_says_why_it_fails(form: Form, args: tuple[str, ...]) -> None:
    for _ in range(5):
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            subprocess.Popen(
                [*form.argv, *args, "--timeout=60ms", f"--port={silent.getsockname()[1]}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process,
        ):
            assert process.stdout
            # On a busy machine its time may be over before it has connected.
            either = [silent.fileno(), process.stdout.fileno()]
            assert select.select(either, [], [], 20)[0]
            with starved(process.pid):
                printed, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "timeout" in printed
        assert printed.count("\n") == 1


_BLOCKED = (
    "import os, signal, sys;"
    "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32));"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def test_signals_that_are_blocked_at_the_start_still_end_it(
    form: Form, silent: SilentPeer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    prefix = (sys.executable, "-c", _BLOCKED)
    with SilentPeer() as peer:
        args = ["--cacert", str(tmp_path / "fifo"), "--timeout=300ms", peer.url("https")]
        outcome = run(form, args, timeout=10, prefix=prefix)
    assert outcome.code == 1
    assert ": timeout: " in outcome.stderr
    target = silent.url()
    argv = [*prefix, *form.argv, "--timeout=60s", target]
    with subprocess.Popen(argv) as process, silent.accept():
        process.terminate()
        assert process.wait(5 * LOADED) == 1


_FEW_FILES = """
import resource, sys
from healthchecker.__main__ import run
files = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
run()
"""


@pytest.mark.parametrize("args", [["--port={port}"], ["wait", "--deadline=1s", "--port={port}"]])
def test_where_no_descriptor_is_left_it_says_so(form: Form, port: int, args: list[str]) -> None:
    args = [arg.format(port=port) for arg in args]
    # PyInstaller's bootloader and Python's own start need some before we can say anything.
    for files in range({"cold": 4, "guarded": 7}.get(form.name, 3), 9):
        if form == PYTHON:  # its start needs some
            limited = dataclasses.replace(
                PYTHON, argv=(sys.executable, "-c", _FEW_FILES, str(files))
            )
            outcome = run(limited, args)
        else:
            limit = ("/usr/bin/prlimit", f"--nofile={files}:{files}")
            outcome = run(form, args, prefix=limit)
        printed = (
            r"\w+: (http://\S+: )?out_of_resources: (connect: \S+ )?out of file descriptors.*\n"
        )
        assert re.fullmatch(printed if outcome.code else "", outcome.stderr), (files, outcome)
        assert outcome.code == 1 or files > 5
    assert outcome.code == 0


def test_a_mistake_that_nobody_reads_does_not_hold_it(form: Form) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    done = subprocess.run([*form.argv, "--bad"], stderr=write, check=False, timeout=10 * LOADED)
    assert done.returncode == 1
    os.close(read)
    os.close(write)


def test_an_output_that_does_not_block_loses_nothing(form: Form) -> None:
    """Node's pipes, for one, are such: the part that does not fit must be written later."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    args = [*form.argv, "--port=1", "--timeout=10s"]
    with subprocess.Popen(args, stderr=write) as process:
        os.close(write)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        with os.fdopen(read, "rb") as reader:
            printed = reader.read().lstrip(b"x")
        assert process.wait(10 * LOADED) == 1
    assert re.fullmatch(rb"unhealthy: \S+: connection_refused: .*\n", printed)


_HANG = """
import ctypes, os
from functools import partial
from operator import call
from healthchecker._cli.commands import check
from healthchecker.__main__ import run

def hang(*_):
    reading, _ = os.pipe()
    # Both in C: the alarm ends the first, and no byte code comes where it would be heard.
    tuple(map(call, [partial(ctypes.CDLL(None).sleep, 10), partial(os.read, reading, 1)]))

check.make_probers = hang
run()
"""


def test_an_alarm_just_before_a_call_that_hangs_comes_again() -> None:
    hanging = dataclasses.replace(PYTHON, argv=(sys.executable, "-c", _HANG))
    outcome = run(hanging, ["--timeout", "300ms", "http://127.0.0.1:1/"], timeout=10)
    assert outcome.code == 1
    assert ": timeout: timed out after 300 ms" in outcome.stderr


COMMANDS = [
    ["--port=1"],
    ["http://127.0.0.1:1/", "http://127.0.0.1:1/?again"],
    ["list", "grpc://127.0.0.1:1"],
    ["wait", "--port=1", "--deadline=50ms"],
    ["--cacert=/nonexistent", "https://127.0.0.1:1/"],
]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("args", COMMANDS)
def test_inside_another_program_it_leaves_nothing(args: list[str]) -> None:
    with socket.socket() as others:
        others.setblocking(False)
        before = open_files()
        signal.set_wakeup_fd(others.fileno())
        try:
            assert main(args) == 1
        finally:
            left = signal.set_wakeup_fd(-1)
        assert left == others.fileno()
        assert open_files() <= before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("args", [["--timeout=30s"], ["watch", "--initial-delay=30s"]])
def test_inside_another_program_a_signal_for_that_ends_it(
    silent: SilentPeer, args: list[str]
) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    is_over = threading.Event()

    def send_signals() -> None:
        """Again and again, as the first may come before it is waited for."""
        while not is_over.wait(0.2):
            os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send_signals)
    sender.start()
    try:
        assert main([*args, silent.url()]) == 1
    finally:
        is_over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("args", COMMANDS)
def test_on_another_thread_it_leaves_signals_alone(args: list[str]) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    files, handlers = open_files(), [signal.getsignal(number) for number in numbers]
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(args)))
    thread.start()
    thread.join(10 * LOADED)
    assert codes == [1]
    assert open_files() <= files
    assert [signal.getsignal(number) for number in numbers] == handlers


def test_fifty_targets_that_take_a_tenth_of_a_second_each(form: Form, port: int) -> None:
    targets = [f"http://127.0.0.1:{port}/delay?{n}" for n in range(50)]
    # One after the other, they would take 5 s.
    outcome = run(form, ["--output", "json", "--timeout=4s", *targets])
    assert outcome.code == 0
    printed = json.loads(outcome.stdout)
    assert len(printed["checks"]) + printed.get("omitted", 0) == 50
    assert len(outcome.stdout) < 4096


def test_many_targets_need_little_memory(form: Form, port: int) -> None:
    targets = [f"http://127.0.0.1:{port}/delay?{n}" for n in range(180)]
    outcome = run(form.started, ["--timeout=20s", *targets], timeout=40)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.max_rss_kib <= form.max_rss_kib


def test_no_thread_and_no_process_for_one_target(form: Form, silent: SilentPeer) -> None:
    target = silent.url()
    with subprocess.Popen([*form.argv, "--timeout", "60s", target]) as process:
        connection = silent.accept()
        connection.hear()
        proc = Path("/proc") / str(process.pid)
        tasks = list((proc / "task").iterdir())
        children = (tasks[0] / "children").read_text()
        process.terminate()
        connection.sock.close()
    assert len(tasks) == 1
    assert children == ""


@pytest.mark.timing
def test_it_waits_no_longer_than_it_is_told_to(form: Form, silent: SilentPeer) -> None:
    target = f"tcp://{silent.address}"
    many = [silent.url(path=f"/{n}") for n in range(10)]
    assert run(form, [target]).code == 0
    outcome = run(form, ["--timeout", "200ms", "--output", "json", *many])
    assert outcome.code == 1
    checks = json.loads(outcome.stdout)["checks"]
    assert {check["reason"] for check in checks} == {"timeout"}
    assert all(check["elapsed_ms"] < 350 for check in checks)
