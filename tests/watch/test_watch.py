"""watch() and awatch(): the rule, the times of the probes, and how they stop."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice, pairwise
from typing import Any, TypedDict

import pytest

from healthchecker import (
    AsyncWatch,
    BadArgumentError,
    CheckResult,
    HealthServer,
    Reason,
    awatch,
    watch,
)
from healthchecker._net.deadline import Cancel
from healthchecker._protocols.registry import make_prober, parse_target
from healthchecker._values.options import make_options
from healthchecker._watch import awatch as awatch_module
from healthchecker._watch.rule import Threshold, Ticks, Watched, WatchOptions, make_watch_options
from healthchecker._watch.watch import Watch
from tests.servers.http import scripted
from tests.servers.peers import Connection, SilentPeer, refusing_port
from tests.support import open_files, poll


class Times(TypedDict, total=False):
    initial_delay: float
    interval: float
    timeout: float


NEVER = Times(initial_delay=3600.0, interval=3600.0, timeout=3600.0)
IMMEDIATELY = Times(initial_delay=0.0, interval=3600.0, timeout=3600.0)
SOON = 5.0
"""Seconds for an immediate end; all timeouts around it are longer."""


class Clock:
    """A clock that only moves by a sleep, or when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


# The rule.

T, F = True, False


@pytest.mark.parametrize(
    ("limit", "outcomes", "reports"),
    [
        pytest.param(2, [T, T, T], [T, T, T], id="every success is reported"),
        pytest.param(2, [T, F, T, F, T], [T, None, T, None, T], id="flapping below the threshold"),
        pytest.param(3, [F, F, T, F, F, T], [None, None, T, None, None, T], id="flapping below 3"),
        pytest.param(2, [F, F], [None, F], id="the first ever probe fails"),
        pytest.param(2, [T, F, F, F, F], [T, None, F, None, None], id="bad news once"),
        pytest.param(2, [F, F, F, T, F, F], [None, F, None, T, None, F], id="recovery, and again"),
        pytest.param(1, [F, F, T, F, F], [F, None, T, F, None], id="threshold 1"),
        pytest.param(5, [F] * 6, [None] * 4 + [F, None], id="exactly the fifth"),
    ],
)
def test_threshold(limit: int, outcomes: list[bool], reports: list[bool | None]) -> None:
    threshold = Threshold(limit)
    assert [threshold.feed(outcome) for outcome in outcomes] == reports


@pytest.mark.parametrize(
    ("fired_at", "next_due"),
    [
        pytest.param(11.0, 16.0, id="in time"),
        pytest.param(11.4, 16.0, id="late by less than an interval"),
        pytest.param(15.9, 16.0, id="late by nearly an interval"),
        pytest.param(16.0, 21.0, id="one missed"),
        pytest.param(34.0, 36.0, id="four missed"),
        pytest.param(3611.5, 3616.0, id="a clock that jumped ahead"),
        pytest.param(3.0, 8.0, id="a clock that was set back"),
    ],
)
def test_ticks_keep_their_times_and_drop_missed_ones(fired_at: float, next_due: float) -> None:
    ticks = Ticks(10.0, initial_delay=1.0, interval=5.0)
    assert ticks.wait(10.0) == 1.0
    ticks.fire(fired_at)
    assert ticks.due == next_due
    assert ticks.wait(fired_at) == next_due - fired_at


def test_no_wait_is_longer_than_its_interval() -> None:
    ticks = Ticks(1_000_000.0, initial_delay=1.0, interval=5.0)
    assert ticks.wait(1000.0) == 1.0
    ticks.fire(1_000_001.0)
    assert ticks.wait(1000.0) == 5.0
    assert ticks.wait(2_000_000.0) == 0.0


def result(healthy: bool) -> CheckResult:
    return CheckResult("tcp://h:1", healthy, Reason.OK if healthy else Reason.TIMEOUT, "", None, 0)


def test_the_rule_for_one_target_needs_no_clock_and_no_network() -> None:
    watched = Watched(WatchOptions(), 100.0)
    assert (watched.is_first, watched.wait(100.0)) == (True, 1.0)
    watched.begin(101.0)
    observation = watched.take(result(F))
    assert (observation.report, bool(observation)) == (None, F)
    assert (watched.is_first, watched.wait(101.5)) == (False, 4.5)
    watched.begin(106.0)
    assert watched.take(result(F)).report is F
    watched.begin(111.0)
    assert watched.take(result(T)).report is T


