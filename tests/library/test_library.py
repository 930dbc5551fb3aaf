"""The public names of healthchecker: arguments, processes, the asyncio forms, the heartbeat."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import pydoc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import healthchecker
from healthchecker import (
    BadArgumentError,
    CheckResult,
    HealthServer,
    Heartbeat,
    Observation,
    Phase,
    Reason,
    ServerStartError,
    UnhealthyError,
    acheck,
    acheck_all,
    awatch,
    check,
    check_all,
    watch,
)
from healthchecker._run.pool import pool
from tests.servers.http import http_service
from tests.servers.peers import Peer, SilentPeer, respond
from tests.support import ROOT, open_files, poll


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http_service() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def silent() -> Iterator[str]:
    """Listen on a port, and never send anything there."""
    with SilentPeer() as peer:
        yield peer.url()


def run_python(code: str) -> str:
    """Run a program; return its output."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert not done.stderr
    assert done.returncode == 0
    return done.stdout


# Names.


def test_every_public_name_is_known_and_documented() -> None:
    names = set(healthchecker.__all__)
    assert names <= set(dir(healthchecker))
    text = pydoc.plain(pydoc.render_doc(healthchecker))
    for name in names - {"__version__"}:
        assert getattr(healthchecker, name).__doc__
        assert name in text
    namespace: dict[str, object] = {}
    exec("from healthchecker import *", namespace)
    assert names <= set(namespace)
    assert healthchecker.__version__ == "0.1.0"


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        _ = healthchecker.chek


def test_dir_shows_public_names_only() -> None:
    assert dir(healthchecker) == sorted(healthchecker.__all__)


def test_a_heartbeat_loads_neither_httpx_nor_openssl() -> None:
    code = """
import sys
from healthchecker import Heartbeat
print([name for name in ("httpx", "ssl", "h2", "asyncio", "click") if name in sys.modules])
"""
    assert run_python(code) == "[]\n"


def test_a_check_loads_neither_asyncio_nor_the_server() -> None:
    code = """
import sys, healthchecker
print([name for name in ("asyncio", "uvicorn", "starlette") if name in sys.modules])
"""
    assert run_python(code) == "[]\n"


# Arguments.


def acheck_now(target: Any, **options: Any) -> CheckResult:
    return asyncio.run(acheck(target, **options))


@pytest.mark.parametrize("function", [check, watch, awatch, acheck_now])
@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"target": 80}, "target"),
        ({"target": b"http://localhost"}, "target"),
        ({"timeout": "2s"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"connect_timeout": "1"}, "connect_timeout"),
        ({"method": 1}, "method"),
        ({"headers": "a: b"}, "headers"),
        ({"headers": ["a: b"]}, "headers"),
        ({"headers": {"a": 1}}, "headers"),
        ({"headers": 5}, "headers"),
        ({"headers": {1: "b"}}, "headers"),
        ({"basic_auth": "u:s3cret"}, "basic_auth"),
        ({"basic_auth": ("u", b"s3cret")}, "basic_auth"),
        ({"basic_auth": ("u", "s3cret", "")}, "basic_auth"),
        ({"status": 200.0}, "status"),
        ({"status": [200, None]}, "status"),
        ({"status": True}, "status"),
        ({"status": []}, "status"),
        ({"status": b"200"}, "status"),
        ({"expect_json": 5}, "expect_json"),
        ({"expect_json": {"a": object()}}, "expect_json"),
        ({"expect_json": {"a": {1, 2}}}, "expect_json"),
        ({"expect_body": 5}, "expect_body"),
        ({"expect_body": [b"x"]}, "expect_body"),
        ({"expect_header": ["a"]}, "expect_header"),
        ({"follow_redirects": "no"}, "follow_redirects"),
        ({"cacert": 5}, "cacert"),
        ({"cert": b"x"}, "cert"),
        ({"server_name": 5}, "server_name"),
        ({"insecure": "false"}, "insecure"),
        ({"loopback_only": 0}, "loopback_only"),
        ({"unix_socket": 5}, "unix_socket"),
    ],
)
def test_a_wrong_type_is_refused_by_name_at_the_call(
    function: Callable[..., Any], arguments: dict[str, Any], argument: str
) -> None:
    given = {"target": "https://localhost/", **arguments}
    with pytest.raises(BadArgumentError) as caught:
        function(**given)
    assert caught.value.argument == argument
    assert str(caught.value).startswith(f"{argument}: ")
    assert "s3cret" not in str(caught.value)


