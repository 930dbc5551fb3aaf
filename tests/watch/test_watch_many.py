"""Many targets in one `watch`: as lines, as a table on a terminal, and its cost."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2

from healthchecker import BadArgumentError, HealthServer
from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.registry import parse_target
from healthchecker._protocols.tcp import TcpProber
from healthchecker._values.options import CheckOptions, make_options
from healthchecker._watch.many import watch_all
from healthchecker._watch.rule import Observation, WatchOptions
from tests.servers.grpc import grpc_server
from tests.servers.http import scripted
from tests.servers.peers import SilentPeer, refusing_port
from tests.support import full_pipe, open_files, poll
from tests.support.forms import PYTHON, Form
from tests.support.running import Tty, start

# Coverage is saved at the end of a process; a call interrupted by a signal may delay it there.
pytestmark = pytest.mark.usefixtures("full_speed")

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
# Two probes must fail before a state changes: a server may be scheduled late by twice this.
QUICK = ("--initial-delay=0", "--interval=500ms", "--timeout=500ms")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
XTERM = {"TERM": "xterm", "NO_COLOR": ""}


@contextmanager
def servers(count: int) -> Iterator[list[HealthServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(HealthServer(0, host="127.0.0.1")) for _ in range(count)]


def url(server: HealthServer) -> str:
    return f"http://127.0.0.1:{server.port}/healthz"


# lines


def test_each_change_is_a_line_with_its_target(form: Form) -> None:
    with servers(3) as (first, second, third):
        first.ready()
        third.ready()
        with start(form, "watch", *QUICK, url(first), url(second), url(third)) as program:
            seen = sorted(program.line().partition(" ")[2].partition(": ")[:3] for _ in range(3))
            assert [word for word, _, _ in seen] == ["healthy", "healthy", "unhealthy"]
            second.ready()
            assert re.fullmatch(
                rf"{TIME} healthy: {re.escape(url(second))}: HTTP status 200 .*", program.line()
            )
            third.not_ready()
            assert re.fullmatch(
                rf"{TIME} unhealthy: {re.escape(url(third))}: unexpected_status: .*", program.line()
            )
            third.ready()
            assert f" healthy: {url(third)}: " in program.line()
            assert program.stop() == 0


def test_one_that_is_not_healthy_makes_the_exit_code(form: Form) -> None:
    with servers(2) as (good, bad):
        good.ready()
        with start(form, "watch", *QUICK, url(good), url(bad)) as program:
            assert {program.line().split()[1], program.line().split()[1]} == {
                "healthy:",
                "unhealthy:",
            }
            assert program.stop(signal.SIGINT) == 1


def test_one_of_which_nothing_is_known_makes_the_exit_code(form: Form) -> None:
    with servers(1) as (good,), SilentPeer() as silent:
        good.ready()
        args = ("--initial-delay=0", "--interval=1h", "--timeout=1h", url(good), silent.url())
        with start(form, "watch", *args) as program, silent.accept() as connection:
            assert connection.hear()
            assert f" healthy: {url(good)}: " in program.line()
            assert program.stop() == 1


def test_json_lines(form: Form) -> None:
    with servers(2) as (good, bad):
        good.ready()
        args = (*QUICK, "--output=json", url(good), url(bad))
        with start(form, "watch", *args) as program:
            lines = [json.loads(program.line()) for _ in range(2)]
            states = {one["check"]["target"]: (one["healthy"], one["changed"]) for one in lines}
            assert states == {url(good): (True, True), url(bad): (False, True)}
            assert program.stop() == 1


def test_verbose_shows_every_probe_of_each(form: Form) -> None:
    with servers(2) as (good, bad):
        good.ready()
        with start(form, "watch", "-v", *QUICK, url(good), url(bad)) as program:
            kinds = Counter(
                re.sub(rf"{TIME} |: .*", "", program.line(), count=2) for _ in range(12)
            )
    assert kinds["healthy"] == kinds["unhealthy"] == 1
    assert kinds["probe healthy"] >= 3
    assert kinds["probe unhealthy"] >= 3
    assert kinds.total() == 12


class _WithoutWatch(health.HealthServicer):
    """Has only Check, like servers from before Watch."""

    def Watch(self, _request: Any, context: grpc.ServicerContext, *_args: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no Watch here")


def test_of_every_kind_in_one(form: Form) -> None:
    """One gRPC server reports its changes, another one has to be polled."""
    reporting, polled = health.HealthServicer(), _WithoutWatch()
    reporting.set("", SERVING)
    polled.set("", NOT_SERVING)
    with (
        grpc_server(reporting) as first,
        grpc_server(polled) as second,
        servers(1) as (server,),
        refusing_port() as closed,
    ):
        targets = (
            f"grpc://127.0.0.1:{first}",
            f"grpc://127.0.0.1:{second}",
            f"tcp://127.0.0.1:{closed}",
            url(server),
        )
        # An option applies to the kinds of targets that can use it.
        with start(form, "watch", *QUICK, "--status=503", *targets) as program:
            states = {line[2]: line[1] for line in (program.line().split() for _ in targets)}
            assert states == {
                f"{target}:": state
                for target, state in zip(
                    targets, ("healthy:", "unhealthy:", "unhealthy:", "healthy:"), strict=True
                )
            }
            reporting.set("", NOT_SERVING)
            assert f" unhealthy: {targets[0]}: not_serving: " in program.line()
            polled.set("", SERVING)
            assert f" healthy: {targets[1]}: " in program.line()
            assert program.stop() == 1


def test_a_signal_ends_all_immediately(form: Form) -> None:
    with SilentPeer() as silent, ExitStack() as stack:
        args = ("--initial-delay=0", "--interval=1h", "--timeout=1h")
        targets = [f"{silent.url()}{number}" for number in range(50)]
        following = [f"grpc://{silent.address}/{number}" for number in range(10)]
        with start(form, "watch", *args, *targets, *following) as program:
            for _ in (*targets, *following):
                assert stack.enter_context(silent.accept()).hear()
            assert program.stop() == 1


def test_it_ends_quietly_when_its_output_is_closed(form: Form) -> None:
    with servers(3) as all_servers:
        for server in all_servers:
            server.ready()
        with start(form, "watch", *QUICK, *map(url, all_servers)) as program:
            assert " healthy: " in program.line()
            # No later change has to be written.
            assert program.stop_reading() == (1, b"")


def test_it_stops_while_its_output_is_not_read(form: Form) -> None:
    with scripted(200) as target, full_pipe() as unread:
        args = (*QUICK, target.url, target.url)
        with start(form, "watch", *args, stdout=unread) as program:
            poll(lambda: target.requested_at, timeout=20, what="a probe")
            # It may not have written yet; then it has seen less.
            assert program.stop() in (0, 1)


def test_targets_from_the_environment() -> None:
    with servers(2) as (first, second):
        first.ready()
        env = {"HEALTHCHECKER_TARGET": f"{url(first)}\n{url(second)}\n"}
        with start(PYTHON, "watch", *QUICK, env=env) as program:
            assert {program.line().split()[2], program.line().split()[2]} == {
                f"{url(first)}:",
                f"{url(second)}:",
            }


# the table on a terminal


def _row(state: str, target: str, detail: str) -> str:
    return rf"{state} +\d+s( +\d+ms)* +{re.escape(target)} +{detail}"


def test_a_table_of_one_target(form: Form) -> None:
    with servers(1) as (server,), Tty(120) as tty:
        with start(form, "watch", *QUICK, url(server), stdout=tty.terminal, env=XTERM) as program:
            title = r"watching for \d+ s, {} of 1 targets healthy\n"
            title += r"STATE      FOR LATENCY +TARGET +LAST\n"
            failure = "unexpected_status: HTTP status 503.*"
            tty.shows(title.format(0) + _row("unhealthy", url(server), failure))
            server.ready()
            tty.shows(title.format(1) + _row("healthy", url(server), "HTTP status 200"))
            assert tty.screen.colors == {"31", "32", ""}
            assert program.stop(signal.SIGINT) == 0
        tty.shows(r"watched for \d+ s, 1 of 1 targets healthy")


@pytest.mark.parametrize("columns", [40, 200])
def test_a_table_of_more_targets_than_there_are_lines(form: Form, columns: int) -> None:
    with scripted(200) as target, refusing_port() as closed, Tty(columns) as tty:
        targets = [f"{target.url}?{number}" for number in range(99)]
        args = ("watch", "--initial-delay=0", "--interval=2s", "--failure-threshold=1", *targets)
        last = f"tcp://127.0.0.1:{closed}"
        env = {"TERM": "xterm", "NO_COLOR": "1"}
        with start(form, *args, last, stdout=tty.terminal, env=env) as program:
            tty.shows(
                r"watching for \d+ s, 99 of 100 targ.*\nSTATE .*\n"
                r"(healthy .*\n){20}unhealthy .*\nand 79 more"
            )
            line = rf"unhealthy: {last}: connection_refused: .*\n"
            tty.screen.columns = 1000  # the summary is a line of text, which may wrap
            assert program.stop(signal.SIGINT, stderr=line) == 1
        tty.shows(r"watched for \d+ s, 99 of 100 targets healthy")
        assert tty.screen.colors == set()


@pytest.mark.parametrize(("wide", "narrow"), [(200, 40), (40, 200)])
def test_a_table_on_a_terminal_that_is_resized(form: Form, wide: int, narrow: int) -> None:
    table = r"watching for \d+ s, 3 of 3 targets h.*\n.*\n(healthy .*{}\n?){{3}}"
    last = {40: r"\.\.\.", 200: "HTTP status 200"}
    with servers(3) as all_servers, Tty(wide) as tty:
        for server in all_servers:
            server.ready()
        args = ("watch", *QUICK, *map(url, all_servers))
        with start(form, *args, stdout=tty.terminal, env=XTERM) as program:
            tty.shows(table.format(last[wide]))
            # Stop it right after it has drawn, so that it does not draw between the two resizes.
            poll(tty.read, timeout=15, what="the table is drawn again")
            program.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, program.process.pid, os.WSTOPPED)
            while tty.read():
                pass
            tty.resize(narrow)
            tty.screen.resize(narrow)
            program.process.send_signal(signal.SIGCONT)
            tty.shows(table.format(last[narrow]))
            tty.screen.columns = 1000
            assert program.stop() == 0


def test_the_summary_names_those_that_have_not_answered(form: Form) -> None:
    with SilentPeer() as silent, Tty(400) as tty:
        args = ("watch", "--initial-delay=0", "--interval=1h", "--timeout=1h", silent.url())
        env = {**XTERM, "HEALTHCHECKER_PROT": "1"}
        with start(form, *args, stdout=tty.terminal, env=env) as program:
            tty.shows(rf"watching .*, 0 of 1 targets healthy\n.*\nunknown +{silent.url()}")
            warning = "healthchecker: warning: ignoring unknown environment variable: "
            note = f"{warning}HEALTHCHECKER_PROT\n"
            line = rf"unhealthy: {silent.url()}: timeout: no probe has finished\n"
            assert program.stop(stderr=line + note) == 1
        tty.shows(r"watched for \d+ s, 0 of 1 targets healthy")


@pytest.mark.parametrize(
    ("args", "env"), [((), {"TERM": "dumb"}), ((), {"TERM": ""}), (("-v",), XTERM)]
)
def test_lines_on_a_terminal_that_cannot_redraw_or_on_request(
    form: Form, args: Sequence[str], env: dict[str, str]
) -> None:
    with servers(1) as (server,), Tty(400) as tty:
        args = ("watch", "--initial-delay=0", "--interval=1h", "--failure-threshold=1", *args)
        with start(form, *args, url(server), stdout=tty.terminal, env=env) as program:
            tty.shows(rf"{TIME} unhealthy: .*")
            assert program.stop() == 1


# the core


def observe(
    *targets: str, cancel: Cancel, wake_every: float | None = None, **settings: Any
) -> Generator[tuple[int, Observation] | None]:
    quick = WatchOptions(**{"initial_delay": 0.0, "interval": 0.2, "timeout": 0.2, **settings})
    read = [parse_target(target) for target in targets]
    return watch_all(read, CheckOptions(), quick, cancel, wake_every=wake_every)


def watching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "watch"]


def take(observations: Iterator[tuple[int, Observation] | None], count: int) -> list[int]:
    """Return the index of the target of each of `count` observations."""
    return [index for index, _ in (next(filter(None, observations)) for _ in range(count))]


def test_nothing_is_left_when_it_is_closed() -> None:
    servicer = health.HealthServicer()
    servicer.set("", SERVING)
    with (
        grpc_server(servicer) as port,
        scripted(200) as target,
        SilentPeer() as silent,
        Cancel() as cancel,
    ):
        cancel.wait(0)  # its own pipe is open from here on
        files = open_files()
        targets = (target.url, silent.url(), f"grpc://127.0.0.1:{port}")
        with closing(observe(*targets, cancel=cancel, interval=9.0, timeout=9.0)) as observations:
            assert sorted(take(observations, 2)) == [0, 2]
            with silent.accept() as connection:
                start_of_end = time.monotonic()
                observations.close()
                assert time.monotonic() - start_of_end < 5
                connection.sock.settimeout(5)
                connection.hold()  # until it is closed
        assert not watching_threads()
        poll(lambda: not open_files() - files, timeout=5, what="no file is left")


def test_the_cancel_ends_it() -> None:
    with SilentPeer() as silent, Cancel() as cancel:
        targets = (silent.url(), f"grpc://{silent.address}")
        observations = observe(*targets, cancel=cancel, interval=9.0, timeout=9.0)
        timer = threading.Timer(0.2, cancel.set)
        timer.start()
        with pytest.raises(Cancelled):
            next(observations)
        timer.join()


def test_mistakes_raise_at_the_call() -> None:
    with Cancel() as cancel:
        targets = [parse_target("tcp://a:1"), parse_target("grpc://a:1")]
        with pytest.raises(BadArgumentError):
            watch_all(targets, make_options(status=[204]), WatchOptions(), cancel)
        with pytest.raises(BadArgumentError):
            observe("tcp://a:1", "grpc://a:1?query", cancel=cancel)


def test_a_bug_in_a_prober_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(TcpProber, "_probe", fail)
    with scripted(200) as target, Cancel() as cancel:
        address = target.url.replace("http://", "tcp://").removesuffix("/health")
        observations = observe(address, target.url, cancel=cancel)
        with closing(observations), pytest.raises(ZeroDivisionError):
            take(observations, 9)


def test_none_comes_when_it_is_time_to_draw() -> None:
    with Cancel() as cancel:
        slow = {"initial_delay": 9.0, "interval": 9.0}
        with closing(observe("tcp://a:1", cancel=cancel, wake_every=0.05, **slow)) as observations:
            begin = time.monotonic()
            assert [next(observations) for _ in range(4)] == [None] * 4
            assert 0.15 <= time.monotonic() - begin < 8


def test_without_threads_all_are_probed_and_none_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really_start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if threading.current_thread() is threading.main_thread():
            raise RuntimeError("can't start new thread")
        really_start(self)  # the servers go on

    servicer = health.HealthServicer()
    servicer.set("", SERVING)
    with grpc_server(servicer) as port, scripted(200) as first, scripted(500) as second:
        targets = (first.url, second.url, f"grpc://127.0.0.1:{port}")
        with Cancel() as cancel, closing(observe(*targets, cancel=cancel)) as observations:
            monkeypatch.setattr(threading.Thread, "start", refuse)
            counts = Counter(take(observations, 9))
    assert counts.keys() == {0, 1, 2}
    assert all(count >= 2 for count in counts.values())


@pytest.mark.timing
def test_many_are_spread_and_need_few_threads() -> None:
    count = 200
    with scripted(200) as target, Cancel() as cancel:
        targets = [target.url] * count
        observations = observe(*targets, cancel=cancel, interval=1.0, timeout=1.0)
        with closing(observations):
            seen = Counter(take(observations, 2 * count))
            assert 1 <= len(watching_threads()) < 100
        assert not watching_threads()
    assert len(seen) == count
    first_round = sorted(target.requested_at)[:count]
    assert first_round[-1] - first_round[0] > 0.3  # ten batches, a twentieth of a second apart


@pytest.mark.timing
def test_targets_that_hang_do_not_delay_the_others() -> None:
    with SilentPeer() as silent, scripted(200) as target, Cancel() as cancel:
        targets = [*[silent.url()] * 15, *[target.url] * 40]
        observations = observe(*targets, cancel=cancel, interval=3.0, timeout=3.0)
        with closing(observations):
            begin = time.monotonic()
            assert set(take(observations, 40)) == set(range(15, 55))
            assert time.monotonic() - begin < 2.0