def test_only_the_first_probe_can_be_postponed_and_the_others_follow_it() -> None:
    watched = Watched(WatchOptions(initial_delay=0.0), 100.0)
    watched.postpone_first(103.0)
    assert watched.wait(103.0) == 0.0
    watched.begin(103.0)
    assert watched.wait(103.0) == 5.0
    watched.postpone_first(200.0)
    assert watched.wait(103.0) == 5.0


# The synchronous form.


def first(count: int, reports: Watch) -> list[bool]:
    return [bool(report) for report in islice(reports, count)]


def test_daprs_defaults() -> None:
    clock = Clock()
    with scripted(200, 200, 500, 500, 500, 200) as target:
        reports = first(4, watch(target.url, clock=clock, sleep=clock.sleep))
        assert reports == [True, True, False, True]
        assert len(target.requested_at) == 6
    assert clock.slept == [1.0, 5.0, 5.0, 5.0, 5.0, 5.0]


def test_a_report_carries_the_result() -> None:
    clock = Clock()
    with scripted(500, 500, 204) as target:
        reports = watch(target.url, status=[200, 204], clock=clock, sleep=clock.sleep)
        bad, good = next(reports), next(reports)
    assert (bool(bad), bad.result.reason, bad.result.status) == (False, "unexpected_status", 500)
    assert (bool(good), good.result.reason, good.result.status) == (True, "ok", 204)
    assert bad.result.target == good.result.target == target.url


def test_every_probe_is_yielded_on_request() -> None:
    clock = Clock()
    with scripted(500, 200, 500, 500, 500) as target:
        reports = watch(target.url, clock=clock, sleep=clock.sleep, every_probe=True)
        seen = [(one.report, bool(one)) for one in islice(reports, 5)]
    assert seen == [(None, F), (T, T), (None, F), (F, F), (None, F)]


def test_async_every_probe_is_yielded_on_request() -> None:
    async def program(url: str) -> list[tuple[bool | None, bool]]:
        # A probe may take as long as the interval, which a busy machine may need.
        async with awatch(url, initial_delay=0, interval=2, every_probe=True) as reports:
            return [(one.report, bool(one)) for one in [await anext(reports) for _ in range(3)]]

    with scripted(500, 500, 200) as target:
        assert asyncio.run(program(target.url)) == [(None, F), (F, F), (T, T)]