def test_values_of_python_types_are_accepted(url: str, tmp_path: Path) -> None:
    assert check(httpx.URL(f"{url}/health"), status=[200, 204])
    assert check(f"{url}/health", status=("2xx", 404))
    assert not check(f"{url}/health", status=[204])
    missing = tmp_path / "nothing"
    assert check(f"{url}/health", unix_socket=missing).reason is Reason.CONNECTION_FAILED
    with pytest.raises(BadArgumentError, match="cacert"):
        check("https://localhost", cacert=missing)


@pytest.mark.parametrize(
    ("expected", "healthy"),
    [
        ({"checks.db": True}, True),
        ({"checks.db": "true"}, True),  # as on the command line
        ({"checks.db": 1}, False),
        ({"checks.db": False}, False),
        ({"text": True}, False),
        ({"text": "true"}, True),
        ({"n": 3, "list": [1, None]}, True),
        ({"none": None}, True),
        ({"checks": {"db": True}}, True),
        ([("n", 3), ("n", 4)], False),
    ],
)
def test_json_values_are_values(expected: Any, healthy: bool) -> None:
    body = b'{"checks": {"db": true}, "text": "true", "n": 3, "list": [1, null], "none": null}'
    with Peer(respond(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)) as peer:
        result = check(peer.url(), expect_json=expected)
    assert result.healthy is healthy
    assert result.reason is (Reason.OK if healthy else Reason.UNEXPECTED_BODY)


# Several targets, and exceptions.


def test_check_all_returns_a_result_for_each_in_order(url: str, silent: str) -> None:
    targets: list[str | httpx.URL] = [
        *(f"{url}/status/500", httpx.URL(f"{url}/health")),
        *(silent, "tcp://127.0.0.1:1"),
    ]
    expected = [Reason.UNEXPECTED_STATUS, Reason.OK, Reason.TIMEOUT, Reason.CONNECTION_REFUSED]
    assert [result.reason for result in check_all(targets, timeout=1.5)] == expected
    results = asyncio.run(acheck_all(iter(targets), timeout=1.5))
    assert [result.reason for result in results] == expected


def test_check_all_of_nothing_and_of_a_text() -> None:
    assert check_all([]) == []
    assert asyncio.run(acheck_all([])) == []
    with pytest.raises(BadArgumentError, match="targets"):
        check_all("http://localhost")
    with pytest.raises(BadArgumentError, match="targets"):
        check_all(5)  # type: ignore[arg-type]


def test_options_that_no_target_can_use_are_refused(url: str) -> None:
    assert all(check_all([f"{url}/health", url.replace("http", "tcp")], status=200))
    with pytest.raises(BadArgumentError, match="status"):
        check_all(["tcp://127.0.0.1:1"], status=204)


def test_raise_for_unhealthy(url: str) -> None:
    result = check(f"{url}/health")
    assert result.raise_for_unhealthy() is result
    failed = check(f"{url}/status/500")
    with pytest.raises(UnhealthyError) as caught:
        failed.raise_for_unhealthy()
    assert caught.value.result is failed
    assert str(caught.value) == (
        f"{url}/status/500: unexpected_status: HTTP status 500, expected 200"
    )
    assert pickle.loads(pickle.dumps(caught.value)).result == failed


