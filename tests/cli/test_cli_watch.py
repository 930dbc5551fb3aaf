"""The commands `watch` and `wait`, as processes of every form of the program."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2

from healthchecker import CheckResult, HealthServer, Reason
from healthchecker._cli.commands.wait import down
from healthchecker._protocols.registry import parse_target
from healthchecker._values.options import CheckOptions
from healthchecker._watch.follow import follow
from healthchecker._watch.rule import WatchOptions
from tests.servers.daemons import free_port
from tests.servers.grpc import grpc_server
from tests.servers.http import http_service
from tests.servers.peers import SilentPeer, refusing_port
from tests.support import LOADED, full_pipe, poll
from tests.support.forms import PYTHON, SAVED, Form, require_form, run, without_variables
from tests.support.running import Tty, start

# Coverage is saved at the end of a process, and may wait there for what a signal has interrupted.
pytestmark = pytest.mark.usefixtures("full_speed")

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
# Two probes must fail before a state changes: a server may be scheduled late by twice this.
QUICK = ("--initial-delay=0", "--interval=500ms", "--timeout=500ms")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LATE_SIGNAL = dataclasses.replace(PYTHON, argv=(sys.executable, "-m", "tests.programs.late_signal"))


@pytest.fixture
def server() -> Iterator[HealthServer]:
    with HealthServer(0, host="127.0.0.1") as server:
        yield server


def url(server: HealthServer) -> str:
    return f"http://127.0.0.1:{server.port}/healthz"


# watch


def test_watch_prints_each_change_and_nothing_else(form: Form, server: HealthServer) -> None:
    server.ready()
    with start(form, "watch", *QUICK, url(server)) as program:
        assert re.fullmatch(rf"{TIME} healthy: \S+: HTTP status 200 \(\S+ ms\)", program.line())
        server.not_ready()
        assert re.fullmatch(
            rf"{TIME} unhealthy: \S+: unexpected_status: HTTP status 503, expected 200",
            program.line(),
        )
        server.ready()
        assert " healthy: " in program.line()
        assert program.stop() == 0


def test_watch_exits_by_the_last_state(form: Form, server: HealthServer) -> None:
    with start(form, "watch", *QUICK, "--failure-threshold=1", url(server)) as program:
        assert " unhealthy: " in program.line()
        assert program.stop(signal.SIGINT) == 1


def test_watch_json(form: Form, server: HealthServer) -> None:
    server.ready()
    with start(form, "watch", *QUICK, "--output=json", url(server)) as program:
        first = json.loads(program.line())
        assert re.fullmatch(TIME, first.pop("time"))
        assert first.pop("check").keys() == {
            *("target", "healthy", "reason", "detail", "status", "elapsed_ms", "phases_ms")
        }
        assert first == {"healthy": True, "changed": True}
        server.not_ready()
        second = json.loads(program.line())
        assert (second["healthy"], second["check"]["reason"]) == (False, "unexpected_status")
        assert program.stop() == 1


def test_watch_verbose_shows_every_probe(form: Form, server: HealthServer) -> None:
    server.ready()
    with start(form, "watch", *QUICK, "-v", "--failure-threshold=3", url(server)) as program:

        def words_until(last: str) -> list[str]:
            words = [""]
            while words[-1] != last:
                words.append(re.sub(rf"{TIME} |: .*", "", program.line()))
            return words[1:]

        # A busy machine may make any single probe fail.
        words = words_until("probe healthy")
        assert [word for word in words if word != "probe unhealthy"] == ["healthy", "probe healthy"]
        server.not_ready()
        words = words_until("unhealthy")
        assert words[-3:] == ["probe unhealthy", "probe unhealthy", "unhealthy"]
        assert set(words[:-3]) <= {"probe healthy", "probe unhealthy"}


def test_watch_verbose_json_knows_no_state_below_the_threshold(
    form: Form, server: HealthServer
) -> None:
    with start(form, "watch", *QUICK, "-v", "--output=json", url(server)) as program:
        first, second, third = (json.loads(program.line()) for _ in range(3))
    assert [one["healthy"] for one in (first, second, third)] == [None, False, False]
    assert [one["changed"] for one in (first, second, third)] == [False, True, False]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watch_stops_in_the_middle_of_a_probe(form: Form, number: int) -> None:
    with SilentPeer() as silent:
        args = ("--initial-delay=0", "--interval=1h", "--timeout=1h", silent.url())
        with start(form, "watch", *args) as program, silent.accept() as connection:
            assert connection.hear()
            assert program.stop(number) == 1


def test_watch_stops_in_the_middle_of_the_initial_delay(form: Form) -> None:
    with start(form, "watch", "--initial-delay=1h", "http://127.0.0.1:1/") as program:
        poll(lambda: _handles_sigterm(program.process.pid), timeout=15, what="it watches")
        assert program.stop() == 1


def _handles_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_watch_stops_in_the_middle_of_a_wait(form: Form, server: HealthServer) -> None:
    server.ready()
    with start(form, "watch", "--initial-delay=0", "--interval=1h", url(server)) as program:
        assert " healthy: " in program.line()
        assert program.stop() == 0


def test_watch_stops_while_nobody_reads_its_output(form: Form) -> None:
    with SilentPeer() as silent, full_pipe() as writing:
        args = ("--initial-delay=0", "--interval=1h", silent.url())
        with start(form, "watch", *args, stdout=writing) as program:
            with silent.accept() as connection:
                connection.read_request()
                connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                assert connection.hear() == b""  # the probe is over
            poll(program.waits_in_poll, timeout=15, what="it waits for a reader")
            assert program.stop() == 0


@pytest.mark.parametrize(
    "args",
    [
        pytest.param("watch --initial-delay=1h {silent}", id="the initial delay"),
        pytest.param("watch --initial-delay=0 --interval=1h --timeout=1h {silent}", id="a probe"),
        pytest.param("watch --initial-delay=0 --interval=1h {refused}", id="the interval"),
        pytest.param("watch --initial-delay=1h grpc://{silent_address}", id="before following"),
        pytest.param(
            "watch --initial-delay=0 --interval=1h --timeout=1h grpc://{silent_address}",
            id="following",
        ),
        pytest.param("watch --initial-delay=1h {silent} {refused}", id="a watch of several"),
        pytest.param(
            "watch --initial-delay=0 --interval=1h {refused} {refused}",
            id="the interval of several",
        ),
        pytest.param("check --timeout=24h {silent}", id="a check"),
        pytest.param("check --timeout=24h {silent} {silent} {silent}", id="a check of several"),
        pytest.param("list --timeout=24h grpc://{silent_address}", id="a list"),
        pytest.param("wait --timeout=24h --deadline=24h {silent}", id="a check of wait"),
        pytest.param("wait --interval=1h --deadline=24h {refused}", id="the interval of wait"),
    ],
)
def test_a_signal_just_before_a_wait_ends_it(args: str) -> None:
    with SilentPeer() as silent, refusing_port() as port:
        places = {
            "silent": silent.url(),
            "silent_address": silent.address,
            "refused": f"tcp://127.0.0.1:{port}",
        }
        outcome = run(LATE_SIGNAL, args.format(**places).split())
    assert outcome.code == 1
    # Of several, one may just be connecting.
    ends = r"interrupted: (connect|response): stopped by SIGTERM|connection_refused: .*[^)]"
    line = rf"unhealthy: \S+: ({ends})\n"
    count = 0 if args.startswith("watch") else args.count("{")
    assert re.fullmatch(f"({line}){{{count}}}", outcome.stderr)


def test_a_signal_just_before_the_wait_for_a_reader_ends_it() -> None:
    """The output is not read, so that it waits at its first word; the exit code shows it."""
    with http_service() as port, full_pipe() as writing:
        args = ("--initial-delay=0", f"--port={port}")
        with start(LATE_SIGNAL, "watch", *args, stdout=writing) as program:
            assert program.process.wait(15 * LOADED) == 0


@pytest.mark.parametrize("output", ["text", "json"])
def test_watch_ends_quietly_when_its_output_is_closed(
    form: Form, server: HealthServer, output: str
) -> None:
    server.ready()
    with start(form, "watch", *QUICK, "--output", output, url(server)) as program:
        assert "healthy" in program.line()
        # No change follows that would have to be written.
        assert program.stop_reading() == (1, b"")


@contextmanager
def counting_server() -> Iterator[tuple[str, list[str]]]:
    """Start a healthy server; yield its URL and the list of the paths requested so far."""
    requested: list[str] = []
    server = HealthServer(0, host="127.0.0.1")
    inner = server.app

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        requested.append(scope["path"])
        await inner(scope, receive, send)

    server.app = counting
    with server:
        server.ready()
        yield url(server), requested


def test_watch_quiet_prints_nothing(form: Form) -> None:
    with (
        counting_server() as (target, requested),
        start(form, "watch", *QUICK, "-q", target) as program,
    ):
        poll(lambda: len(requested) > 3, timeout=15, what="some probes")
        assert program.stop() == 0
        assert program.process.stdout
        assert program.process.stdout.read() == b""


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("targets", [1, 2])
def test_watch_goes_on_with_closed_streams(form: Form, closed: str, targets: int) -> None:
    command = dataclasses.replace(
        form, argv=("/bin/sh", "-c", f'exec "$@" {closed}', "sh", *form.argv)
    )
    with counting_server() as (target, requested):
        # A busy machine may make any single probe fail.
        args = ("watch", "-v", *QUICK, "--failure-threshold=1000", *[target] * targets)
        with start(command, *args) as program:
            poll(lambda: len(requested) > 6, timeout=20, what="some probes")
            assert program.stop(stderr=".*") == 0


def test_watch_with_a_short_interval_has_a_short_timeout(form: Form) -> None:
    with SilentPeer() as silent:
        args = ("--initial-delay=0", "--interval=200ms", "--failure-threshold=1")
        with start(form, "watch", *args, silent.url()) as program:
            assert "timed out after 200 ms" in program.line()
            assert program.stop() == 1


@pytest.mark.parametrize(
    ("args", "env", "milliseconds"),
    [
        (("--interval=200ms",), {"HEALTHCHECKER_TIMEOUT": "10s"}, 200),
        (("--timeout=150ms",), {"HEALTHCHECKER_INTERVAL": "100ms"}, 150),
        ((), {"HEALTHCHECKER_INTERVAL": "200ms", "HEALTHCHECKER_TIMEOUT": "10s"}, 200),
    ],
)
def test_of_a_timeout_and_a_shorter_interval_a_default_gives_way(
    args: tuple[str, ...], env: dict[str, str], milliseconds: int
) -> None:
    with SilentPeer() as silent:
        args = ("watch", "--initial-delay=0", "--failure-threshold=1", *args, silent.url())
        with start(PYTHON, *args, env=env) as program:
            assert f"timed out after {milliseconds} ms" in program.line()
            assert program.stop() == 1


def test_watch_names_a_mistyped_variable_once(form: Form, server: HealthServer) -> None:
    args = ("watch", *QUICK, url(server))
    with start(form, *args, env={"HEALTHCHECKER_PROT": "1"}) as program:
        assert " unhealthy: " in program.line()
        server.ready()
        assert " healthy: " in program.line()
        note = "healthchecker: warning: ignoring unknown environment variable: HEALTHCHECKER_PROT\n"
        assert program.stop(stderr=note) == 0


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (
            ("--timeout=6s",),
            "--timeout: 6.0: longer than the interval (5 s)",
        ),
        (
            ("--failure-threshold=0",),
            "--failure-threshold: '0' is not a number from 1 to 1000000",
        ),
        (
            ("--interval=0",),
            "--interval: '0' is out of range (more than 0, at most 24h)",
        ),
        (("grpc://localhost:1", "--status=204"), "--status: "),
    ],
)
def test_watch_mistakes(args: tuple[str, ...], problem: str) -> None:
    outcome = run(PYTHON, ["watch", *args])
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(f"healthchecker: usage_error: {problem}")
    assert outcome.stderr.count("\n") == 1


# watch over gRPC


def test_watch_follows_a_grpc_service_without_polling(form: Form) -> None:
    servicer = health.HealthServicer()
    servicer.set("accounts", SERVING)
    with grpc_server(servicer) as port:
        target = f"grpc://127.0.0.1:{port}/accounts"
        # With an hour between probes, changes can only come from the server.
        with start(form, "watch", "--initial-delay=0", "--interval=1h", target) as program:
            assert " healthy: " in program.line()
            servicer.set("accounts", NOT_SERVING)
            assert re.search(r" unhealthy: \S+: not_serving: .*NOT_SERVING", program.line())
            servicer.set("accounts", SERVING)
            assert " healthy: " in program.line()
            assert program.stop() == 0


def test_watch_makes_a_grpc_call_again_when_it_breaks(form: Form) -> None:
    servicer = health.HealthServicer()
    servicer.set("", SERVING)
    with ExitStack() as first:
        port = free_port()
        first.enter_context(grpc_server(servicer, f"127.0.0.1:{port}"))
        args = ("--initial-delay=0", "--failure-threshold=1", f"grpc://127.0.0.1:{port}")
        with start(form, "watch", *args) as program:
            assert " healthy: " in program.line()
            first.close()
            assert " unhealthy: " in program.line()
            with grpc_server(servicer, f"127.0.0.1:{port}"):
                assert " healthy: " in program.line()
                assert program.stop() == 0


class _WithoutWatch(health.HealthServicer):
    """Knows Check only, like servers before Watch existed."""

    def Watch(self, _request: Any, context: grpc.ServicerContext, *_args: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no Watch here")


def test_watch_polls_a_grpc_server_without_watch(form: Form) -> None:
    servicer = _WithoutWatch()
    servicer.set("", SERVING)
    with (
        grpc_server(servicer) as port,
        start(form, "watch", *QUICK, f"grpc://127.0.0.1:{port}") as program,
    ):
        assert " healthy: " in program.line()
        servicer.set("", NOT_SERVING)
        assert " unhealthy: " in program.line()
        assert program.stop() == 1


class _Enough(Exception):  # noqa: N818 - ends the endless
    pass


def test_follow_backs_off_with_jitter_and_reports_through_the_threshold() -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 9:
            raise _Enough

    reports: list[bool | None] = []
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        target = parse_target(f"grpc://127.0.0.1:{bound.getsockname()[1]}")
        settings = WatchOptions(initial_delay=7, failure_threshold=3)
        observations = follow(target, CheckOptions(), settings, sleep=sleep)
        with pytest.raises(_Enough):
            reports.extend(one.report for one in observations)
    assert reports == [None, None, False, None, None, None, None, None]
    delay, *backoffs = slept
    assert delay == 7
    for seconds, middle in zip(backoffs, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert 0.8 * middle <= seconds <= 1.2 * middle
    assert len(set(backoffs)) == len(backoffs)


def test_follow_takes_the_servers_word_at_once_and_starts_its_back_off_again() -> None:
    slept: list[float] = []
    settings = WatchOptions(initial_delay=0, failure_threshold=5)
    servicer = health.HealthServicer()
    servicer.set("", NOT_SERVING)
    port = free_port()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            raise _Enough

    observations = follow(
        parse_target(f"grpc://127.0.0.1:{port}"), CheckOptions(), settings, sleep=sleep
    )
    assert next(observations).report is None
    assert next(observations).report is None
    with grpc_server(servicer, f"127.0.0.1:{port}"):
        assert next(observations).report is False
    assert next(observations).report is None  # the call broke with the server
    with pytest.raises(_Enough):
        next(observations)
    assert slept[3] <= 1.2


# wait


def test_wait_ends_as_soon_as_all_are_healthy(form: Form, server: HealthServer) -> None:
    server.ready()
    with HealthServer(0, host="127.0.0.1") as late:
        args = ("wait", "--interval=50ms", "--deadline=60s", url(server), url(late))
        with start(form, *args) as program:
            with pytest.raises(subprocess.TimeoutExpired):
                program.process.wait(1.0)
            late.ready()
            assert program.process.wait(5 * LOADED) == 0
            assert program.process.stdout
            assert program.process.stderr
            assert (program.process.stdout.read(), program.process.stderr.read()) == (b"", b"")


def test_wait_until_something_listens(form: Form) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        target = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with start(form, "wait", "-v", "--interval=50ms", target) as program:
            with pytest.raises(subprocess.TimeoutExpired):
                program.process.wait(0.5)
            listener.listen()
            assert re.fullmatch(r"healthy: \S+: connected \(\S+ ms\)", program.line())
            assert program.process.wait(5 * LOADED) == 0


@pytest.mark.timing
def test_wait_gives_up_at_its_deadline_with_the_last_reasons(
    form: Form, server: HealthServer
) -> None:
    with HealthServer(0, host="127.0.0.1") as ready, SilentPeer() as silent:
        ready.ready()
        outcome = run(
            form,
            [
                *("wait", "--deadline=1s", "--interval=100ms", "--timeout=300ms"),
                *(url(ready), url(server), silent.url()),
            ],
        )
    assert outcome.code == 1
    assert outcome.stdout == ""
    first, second = outcome.stderr.splitlines()
    assert re.search(r"unexpected_status: HTTP status 503", first)
    assert re.search(r"timeout: timed out after 300 ms \(response\)", second)
    assert 1.0 <= outcome.seconds < 4.0


def test_wait_json(form: Form, server: HealthServer) -> None:
    args = ["wait", "--output=json", "--deadline=2s", "--interval=100ms", url(server)]
    outcome = run(form, args)
    assert outcome.code == 1
    assert outcome.check["reason"] == "unexpected_status"
    server.ready()
    outcome = run(form, args)
    assert outcome.code == 0
    assert outcome.check["reason"] == "ok"


def test_wait_wants_all_healthy_at_the_same_time(form: Form, server: HealthServer) -> None:
    """One that was healthy once does not count when the other comes up."""
    with HealthServer(0, host="127.0.0.1") as other:
        server.ready()
        args = ("wait", "-v", "--interval=50ms", "--deadline=30s", url(server), url(other))
        with start(form, *args, stderr=subprocess.STDOUT) as program:
            assert f" healthy: {url(server)}: " in program.line()
            assert f" unhealthy: {url(other)}: " in program.line()
            server.not_ready()
            # One round may ask the one before this and the other after the next: await this.
            assert f" unhealthy: {url(server)}: " in program.line()
            other.ready()
            assert f" healthy: {url(other)}: " in program.line()
            with pytest.raises(subprocess.TimeoutExpired):
                program.process.wait(0.5)
            server.ready()
            assert program.process.wait(5 * LOADED) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_wait_stops_immediately(form: Form, number: int) -> None:
    with SilentPeer() as silent:
        args = ("--timeout=1h", "--deadline=1h", silent.url(), silent.url())
        with (
            start(form, "wait", *args) as program,
            silent.accept() as one,
            silent.accept() as other,
        ):
            assert one.hear()
            assert other.hear()
            name = signal.Signals(number).name
            line = rf"unhealthy: \S+: interrupted: \w+: stopped by {name}\n"
            assert program.stop(number, stderr=line * 2) == 1


def test_wait_tells_when_it_is_stopped_what_it_waited_for(form: Form, server: HealthServer) -> None:
    with HealthServer(0, host="127.0.0.1") as ready:
        ready.ready()
        args = ("-v", "--interval=20ms", "--deadline=1h", url(ready), url(server))
        with start(form, "wait", *args, stderr=subprocess.STDOUT) as program:
            assert (program.line().split()[1], program.line().split()[1]) == (
                "healthy:",
                "unhealthy:",
            )
            program.process.send_signal(signal.SIGINT)
            assert program.process.wait(5 * LOADED) == 1
            assert re.match(r"healthy: \S+: HTTP status 200", program.line())
            assert re.match(r"unhealthy: \S+: unexpected_status: HTTP status 503", program.line())


def test_wait_ends_at_a_signal_while_nobody_reads(form: Form) -> None:
    with SilentPeer() as silent, full_pipe() as writing:
        args = ("--timeout=1h", "--deadline=1h", silent.url())
        with (
            start(form, "wait", *args, stderr=writing) as program,
            silent.accept() as connection,
        ):
            assert connection.hear()
            program.process.send_signal(signal.SIGTERM)
            assert program.process.wait(5 * LOADED) == 1


def test_wait_verbose_prints_each_change(form: Form, server: HealthServer) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        target = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        args = ("-v", "--interval=20ms", target, url(server))
        with start(form, "wait", *args, stderr=subprocess.STDOUT) as program:
            lines = [program.line(), program.line()]
            listener.listen()
            lines.append(program.line())
            server.ready()
            lines += [program.line(), program.line(), program.line()]
            assert program.process.wait(5 * LOADED) == 0
    patterns = [
        rf"{TIME} unhealthy: tcp://\S+: connection_refused: .* \([\d.]+ ms\)",
        rf"{TIME} unhealthy: http://\S+: unexpected_status: .* \([\d.]+ ms\)",
        rf"{TIME} healthy: tcp://\S+: connected .*",
        rf"{TIME} healthy: http://\S+: HTTP status 200 .*",
        r"healthy: tcp://\S+: connected .*",
        r"healthy: http://\S+: HTTP status 200 .*",
    ]
    for pattern, line in zip(patterns, lines, strict=True):
        assert re.fullmatch(pattern, line)


XTERM = {"TERM": "xterm", "NO_COLOR": ""}


def test_wait_shows_a_row_per_target_on_a_terminal(form: Form, server: HealthServer) -> None:
    with HealthServer(0, host="127.0.0.1") as ready, Tty(120) as tty:
        ready.ready()
        args = ("wait", "--interval=50ms", url(ready), url(server))
        with start(form, *args, stderr=tty.terminal, env=XTERM) as program:
            tty.shows(
                r"\d+ s left, 1 of 2 targets not healthy yet\n"
                r"STATE      FOR LATENCY +TARGET +LAST\n"
                rf"healthy +\d+s( +\d+ms)+ +{url(ready)} +HTTP status 200\n"
                rf"unhealthy +\d+s( +\d+ms)+ +{url(server)} +unexpected_status: HTTP status 503.*"
            )
            assert tty.screen.colors == {"31", "32", ""}
            server.ready()
            assert program.process.wait(5 * LOADED) == 0
        tty.shows("")


@pytest.mark.parametrize("columns", [40, 200])
def test_wait_leaves_last_words_on_the_terminal_when_it_is_stopped(
    form: Form, server: HealthServer, columns: int
) -> None:
    env = {"TERM": "xterm", "NO_COLOR": "1"}
    with Tty(columns) as tty:
        args = ("wait", "--interval=50ms", "--deadline=1h", url(server))
        with start(form, *args, stderr=tty.terminal, env=env) as program:
            tty.shows(r"3\d+ s left, 1 of 1 targets not .*\n.*\nunhealthy .*")
            tty.screen.columns = 1000  # its last output is not cut
            program.process.send_signal(signal.SIGINT)
            assert program.process.wait(5 * LOADED) == 1
        tty.shows(r"unhealthy: \S+: unexpected_status: HTTP status 503, expected 200")
        assert tty.screen.colors == set()


@pytest.mark.parametrize("name", ["dumb", ""])
def test_wait_draws_nothing_on_a_terminal_that_cannot_redraw(
    form: Form, server: HealthServer, name: str
) -> None:
    with Tty(400) as tty:
        args = ("wait", "-v", "--interval=50ms", "--deadline=1h", url(server))
        with start(form, *args, stderr=tty.terminal, env={"TERM": name}) as program:
            tty.shows(rf"{TIME} unhealthy: .*")
            program.process.send_signal(signal.SIGTERM)
            assert program.process.wait(5 * LOADED) == 1
        tty.shows(rf"{TIME} unhealthy: .*\nunhealthy: .*")


def test_wait_without_a_target_asks_the_local_service(form: Form, server: HealthServer) -> None:
    server.ready()
    assert run(form, ["wait", "--port", str(server.port), "--path=/healthz"]).code == 0


@pytest.mark.timing
def test_options_from_the_environment(form: Form, server: HealthServer) -> None:
    env = {"HEALTHCHECKER_DEADLINE": "300ms", "HEALTHCHECKER_INTERVAL": "100ms"}
    outcome = run(form, ["wait", url(server)], env=env)
    assert outcome.code == 1
    assert outcome.seconds < 5


# wait --down


def test_wait_until_a_server_is_down(form: Form) -> None:
    with HealthServer(0, host="127.0.0.1") as server, refusing_port() as port:
        targets = (url(server), f"tcp://127.0.0.1:{port}")
        args = ("wait", "--down", "-v", "--interval=20ms", "--deadline=60s", *targets)
        with start(form, *args, stderr=subprocess.STDOUT) as program:
            line = rf"{TIME} unhealthy: {targets[0]}: reachable: HTTP status 503, .*"
            assert re.fullmatch(line, program.line())
            unreachable = r"unreachable: connect: \S+: Connection refused \([\d.]+ ms\)"
            line = rf"{TIME} healthy: {targets[1]}: {unreachable}"
            assert re.fullmatch(line, program.line())
            server.ready()
            with pytest.raises(subprocess.TimeoutExpired):
                program.process.wait(0.5)
            server.stop()
            assert program.process.wait(15 * LOADED) == 0
            last = program.process.stdout.read().decode() if program.process.stdout else ""
    assert len(re.findall(rf"^healthy: \S+: {unreachable}$", last, re.MULTILINE)) == 2


def test_wait_until_a_file_is_gone_and_not_longer(form: Form, tmp_path: Path) -> None:
    file = tmp_path / "lock"
    args = ["wait", "--down", "--interval=20ms", f"file://{file}"]
    assert run(form, [*args, "--", "echo", "gone"]).stdout == "gone\n"
    file.touch()
    outcome = run(form, [*args, "--deadline=200ms", "--", "echo", "gone"])
    assert (outcome.code, outcome.stdout) == (1, "")
    assert re.fullmatch(rf"unhealthy: file://{file}: reachable: .*\n", outcome.stderr)


def test_a_silent_peer_is_not_down(form: Form) -> None:
    with SilentPeer() as silent:
        args = ["wait", "--down", "--timeout=100ms", "--deadline=300ms", silent.url()]
        outcome = run(form, args)
    line = f"unhealthy: {silent.url()}: reachable: timed out after 100 ms (response)\n"
    assert (outcome.code, outcome.stderr) == (1, line)


@pytest.mark.parametrize(
    ("reason", "detail", "is_down"),
    [
        (Reason.DNS_FAILURE, "lookup: db: name not found", True),
        (Reason.DNS_FAILURE, "lookup: db: name server returned SERVFAIL", False),
        (Reason.DNS_FAILURE, "lookup: db: name server unreachable: Connection refused", False),
        (Reason.DNS_FAILURE, "lookup: db: no name server responded", False),
        (Reason.CONNECTION_FAILED, "connect: /run/db: No such file or directory", True),
        (Reason.CONNECTION_FAILED, "connect: 10.0.0.1:1: No route to host", True),
        (Reason.CONNECTION_FAILED, "connect: /run/db: Permission denied", False),
        (Reason.CONNECTION_FAILED, "connect: 10.0.0.1:1: Operation not permitted", False),
        (Reason.CONNECTION_FAILED, "connect: 10.0.0.1:1: Cannot assign requested address", False),
        (Reason.MISSING, "No such file or directory", True),
        (Reason.MISSING, "Permission denied", False),
        (Reason.OUT_OF_RESOURCES, "connect: out of file descriptors", False),
    ],
)
def test_only_what_is_known_to_be_down_is_down(reason: Reason, detail: str, is_down: bool) -> None:
    assert down(CheckResult("tcp://db:1", False, reason, detail, None, 0.1)).healthy is is_down


# wait -- COMMAND

_REPORT = """
import json, os, signal, sys
from pathlib import Path
files = [file.name for file in Path("/proc/self/fd").iterdir() if file.exists()]
lines = Path("/proc/self/status").read_text().splitlines()
state = dict(line.split(":\\t") for line in lines if "Sig" in line)
print(json.dumps({
    "pid": os.getpid(), "args": sys.argv[1:],
    "files": sorted(files), "environment": dict(os.environ),
    "blocked": state["SigBlk"], "timer": signal.getitimer(signal.ITIMER_REAL),
    "ignored": sorted(number for number in map(int, signal.valid_signals())
                      if int(state["SigIgn"], 16) >> (number - 1) & 1),
}))
sys.exit(7)
"""


_PREPARE = """
import json, os, signal, sys
ignored, blocked = json.loads(sys.argv[1])
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
for number in ignored:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
os.execv(sys.argv[2], sys.argv[2:])
"""


def report(argv: Sequence[str], ignored: Sequence[int], blocked: Sequence[int]) -> dict[str, Any]:
    """Start a program in an unusual state, and return the state that its COMMAND finds."""
    state = json.dumps([ignored, blocked])
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _PREPARE, state, *argv],
        env={**without_variables(), "HEALTHCHECKER_INTERVAL": "1s", "ODD NAME": "a\udcff"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        text, _ = process.communicate(timeout=20 * LOADED)
    assert process.returncode == 7
    found = dict(json.loads(text))
    assert found.pop("pid") == process.pid
    return found


@pytest.mark.parametrize("targets", [1, 3])
def test_wait_becomes_a_command_that_finds_what_wait_found(
    form: Form, server: HealthServer, targets: int
) -> None:
    server.ready()
    python = [sys.executable, "-X", "utf8", "-I", "-c", _REPORT, "--timeout", "--", "http://x/"]
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    blocked = (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1)
    wait = [*form.argv, "wait", *[url(server)] * targets, "--"]
    found = report([*wait, *python], ignored, blocked)
    assert found == report(python, ignored, blocked)
    assert found["args"] == ["--timeout", "--", "http://x/"]
    assert found["timer"] == [0.0, 0.0]


def test_wait_leaves_what_python_ignores_to_its_command(server: HealthServer) -> None:
    """Only a start from the saved heap knows what was ignored before Python did."""
    require_form(SAVED)
    server.ready()
    python = [sys.executable, "-X", "utf8", "-I", "-c", _REPORT]
    wait = [*SAVED.argv, "wait", url(server), "--"]
    for ignored in ([signal.SIGPIPE], [signal.SIGXFSZ]):
        assert report([*wait, *python], ignored, []) == report(python, ignored, [])


@pytest.mark.parametrize(
    "locale", [{}, {"LANG": "C"}, {"LC_CTYPE": "C.UTF-8"}, {"LC_CTYPE": ""}, {"LC_ALL": "POSIX"}]
)
def test_wait_adds_nothing_to_the_environment_of_its_command(
    form: Form, server: HealthServer, locale: dict[str, str]
) -> None:
    """Python itself sets LC_CTYPE if the locale is C."""
    server.ready()
    environment = {"ODD": "a\nb=c", "PATH": "/usr/bin:/bin", **locale}
    wait = [*form.argv, "wait", url(server), "--"]
    command = ["/usr/bin/env", "-0"]
    through_us, directly = (
        subprocess.run(
            argv, env=environment, stdout=subprocess.PIPE, check=True, timeout=20 * LOADED
        ).stdout
        for argv in ([*wait, *command], command)
    )
    assert sorted(through_us.split(b"\0")) == sorted(directly.split(b"\0"))


def test_wait_finds_its_command_on_the_path(form: Form, server: HealthServer) -> None:
    server.ready()
    outcome = run(form, ["wait", url(server), "--", "sh", "-c", 'echo "$0 $1"; exit 3', "a", "b"])
    assert (outcome.code, outcome.stdout, outcome.stderr) == (3, "a b\n", "")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["no-such-program", "secret"], "'no-such-program': No such file or directory"),
        (["/etc/passwd", "secret"], "'/etc/passwd': Permission denied"),
        (["program --password secret"], "'program...': No such file or directory"),
    ],
)
def test_wait_says_why_it_cannot_run_its_command(
    form: Form, server: HealthServer, command: list[str], problem: str
) -> None:
    server.ready()
    outcome = run(form, ["wait", url(server), "--", *command])
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(f"healthchecker: cannot run {problem}")
    assert outcome.stderr.count("\n") == 1
    assert "secret" not in outcome.stderr
    assert run(form, ["wait", "-q", url(server), "--", *command]).stderr == ""


def test_wait_does_not_run_its_command_at_the_deadline(form: Form, server: HealthServer) -> None:
    args = ("wait", "--deadline=2s", "--interval=50ms", url(server))
    outcome = run(form, [*args, "--", "echo", "secret"])
    assert (outcome.code, outcome.stdout) == (1, "")
    assert re.fullmatch(r"unhealthy: \S+: unexpected_status: .*\n", outcome.stderr)


def test_what_follows_the_dashes_is_no_part_of_a_mistake() -> None:
    for args in (["--nonsense", "--"], ["--deadline=x", "--"], ["nonsense://", "--"], ["--", ""]):
        outcome = run(PYTHON, ["wait", *args, "echo", "--output=json", "secret"])
        assert (outcome.code, outcome.stdout) == (1, "")
        assert outcome.stderr.startswith("healthchecker: usage_error: ")
        assert "secret" not in outcome.stderr