@pytest.mark.parametrize(("interval", "limit"), [(0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (60.0, 2.0)])
def test_the_default_timeout_is_never_longer_than_the_interval(
    interval: float, limit: float
) -> None:
    assert make_watch_options(1.0, interval, 2, None).timeout == limit
    watch("http://localhost", interval=interval)
    awatch("http://localhost", interval=interval)


def test_the_first_probe_may_run_immediately() -> None:
    clock = Clock()
    with scripted(200) as target:
        reports = watch(target.url, initial_delay=0, clock=clock, sleep=clock.sleep)
        assert next(reports)
    assert clock.slept == []


def test_threshold_1_and_another_status() -> None:
    clock = Clock()
    with scripted(200, 204, 200) as target:
        reports = watch(target.url, failure_threshold=1, status=204, clock=clock, sleep=clock.sleep)
        assert first(3, reports) == [False, True, False]


def test_a_target_that_is_not_there_is_a_failure_like_any_other() -> None:
    clock = Clock()
    with refusing_port() as port:
        url = f"tcp://127.0.0.1:{port}"
        assert not next(watch(url, clock=clock, sleep=clock.sleep))
        assert len(clock.slept) == 2


def test_a_probe_that_takes_longer_than_the_interval_drops_ticks() -> None:
    clock = Clock()

    def take_12_seconds(index: int) -> None:
        if index == 1:
            clock.now += 12

    with scripted(200, before_response=take_12_seconds) as target:
        assert first(4, watch(target.url, clock=clock, sleep=clock.sleep)) == [True] * 4
        assert target.most_at_the_same_time == 1
    # Probes at 1, 6 (to 18), 18 for the ticks that were missed, and on time again at 21.
    assert clock.slept == [1.0, 5.0, 3.0]


@pytest.mark.parametrize(
    ("jump", "slept"),
    [
        pytest.param(3600.0, [1.0, 5.0, 5.0], id="ahead"),
        pytest.param(-3600.0, [1.0, 5.0, 5.0, 5.0], id="back"),
    ],
)
def test_a_clock_that_jumps(jump: float, slept: list[float]) -> None:
    clock = Clock()

    def jump_in_second(index: int) -> None:
        if index == 1:
            clock.now += jump

    with scripted(200, before_response=jump_in_second) as target:
        assert first(4, watch(target.url, clock=clock, sleep=clock.sleep)) == [True] * 4
    assert clock.slept == slept


def test_in_real_time_it_follows_a_service_down_and_up() -> None:
    with HealthServer(0, host="127.0.0.1") as server:
        url = f"http://127.0.0.1:{server.port}/healthz"
        server.ready()
        with watch(url, initial_delay=0, interval=0.5, timeout=0.5) as reports:
            assert next(reports)
            server.not_ready()
            assert not next(reports)
            server.ready()
            assert next(reports)


@pytest.mark.timing
def test_slow_probes_in_real_time_never_overlap() -> None:
    over = threading.Event()
    with scripted(200, before_response=lambda _: over.wait(0.3)) as target:
        with watch(
            target.url, initial_delay=0, interval=0.1, timeout=0.1, failure_threshold=3
        ) as reports:
            start = time.monotonic()
            assert not next(reports)
            assert 0.28 <= time.monotonic() - start < SOON
        over.set()
        assert len(target.requested_at) == 3
        gaps = [later - earlier for earlier, later in pairwise(target.requested_at)]
        assert min(gaps) > 0.05


def test_no_probe_runs_until_the_next_value_is_requested() -> None:
    clock = Clock()
    with scripted(200) as target:
        reports = watch(target.url, clock=clock, sleep=clock.sleep)
        next(reports)
        clock.now += 60
        assert len(target.requested_at) == 1
        next(reports)
        assert len(target.requested_at) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"interval": 1.0, "timeout": 2.0},
            "timeout: 2.0: longer than the interval (1 s)",
        ),
        ({"failure_threshold": 0}, "failure_threshold: 0: must be 1 or more"),
        ({"failure_threshold": True}, "failure_threshold: True: must be 1 or more"),
        ({"failure_threshold": 1.5}, "failure_threshold: 1.5: must be 1 or more"),
        ({"interval": 0}, "interval: 0: must be more than 0 and at most 24 hours"),
        ({"initial_delay": -1}, "initial_delay: -1: must be from 0 and at most 24 hours"),
        ({"timeout": float("nan")}, "timeout: nan: must be more than 0"),
        ({"status": "ok"}, "status: 'ok': not a status list"),
        ({"target": "gopher://localhost"}, "target: 'gopher://localhost': unknown scheme"),
    ],
)
@pytest.mark.parametrize("form", [watch, awatch], ids=["sync", "async"])
def test_bad_arguments(form: Callable[..., Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgumentError) as caught:
        form(**{"target": "http://localhost/", **arguments})
    assert str(caught.value).startswith(message)


def ends_at_once(reports: Watch, close: Callable[[], None]) -> list[bool]:
    """Iterate on a thread, close from here; return the reports."""
    seen: list[bool] = []
    started = threading.Event()

    def iterate() -> None:
        started.set()
        seen.extend(map(bool, reports))

    thread = threading.Thread(target=iterate)
    thread.start()
    started.wait()
    close()
    thread.join(SOON)
    assert not thread.is_alive(), "the watch goes on after close()"
    return seen


def test_close_in_the_middle_of_the_delay() -> None:
    reports = watch("http://127.0.0.1:1/", **NEVER)
    assert ends_at_once(reports, reports.close) == []
    assert list(reports) == []


def test_close_between_probes() -> None:
    with scripted(200) as target:
        reports = watch(target.url, **IMMEDIATELY)

        def close() -> None:
            poll(lambda: target.requested_at, timeout=SOON, what="a probe")
            reports.close()

        assert ends_at_once(reports, close) in ([], [True])


def test_close_in_the_middle_of_a_probe() -> None:
    with SilentPeer() as silent:
        reports = watch(silent.url(), **IMMEDIATELY)

        def close() -> None:
            with silent.accept() as connection:
                connection.read_request()
                reports.close()
                connection.sock.settimeout(SOON)
                assert connection.sock.recv(1) == b""  # the probe's connection is also closed

        assert ends_at_once(reports, close) == []


@pytest.mark.parametrize("where", ["delay", "probe"])
def test_close_by_a_signal_handler(where: str) -> None:
    """The handler interrupts the waiting thread itself."""
    with SilentPeer() as silent:
        reports = watch(silent.url(), **(NEVER if where == "delay" else IMMEDIATELY))
        before = signal.signal(signal.SIGALRM, lambda *_: reports.close())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            start = time.monotonic()
            assert list(reports) == []
            assert time.monotonic() - start < SOON
        finally:
            signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("times", [NEVER, IMMEDIATELY], ids=["delay", "probe"])
@pytest.mark.parametrize("by", ["cancel", "close"])
def test_the_cancel_of_a_watch_ends_it_as_close_does(times: Times, by: str) -> None:
    with SilentPeer() as silent, Cancel() as cancel:
        prober = make_prober(parse_target(silent.url()), make_options())
        cancel.wait(0)  # its own pipe is open from here on
        before = open_files()
        reports = Watch(prober, WatchOptions(**times), cancel=cancel)
        assert open_files() <= before

        def end() -> None:
            poll(lambda: open_files() - before, timeout=SOON, what="it waits")
            (cancel.set if by == "cancel" else reports.close)()

        assert ends_at_once(reports, end) == []
        assert open_files() <= before


def test_closing_many_times_from_many_threads() -> None:
    with scripted(200) as target:
        for _ in range(50):
            reports = watch(target.url, **IMMEDIATELY)
            closers = [threading.Thread(target=reports.close) for _ in range(4)]
            assert next(reports)
            for closer in closers:
                closer.start()
            assert list(reports) == []
            for closer in closers:
                closer.join()


def test_a_thousand_idle_watches_hold_no_files_and_no_threads() -> None:
    files, threads = open_files(), threading.active_count()
    watches = [watch("http://127.0.0.1:1/", **NEVER) for _ in range(1000)]
    assert open_files() <= files
    assert threading.active_count() <= threads
    assert len(watches) == 1000


def test_out_of_file_descriptors_is_a_failure_and_passes() -> None:
    clock = Clock()
    with scripted(200) as target:
        reports = watch(
            target.url, timeout=5.0, failure_threshold=1, clock=clock, sleep=clock.sleep
        )
        assert next(reports)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            report = next(reports)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not report
        assert next(reports)


# The asynchronous form.


async def collect(reports: AsyncWatch, count: int) -> list[bool]:
    seen = []
    async for report in reports:
        seen.append(bool(report))
        if len(seen) == count:
            break
    return seen


def run(coroutine: Any) -> Any:
    """Run to the end, with a timeout."""
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def test_async_follows_the_same_rule() -> None:
    async def program(url: str) -> list[bool]:
        # A shorter interval would let a busy machine drop a tick.
        async with awatch(url, initial_delay=0, interval=1.0) as reports:
            return await collect(reports, 3)

    with scripted(500, 500, 500, 200, 500, 500) as target:
        assert run(program(target.url)) == [False, True, False]
        assert len(target.requested_at) == 6
        assert target.most_at_the_same_time == 1


@pytest.mark.timing
def test_async_keeps_its_times() -> None:
    async def program(url: str) -> None:
        async with awatch(url, initial_delay=0.3, interval=0.5, timeout=0.5) as reports:
            await collect(reports, 4)

    with scripted(200) as target:
        start = time.monotonic()
        run(program(target.url))
    beats = [requested - start for requested in target.requested_at]
    assert beats[0] >= 0.3
    gaps = [later - earlier for earlier, later in pairwise(beats)]
    assert sum(gaps) == pytest.approx(1.5, abs=0.3)
    assert min(gaps) > 0.2


def test_async_cancelled_in_the_middle_of_the_delay() -> None:
    async def program() -> None:
        async with awatch("http://127.0.0.1:1/", **NEVER) as reports:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(reports), 0.1)

    start = time.monotonic()
    run(program())
    assert time.monotonic() - start < SOON


