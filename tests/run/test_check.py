"""The library's check(): every outcome is a value, on any thread, and nothing is left open."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from healthchecker import BadArgumentError, CheckResult, Reason, check
from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.base import Prober
from healthchecker._protocols.registry import make_prober, parse_target
from healthchecker._run.check import probe_all
from healthchecker._values.options import make_options
from tests.servers.http import http_service
from tests.servers.peers import Peer, SilentPeer, respond
from tests.support import LOADED, open_files, poll
from tests.tables.hostile_http import HEALTHY


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http_service() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def silent() -> Iterator[int]:
    """Listen on a port and stay silent."""
    with SilentPeer() as peer:
        yield peer.port


def prober(target: str) -> Prober:
    return make_prober(parse_target(target), make_options())


def test_healthy_is_true(url: str) -> None:
    result = check(f"{url}/health")
    assert result
    assert (result.target, result.reason, result.status) == (f"{url}/health", Reason.OK, 200)
    assert 0 < result.elapsed < 2


def test_unhealthy_is_a_false_value(url: str) -> None:
    result = check(f"{url}/status/503")
    assert not result
    assert (result.reason, result.status) == (Reason.UNEXPECTED_STATUS, 503)


def test_options_are_plain_values(url: str) -> None:
    assert check(
        f"{url}/echo",
        status="200-299",
        headers={"X-A": "1"},
        basic_auth=("me", "secret"),
        expect_json={"headers.X-A": "1"},
        expect_body="Basic",
        expect_header=[("X-State", "fine")],
    )


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": 1e9}, "timeout"),
        ({"connect_timeout": -1}, "connect_timeout"),
        ({"status": "nine"}, "status"),
        ({"method": "G T"}, "method"),
        ({"headers": {"a b": "c"}}, "headers"),
        ({"unix_socket": "x" * 108}, "unix_socket"),
        ({"key": "/nonexistent"}, "key"),
        ({"insecure": True, "cacert": "/nonexistent"}, "cacert"),
    ],
)
def test_a_bad_argument_is_an_exception(url: str, options: dict[str, float], argument: str) -> None:
    with pytest.raises(BadArgumentError) as error:
        check(url, **options)  # type: ignore[arg-type]
    assert error.value.argument == argument


def test_an_unknown_option_is_a_type_error(url: str) -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        check(url, no_such_option=1)  # type: ignore[call-arg]


@pytest.mark.timing
def test_the_deadline_holds_on_any_thread(silent: int) -> None:
    results: list[CheckResult] = []
    thread = threading.Thread(
        target=lambda: results.append(check(f"http://127.0.0.1:{silent}/", timeout=0.2))
    )
    thread.start()
    thread.join(5)
    (result,) = results
    assert result.reason is Reason.TIMEOUT
    assert 0.2 <= result.elapsed < 0.2 + 0.1 * LOADED


@pytest.mark.timing
def test_the_connect_limit_ends_with_the_connection(silent: int) -> None:
    result = check(f"http://127.0.0.1:{silent}/", timeout=0.3, connect_timeout=0.1)
    assert (result.reason, result.detail) == (Reason.TIMEOUT, "timed out after 300 ms (response)")
    assert result.elapsed >= 0.3


def test_cancel_ends_a_probe_immediately(silent: int) -> None:
    ended = threading.Event()

    def probe(cancel: Cancel) -> None:
        with pytest.raises(Cancelled):
            prober(f"http://127.0.0.1:{silent}/").probe(30, cancel)
        ended.set()

    with Cancel() as cancel:
        thread = threading.Thread(target=probe, args=(cancel,))
        thread.start()
        cancel.set()
        assert ended.wait(10)
        thread.join()


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("any_is_enough", [False, True])
def test_cancel_ends_the_checks_of_all(silent: int, count: int, any_is_enough: bool) -> None:
    files, threads = open_files(), set(threading.enumerate())
    probers = [prober(f"http://127.0.0.1:{silent}/") for _ in range(count)]
    start = time.monotonic()
    with Cancel() as cancel:
        timer = threading.Timer(0.1, cancel.set)
        timer.start()
        with pytest.raises(Cancelled):
            probe_all(probers, 30, any_is_enough=any_is_enough, cancel=cancel)
        timer.join()
    assert time.monotonic() - start < 30  # the timeout of the checks
    # The silent peer has no threads and accepts nothing: every new file and thread is the check's.
    poll(lambda: open_files() <= files, timeout=5, what="every file is closed")
    poll(lambda: set(threading.enumerate()) <= threads, timeout=5, what="every thread has ended")


def test_nothing_is_left_open(url: str, silent: int) -> None:
    targets = [
        f"{url}/health",
        f"{url}/status/500",
        f"{url}/redirect/health",
        "tcp://127.0.0.1:1",
        "http://no-such-host.invalid/",
        f"http://127.0.0.1:{silent}/",
    ]
    files, threads = open_files(), threading.active_count()
    for target in targets:
        check(target, timeout=0.2, follow_redirects=target.startswith("http"))
    probe_all([prober(target) for target in targets], 0.2)
    # The service's own ends of the connections are in this process, and close in their time.
    poll(lambda: open_files() <= files, timeout=5, what="all closed")
    poll(lambda: threading.active_count() <= threads, timeout=5, what="all ended")


@pytest.mark.timing
def test_several_targets_are_checked_concurrently(url: str) -> None:
    results = probe_all([prober(f"{url}/delay") for _ in range(20)], 2)
    assert all(results)
    assert max(result.elapsed for result in results) < 1


def test_any_ends_the_others(url: str, silent: int) -> None:
    probers = [prober(f"http://127.0.0.1:{silent}/"), prober(f"{url}/health")]
    results = probe_all(probers, 20, any_is_enough=True)
    assert [result.target for result in results] == [f"{url}/health"]


class NoThread(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


@pytest.mark.timing
def test_without_threads_one_that_hangs_leaves_time_for_the_others(
    url: str, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("healthchecker._run.check.threading", SimpleNamespace(Thread=NoThread))
    hanging = f"http://127.0.0.1:{silent}/"
    targets = [hanging, f"{url}/health", hanging, f"{url}/status/500", f"{url}/health"]
    start = time.monotonic()
    results = probe_all([prober(target) for target in targets], 1.0)
    assert time.monotonic() - start < 1.0 + 0.2 * LOADED
    assert [result.target for result in results] == targets
    assert [result.reason for result in results] == [
        Reason.TIMEOUT,
        Reason.OK,
        Reason.TIMEOUT,
        Reason.UNEXPECTED_STATUS,
        Reason.OK,
    ]


def test_without_threads_the_last_one_has_the_remaining_time(
    url: str, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("healthchecker._run.check.threading", SimpleNamespace(Thread=NoThread))
    targets = [f"{url}/health", f"http://127.0.0.1:{silent}/"]
    results = probe_all([prober(target) for target in targets], 0.4)
    assert "timed out after 400 ms" in results[1].detail
    assert results[1].elapsed >= 0.4
    assert probe_all([prober(target) for target in targets], 30, any_is_enough=True)


# A check over TLS has four descriptors at the same time: its socket, both ends of a pipe to the
# thread that reads the CA certificates, and their file. What cancels several checks is a pipe too.
_FILES_OF_A_CHECK, _FILES_OF_SEVERAL = 4, 2

# In processes of their own, which have imported everything that a check imports.
_CHECK_WITH_FEW_FILES = """
import os, resource, sys
from healthchecker import check_all