def test_to_dict_is_the_object_of_the_command_line(url: str) -> None:
    good, bad = check(f"{url}/health"), check(f"{url}/health", expect_body="nothing of it")
    shown = json.loads(json.dumps(good.to_dict()))
    assert set(shown) == {
        *("target", "healthy", "reason", "detail", "status", "elapsed_ms", "phases_ms")
    }
    assert (shown["healthy"], shown["reason"], shown["status"]) == (True, "ok", 200)
    assert set(shown["phases_ms"]) <= set(Phase)
    assert bad.to_dict()["body"] == bad.excerpt
    argv = [sys.executable, "-m", "healthchecker", "--output", "json", f"{url}/health"]
    printed = json.loads(subprocess.run(argv, cwd=ROOT, capture_output=True, check=True).stdout)
    assert set(printed["checks"][0]) == set(shown)


# Other processes, and copies.


def error_of(call: Callable[..., object], *args: object, **options: object) -> Exception:
    with pytest.raises((BadArgumentError, ServerStartError)) as caught:
        call(*args, **options)
    return caught.value


def public_values(target: str) -> list[Any]:
    result = check(target)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        start_error = error_of(HealthServer(taken.getsockname()[1], host="127.0.0.1").run)
    return [
        *(result, UnhealthyError(result), Observation(result, report=False)),
        *(start_error, Reason.TIMEOUT, Phase.TLS),
        error_of(check, "localhost:80"),
        error_of(check, target, status=lambda: 200),
        error_of(check, target, expect_json={"a": object()}),
    ]