def test_async_cancelled_in_the_middle_of_a_probe_and_iterated_again() -> None:
    async def program(silent: SilentPeer) -> None:
        reports = awatch(silent.url(), initial_delay=0, interval=1.0, timeout=1.0)
        task = asyncio.create_task(anext(reports))
        with await asyncio.to_thread(silent.accept) as connection:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            connection.sock.settimeout(SOON)
            await asyncio.to_thread(connection.hold)  # until the probe is over
        task = asyncio.create_task(anext(reports))
        with await asyncio.to_thread(silent.accept):
            await reports.aclose()
            with pytest.raises(StopAsyncIteration):
                await task

    with SilentPeer() as silent:
        run(program(silent))


@pytest.mark.parametrize("where", ["delay", "probe"])
def test_async_close_from_another_thread(where: str) -> None:
    async def program(silent: SilentPeer) -> list[bool]:
        reports = awatch(silent.url(), **(NEVER if where == "delay" else IMMEDIATELY))

        def close() -> None:
            if where == "probe":
                silent.accept().sock.close()
            reports.close()

        task = asyncio.create_task(collect(reports, 1))
        await asyncio.sleep(0)
        await asyncio.to_thread(close)
        return await asyncio.wait_for(task, SOON)

    with SilentPeer() as silent:
        assert run(program(silent)) in ([], [False])