target, count, limits = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
check_all([target])
for files in map(int, limits):
    if os.fork():
        os.wait()
        continue
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for result in check_all([target] * count):
        print(f"{files} {result.reason}: {result.detail}")
    break
"""


@pytest.mark.parametrize("scheme", ["http", "https", "tcp"])
@pytest.mark.parametrize("count", [1, 3])
def test_out_of_descriptors(scheme: str, count: int, tmp_path: Path) -> None:
    authority = trustme.CA()
    (tmp_path / "ca").write_bytes(authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    enough = 3 + _FILES_OF_SEVERAL + 3 * _FILES_OF_A_CHECK
    outcomes: dict[int, list[str]] = {files: [] for files in range(3, enough + 1)}
    with Peer(respond(HEALTHY), context=context if scheme == "https" else None) as peer:
        arguments = [f"{scheme}://127.0.0.1:{peer.port}", str(count), *map(str, outcomes)]
        done = subprocess.run(
            [sys.executable, "-c", _CHECK_WITH_FEW_FILES, *arguments],
            env={"SSL_CERT_FILE": str(tmp_path / "ca")},
            capture_output=True,
            text=True,
            check=True,
        )
    for line in done.stdout.splitlines():
        limit, outcome = line.split(" ", 1)
        outcomes[int(limit)].append(outcome)
    assert all(line.startswith("ok: ") for line in outcomes[enough]), outcomes[enough]
    assert len(outcomes[enough]) == len(outcomes[3]) == count
    for files in range(3, enough):
        for line in outcomes[files]:
            good = line.startswith("ok: ") and files > 3
            assert good or (
                line.startswith("out_of_resources: ") and line.endswith("out of file descriptors")
            ), (files, line)


def test_out_of_memory(url: str) -> None:
    class Hungry(Prober):
        def _probe(self, deadline: object, progress: object) -> object:  # type: ignore[override]
            raise MemoryError

    result = Hungry(parse_target(url), make_options()).probe(1)
    assert (result.reason, result.detail) == (Reason.OUT_OF_RESOURCES, "out of memory")


def test_a_bug_in_one_of_several_probes_is_not_swallowed(url: str) -> None:
    class Broken(Prober):
        def _probe(self, deadline: object, progress: object) -> object:  # type: ignore[override]
            raise ZeroDivisionError

    broken = Broken(parse_target(url), make_options())
    with pytest.raises(ZeroDivisionError):
        probe_all([prober(f"{url}/health"), broken], 1)
