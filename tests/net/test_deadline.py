"""Waits that end: at a deadline, or by a `Cancel` from any thread and any signal handler."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trustme

from healthchecker._net.deadline import Cancel, Cancelled
from tests.servers.peers import Peer, SilentPeer, respond
from tests.servers.tls import server_context
from tests.support import ROOT, open_files
from tests.support.forms import Form, run
from tests.tables.hostile_http import HEALTHY

FOREVER = 30.0


def test_a_cancel_ends_waits_immediately_and_permanently() -> None:
    with Cancel() as cancel:
        cancel.wait(0.01)
        cancel.set()
        for _ in range(2):
            with pytest.raises(Cancelled):
                cancel.wait(FOREVER)


def test_a_cancel_is_set_with_its_parent_but_not_vice_versa() -> None:
    with Cancel() as first, Cancel(first) as second, Cancel(second) as third:
        second.set()
        first.wait(0.01)
        for cancel in (second, third):
            with pytest.raises(Cancelled):
                cancel.wait(FOREVER)
        first.set()
        with pytest.raises(Cancelled):
            first.wait(FOREVER)
    with Cancel() as first, Cancel(first) as second, Cancel(second) as third:
        first.set()
        with pytest.raises(Cancelled):
            third.wait(FOREVER)


def test_a_cancel_has_descriptors_only_from_its_first_wait_until_it_is_closed() -> None:
    before = open_files()
    cancel = Cancel(Cancel())
    cancel.set()
    assert open_files() <= before
    for _ in range(2):
        with cancel, pytest.raises(Cancelled):
            cancel.wait(FOREVER)
    cancel.chain[1].close()
    assert open_files() <= before


def test_a_closed_cancel_can_wait_again() -> None:
    cancel = Cancel()
    with cancel:
        cancel.wait(0)
    cancel.set()
    with cancel, pytest.raises(Cancelled):
        cancel.wait(FOREVER)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("with_parent", [False, True])
@pytest.mark.parametrize("which", ["own", "parent"])
@pytest.mark.parametrize("before", [False, True])
def test_a_wait_needs_no_descriptor_of_its_own(which: str, before: bool, with_parent: bool) -> None:
    parent = Cancel()
    cancel = Cancel(parent)
    if with_parent:
        parent.wait(0)  # which opens its pipe
    with no_descriptor_left(), parent, cancel:
        start = time.monotonic()
        cancel.wait(0.05)
        assert time.monotonic() - start >= 0.05
        end = cancel.set if which == "own" else parent.set
        timer = threading.Timer(0 if before else 0.05, end)
        timer.start()
        if before:
            timer.join()
        with pytest.raises(Cancelled):
            cancel.wait(FOREVER)
        timer.join()


def test_a_full_pipe_is_no_obstacle_to_setting() -> None:
    with Cancel() as cancel:
        with suppress(BlockingIOError):
            while os.write(cancel.write_end, b"x" * 4096):  # as a flood of signals would
                pass
        cancel.set()
        with pytest.raises(Cancelled):
            cancel.wait(FOREVER)


@contextmanager
def at_opcode(number: int, code: Any, handler: Any) -> Iterator[list[int]]:
    """Call `handler` before the given opcode of `code`, as the interpreter calls a signal's."""
    passed = [0]

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code is not code:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            passed[0] += 1
            if passed[0] == number:
                handler()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield passed
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("method", ["_open", "close", "set"])
def test_a_signal_handler_may_set_it_at_any_point(method: str) -> None:
    code = getattr(Cancel, method).__code__
    for number in range(1, 1000):
        cancel = Cancel()
        if method == "close":
            cancel.wait(0)
        with at_opcode(number, code, cancel.set) as passed:
            getattr(cancel, method)()
        if passed[0] < number:
            break
        with cancel, pytest.raises(Cancelled):
            cancel.wait(FOREVER)
    assert 10 < number < 999


_WITH_CLOSED_STREAMS = """
import os, sys
from healthchecker._net.deadline import Cancel

report = os.dup(1)
for fd in map(int, sys.argv[1:]):
    os.close(fd)
before = os.listdir("/proc/self/fd")
with Cancel() as cancel:
    cancel.wait(0)
    ends = cancel.read_ends() + [cancel.write_end]
left = sorted(set(os.listdir("/proc/self/fd")) - set(before))
os.write(report, f"{min(ends)} {left}".encode())
os._exit(0)
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1", "0 1 2", "1 2"])
def test_a_cancel_leaves_the_standard_streams_alone(closed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITH_CLOSED_STREAMS, *closed.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    lowest, left = done.stdout.split(" ", 1)
    assert (int(lowest) > 2, left) == (True, "[]")


SECCOMP = ("/usr/bin/python3", "-IS", str(ROOT / "tests/programs/seccomp.py"))


@pytest.mark.parametrize("code", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("names", ["poll", "ioctl", "getrandom", "poll,ioctl,getrandom"])
def test_checks_go_on_under_a_filter_of_system_calls(
    form: Form, names: str, code: str, tmp_path: Path
) -> None:
    prefix = (*SECCOMP, code, names)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = server_context(authority, "localhost")
    with Peer(respond(HEALTHY), context=context) as peer, SilentPeer() as silent:
        args = ["--timeout=5s", f"--cacert={tmp_path / 'ca.pem'}", "-v"]
        assert run(form, [peer.url("tcp")], prefix=prefix).code == 0
        several = [peer.url("tcp"), f"https://localhost:{peer.port}/"]
        outcome = run(form, [*args, *several], prefix=prefix)
        if "getrandom" in names and outcome.code:  # some OpenSSLs know no other source
            line = r"unhealthy: https.* tls_failure: tls: OpenSSL cannot start: .* random .*\n"
            assert re.fullmatch(line, outcome.stderr)
        else:
            assert outcome.code == 0
        outcome = run(form, ["--timeout=200ms", silent.url()], prefix=prefix)
    assert outcome.code == 1
    assert re.fullmatch(r"unhealthy: \S+: timeout: timed out after 200 ms .*\n", outcome.stderr)
    # A name that only a name server could know, and there is none under this name.
    outcome = run(form, ["--timeout=500ms", "tcp://no-such-host.invalid:1"], prefix=prefix)
    assert re.fullmatch(r"unhealthy: \S+: (dns_failure|timeout): .*\n", outcome.stderr)


@pytest.mark.parametrize("code", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("command", ["check", "wait", "watch"])
def test_a_filter_that_denies_every_wait_is_named(form: Form, code: str, command: str) -> None:
    with SilentPeer() as silent:
        prefix = (*SECCOMP, code, "poll,select")
        outcome = run(form, [command, silent.url()], prefix=prefix)
    assert outcome.code == 1
    line = r"\S+: (\S+: )?connection_failed: ((connect|response): )?the system denies poll: .*\n"
    assert re.fullmatch(line, outcome.stderr)