@pytest.mark.parametrize(
    "duplicate",
    [
        *(
            pytest.param(lambda one, n=number: pickle.loads(pickle.dumps(one, n)), id=f"{number}")
            for number in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_every_public_value_and_exception_pickles_and_copies(
    url: str, duplicate: Callable[[Any], Any]
) -> None:
    for value in public_values(f"{url}/status/500"):
        again = duplicate(value)
        assert type(again) is type(value)
        assert (str(again), repr(again)) == (str(value), repr(value))
        if isinstance(value, OSError):
            assert again.errno == value.errno
        if isinstance(value, BadArgumentError):
            assert again.argument == value.argument
            assert again.problem == value.problem
            assert repr(again.value) == repr(value.value)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_checks_in_other_processes_return_and_raise(url: str, method: str) -> None:
    code = f"""
import multiprocessing, warnings
from concurrent.futures import ProcessPoolExecutor
from healthchecker import BadArgumentError, check
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork with threads
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(check, {url + "/health"!r}).result(30)
        assert pool.submit(check, {url + "/status/500"!r}).result(30).status == 500
        error = pool.submit(check, "localhost:80").exception(30)
        assert isinstance(error, BadArgumentError) and "localhost:80" in str(error), error
    with context.Pool(1) as pool:
        try:
            pool.apply_async(check, ["localhost:80"]).get(30)
        except BadArgumentError as error:
            print(error.argument)
"""
    assert run_python(code).lower() == "target\n"


# asyncio.


def test_acheck_does_not_block_the_loop(url: str, silent: str) -> None:
    async def program() -> None:
        hanging = asyncio.create_task(acheck(silent, timeout=60))
        for _ in range(3):
            assert await acheck(f"{url}/health")
        assert not hanging.done()
        hanging.cancel()
        await asyncio.wait([hanging])

    asyncio.run(program())


def test_a_cancelled_acheck_leaves_nothing(silent: str) -> None:
    async def program() -> None:
        before = open_files()
        tasks = [asyncio.create_task(acheck(silent, timeout=60)) for _ in range(20)]
        tasks.append(asyncio.create_task(acheck_all([silent] * 5, timeout=60)))  # type: ignore[arg-type]
        await asyncio.wait(tasks, timeout=0.3)
        for task in tasks:
            task.cancel()
        start = time.monotonic()
        assert len((await asyncio.wait(tasks))[0]) == 21
        assert time.monotonic() - start < 5
        assert all(task.cancelled() for task in tasks)
        assert open_files() <= before  # files of an earlier test may have been closed

    asyncio.run(program())


def test_acheck_without_a_thread_to_be_had(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", start)
    result = asyncio.run(acheck(f"{url}/health"))
    monkeypatch.undo()
    pool.cache_clear()
    assert (result.reason, result.detail) == (Reason.OUT_OF_RESOURCES, "no thread can be started")


# Where Linux's own constants are missing.


def test_it_runs_without_the_constants_of_linux(url: str, tmp_path: Path) -> None:
    code = f"""
import os, select, signal, socket, sys
for module, names in (
    (socket, ["SOCK_NONBLOCK", "SOCK_CLOEXEC", "MSG_NOSIGNAL", "SO_DOMAIN", "SO_PROTOCOL"]),
    (select, ["POLLRDHUP"]),
    (os, ["eventfd", "pipe2", "memfd_create", "pidfd_open", "sched_getaffinity", "posix_fadvise"]),
    (signal, ["pidfd_send_signal", "sigtimedwait", "sigwaitinfo"]),
):
    for name in names:
        vars(module).pop(name, None)
sys.modules["trio"] = None  # it needs them, and httpcore imports it if installed
import asyncio, threading
from healthchecker import *
from healthchecker._values import validate as _validate
_validate._LINUX = False
url = {url!r}
assert check(url + "/health") and check(url.replace("http", "tcp"))
assert asyncio.run(acheck(url + "/health"))
with watch(url + "/health", initial_delay=0) as reports:
    assert next(reports)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind({str(tmp_path / "socket")!r})
    listener.listen()
    def respond():
        with listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    thread = threading.Thread(target=respond)
    thread.start()
    assert check("http://localhost/", unix_socket={str(tmp_path / "socket")!r})
    thread.join()
print(check("http://no-such-host.invalid/").reason)
with HealthServer(0, host="127.0.0.1") as server:
    server.ready()
    assert check(f"http://127.0.0.1:{{server.port}}/healthz")
try:
    check("http://localhost/", unix_socket="@name")
except BadArgumentError as error:
    print(error)
"""
    reason, problem = run_python(code).splitlines()
    assert reason in ("dns_failure", "timeout")
    assert problem == (
        "unix_socket: '@name': abstract sockets are only available on Linux; use a path"
    )


# The heartbeat.


def test_a_beat_makes_the_file_and_renews_it(tmp_path: Path) -> None:
    path = tmp_path / "beat"
    heartbeat = Heartbeat(path)
    assert not path.exists()
    heartbeat.beat()
    assert path.stat().st_mode & 0o777 == 0o644
    path.write_text("kept")
    os.utime(path, (1000, 1000))
    heartbeat.beat()
    assert abs(path.stat().st_mtime - time.time()) < 5
    assert path.read_text() == "kept"
    path.unlink()
    heartbeat.beat()
    assert path.exists()


def test_the_check_of_a_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / "beat"
    assert check(f"file://{path}", max_age=30).reason is Reason.MISSING
    Heartbeat(path).beat()
    assert check(f"file://{path}", max_age=30)
    os.utime(path, (1000, 1000))
    assert check(f"file://{path}", max_age=30).reason is Reason.STALE
    Heartbeat(path).beat()
    assert check(f"file://{path}", max_age=30)


def test_a_beat_follows_its_path_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heartbeat = Heartbeat("beat")
    monkeypatch.chdir("/")
    heartbeat.beat()
    assert (tmp_path / "beat").exists()


def test_beats_of_many_threads_leave_no_file_open(tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path / "beat")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(500):
                heartbeat.beat()
        except BaseException as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    before = open_files()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    poll(lambda: open_files() <= before, timeout=5, what="all files are closed")


def test_a_beat_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path, tmp_path / "no" / "such", tmp_path / "fifo"):
        with pytest.raises(OSError, match=str(place)):
            Heartbeat(place).beat()


@pytest.mark.parametrize("path", [5, b"x", "", "a\0b", None])
def test_a_heartbeat_wants_a_path(path: Any) -> None:
    with pytest.raises(BadArgumentError, match=r"^path: "):
        Heartbeat(path)