def test_async_nothing_is_left_when_the_loop_ends_in_the_middle_of_a_probe() -> None:
    async def program(silent: SilentPeer) -> Connection:
        reports = awatch(silent.url(), **IMMEDIATELY)
        program.task = asyncio.create_task(collect(reports, 1))  # type: ignore[attr-defined]
        return await asyncio.to_thread(silent.accept)

    with SilentPeer() as silent, asyncio.run(program(silent)) as connection:
        connection.sock.settimeout(SOON)
        connection.hold()


def test_async_cancelled_and_closed_at_any_moment() -> None:
    """In any combination, closing ends, and nothing is left."""
    moments = random.Random(1)

    async def disturb(url: str) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            reports = awatch(url, initial_delay=0, interval=0.02, timeout=0.02)
            for _ in range(3):
                with suppress(TimeoutError, StopAsyncIteration):
                    await asyncio.wait_for(anext(reports), moments.uniform(0, 0.03))
                if moments.random() < 0.2:
                    loop.run_in_executor(None, reports.close)
            await asyncio.wait_for(reports.aclose(), SOON)

    async def program(url: str) -> None:
        await asyncio.gather(*(disturb(url) for _ in range(20)))

    never = threading.Event()
    with scripted(
        200, 500, before_response=lambda _: never.wait(moments.choice([0, 0, 0.01, 0.05]))
    ) as target:
        files = open_files()
        run(program(target.url))
        poll(lambda: not open_files() - files, timeout=20, what="all connections are closed")


def test_async_two_readers_are_refused() -> None:
    async def program() -> None:
        async with awatch("http://127.0.0.1:1/", **NEVER) as reports:
            first = asyncio.create_task(anext(reports))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="already being iterated"):
                await anext(reports)
            first.cancel()

    run(program())


@pytest.mark.timing
def test_async_many_are_spread_and_need_few_threads() -> None:
    count = 200

    async def program(url: str) -> int:
        most = 0
        watches = [awatch(url, initial_delay=0, interval=1.0, timeout=1.0) for _ in range(count)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(collect(one, 3)) for one in watches]
            while not all(task.done() for task in tasks):
                most = max(most, threading.active_count())
                await asyncio.wait(tasks, timeout=0.05)
        assert all(task.result() == [True] * 3 for task in tasks)
        return most

    before = threading.active_count()
    with scripted(200) as target:
        most = run(program(target.url))
        assert len(target.requested_at) == 3 * count
    assert most - before < 100
    first_round = sorted(target.requested_at)[:count]
    assert first_round[-1] - first_round[0] > 0.3  # ten batches, a twentieth of a second apart


@pytest.mark.timing
def test_async_hung_targets_do_not_delay_the_others() -> None:
    async def program(hung: str, fine: str) -> float:
        settings = Times(initial_delay=0.0, interval=3.0, timeout=3.0)
        start = time.monotonic()
        hanging = [asyncio.create_task(collect(awatch(hung, **settings), 1)) for _ in range(15)]
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(collect(awatch(fine, **settings), 1))
        took = time.monotonic() - start
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        return took

    with SilentPeer() as hung, scripted(200) as target:
        assert run(program(hung.url(), target.url)) < 2.0


def test_async_without_a_thread_to_be_had_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[object] = []

    class Pool(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            if len(refused) < 3:
                refused.append(args)
                raise RuntimeError("can't start new thread")
            return super().submit(*args, **kwargs)

    async def program(url: str) -> list[bool]:
        async with awatch(url, initial_delay=0, interval=0.5, timeout=0.5) as reports:
            return await collect(reports, 2)

    with Pool(1) as pool, scripted(200) as target:
        monkeypatch.setattr(awatch_module, "pool", lambda: pool)
        assert run(program(target.url)) == [True, True]
        assert len(refused) == 3
