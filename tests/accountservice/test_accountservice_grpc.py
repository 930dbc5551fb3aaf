"""accountservice over gRPC: accounts, grpc.health.v1, stopping, and the client that follows it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from accountservice.__main__ import STOP_LIMIT
from accountservice.grpc_server import SERVICE
from accountservice.health import INTERVAL
from accountservice.proto import account_pb2, account_pb2_grpc
from tests.servers.accountservice import BOUND, DOWN, UP, Service, running_service
from tests.support import ROOT, poll

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "accounts.db"


@pytest.fixture
def service(tmp_path: Path, database: Path) -> Iterator[Service]:
    url = f"sqlite:///{database}"
    with running_service(tmp_path / "log", grpc=True, DATABASE_URL=url, TESTABILITY="1") as service:
        service.await_health(UP, timeout=60)
        yield service


@pytest.fixture
def channel(service: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address(service)) as channel:
        yield channel


def address(service: Service) -> str:
    return service.grpc.removeprefix("grpc://")


def get_account(channel: grpc.Channel, account_id: str) -> account_pb2.GetAccountResponse:
    stub = account_pb2_grpc.AccountServiceStub(channel)  # type: ignore[no-untyped-call]
    request = account_pb2.GetAccountRequest(account_id=account_id)
    response = stub.GetAccount(request, timeout=BOUND)
    assert isinstance(response, account_pb2.GetAccountResponse)
    return response


def health(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)  # its type stubs do not know its methods


def status(channel: grpc.Channel, name: str) -> int:
    response = health(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=BOUND)
    return int(response.status)


class Watch:
    """A running Watch call; `seen` has every status received, `end` the code it ended with."""

    def __init__(self, channel: grpc.Channel, name: str) -> None:
        self.seen: list[int] = []
        self.end: grpc.StatusCode | None = None
        self._call = health(channel).Watch(health_pb2.HealthCheckRequest(service=name))
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        try:
            for response in self._call:
                self.seen.append(response.status)
        except grpc.RpcError as error:
            self.end = error.code()

    def stop(self) -> None:
        self._call.cancel()
        self._thread.join()


@contextmanager
def watching(channel: grpc.Channel, name: str) -> Iterator[Watch]:
    watch = Watch(channel, name)
    try:
        yield watch
    finally:
        watch.stop()


def test_get_account(service: Service, channel: grpc.Channel) -> None:
    account = get_account(channel, "10099")
    assert (account.id, account.name) == ("10099", "Person_99")
    assert account.served_by.endswith(address(service)[-6:])
    for unknown in ("10100", "", "x"):
        with pytest.raises(grpc.RpcError) as caught:
            get_account(channel, unknown)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_list_tells_of_every_service(service: Service) -> None:
    def listed() -> dict[str, str]:
        command = [sys.executable, "-m", "healthchecker", "list", "--output=json", service.grpc]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        statuses: dict[str, str] = json.loads(done.stdout)["services"]
        assert done.returncode == (0 if set(statuses.values()) == {"SERVING"} else 1)
        return statuses

    services = ("", SERVICE)
    poll(lambda: listed() == dict.fromkeys(services, "SERVING"), timeout=60, what="serving")
    service.get("/testability/healthy/false")
    poll(lambda: listed() == dict.fromkeys(services, "NOT_SERVING"), timeout=60, what="not serving")


def test_get_account_without_a_database(channel: grpc.Channel, database: Path) -> None:
    database.unlink()
    with pytest.raises(grpc.RpcError) as caught:
        get_account(channel, "10000")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == "database inaccessible"


def test_check_follows_the_same_state_as_http(service: Service, channel: grpc.Channel) -> None:
    for state, expected, over_http in (
        ("true", SERVING, UP),
        ("false", NOT_SERVING, DOWN),
        ("true", SERVING, UP),
    ):
        service.get(f"/testability/healthy/{state}")
        for name in ("", SERVICE):
            call = partial(status, channel, name)
            poll(partial(returns, call, expected), timeout=30, what=state)
        assert service.get("/health") == over_http


def returns(call: Callable[[], int], expected: int) -> bool:
    return call() == expected


def test_check_of_an_unknown_service(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        status(channel, "no.such.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with watching(channel, "no.such.Service") as watch:
        poll(lambda: watch.seen == [SERVICE_UNKNOWN], timeout=60, what="unknown")


@pytest.mark.parametrize("name", ["", SERVICE])
def test_watch_sees_each_change_once(service: Service, channel: grpc.Channel, name: str) -> None:
    expected: list[int] = [SERVING]
    with watching(channel, name) as watch:
        poll(lambda: watch.seen == expected, timeout=60, what="first status")
        for state, status in (("0", NOT_SERVING), ("0", None), ("1", SERVING), ("1", None)) * 3:
            service.get(f"/testability/healthy/{state}")
            if status is not None:
                expected.append(status)
            poll(lambda: watch.seen == expected, timeout=30, what=f"{expected}")
            service.get("/health")
    assert watch.seen == expected


def test_health_follows_the_database_unasked(channel: grpc.Channel, database: Path) -> None:
    kept = database.with_suffix(".kept")
    with watching(channel, SERVICE) as watch:
        poll(lambda: watch.seen == [SERVING], timeout=60, what="first status")
        database.rename(kept)
        poll(lambda: watch.seen[1:] == [NOT_SERVING], timeout=INTERVAL, what="NOT_SERVING")
        kept.rename(database)
        poll(lambda: watch.seen[2:] == [SERVING], timeout=INTERVAL, what="SERVING")
    assert watch.seen == [SERVING, NOT_SERVING, SERVING]


def test_not_serving_before_there_is_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/later/accounts.db"
    with (
        running_service(tmp_path / "log", grpc=True, DATABASE_URL=url) as service,
        grpc.insecure_channel(address(service)) as channel,
        watching(channel, "") as watch,
    ):
        poll(lambda: watch.seen == [NOT_SERVING], timeout=60, what="NOT_SERVING")
        (tmp_path / "later").mkdir()
        # Longer than `INTERVAL`: the file is also made and filled.
        poll(lambda: watch.seen == [NOT_SERVING, SERVING], timeout=60, what="SERVING")


@pytest.mark.timing  # half a second of notice
def test_stop_turns_health_first_and_ends_watches(service: Service, channel: grpc.Channel) -> None:
    with watching(channel, "") as watch:
        poll(lambda: watch.seen == [SERVING], timeout=60, what="first status")
        service.process.send_signal(signal.SIGTERM)
        poll(lambda: watch.seen == [SERVING, NOT_SERVING], timeout=1, what="NOT_SERVING")
        assert get_account(channel, "10000").name == "Person_0"
        assert service.get("/health") == DOWN
        assert service.process.wait(timeout=STOP_LIMIT) == 0
        poll(lambda: watch.end is not None, timeout=2, what="the watch ended")


def test_no_grpc_when_off(tmp_path: Path) -> None:
    with running_service(tmp_path / "log", grpc=False) as service:
        service.await_health(UP, timeout=60)
        assert "grpc" not in service.log


class Client:
    """A running accountservice.client."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def last(self, number: int) -> list[str]:
        return self._output.read_text().splitlines()[-number:]

    def await_calls(self, matching: Callable[[str], bool], number: int, what: str) -> None:
        def all_match() -> bool:
            lines = self.last(number)
            return len(lines) == number and all(map(matching, lines))

        poll(all_match, timeout=60, what=what)


@contextmanager
def running_client(output: Path, services: list[Service]) -> Iterator[Client]:
    addresses = [word for each in services for word in ("--address", address(each))]
    command = [sys.executable, "-W", "error", "-m", "accountservice.client", "--interval=0.02"]
    with output.open("wb") as file:
        process = subprocess.Popen([*command, *addresses], cwd=ROOT, stdout=file, stderr=file)
    try:
        yield Client(output)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_client_calls_healthy_replicas_only(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first, second = replicas = [
            stack.enter_context(running_service(tmp_path / f"log{n}", grpc=True, TESTABILITY="1"))
            for n in (1, 2)
        ]
        for each in replicas:
            each.await_health(UP, timeout=60)
        calls = stack.enter_context(running_client(tmp_path / "calls", replicas))

        def served_by(service: Service) -> Callable[[str], bool]:
            return lambda line: line.endswith(address(service)[-6:])

        def refused(line: str) -> bool:
            return line.startswith("UNAVAILABLE: ") and f"health check of {SERVICE}" in line

        def both() -> bool:
            lines = calls.last(20)
            return all(sum(map(served_by(each), lines)) == 10 for each in replicas)

        poll(both, timeout=60, what="both called in turn")
        first.get("/testability/healthy/false")
        calls.await_calls(served_by(second), 20, "second only")
        calls.await_calls(served_by(second), 20, "second only, still")
        second.get("/testability/healthy/false")
        calls.await_calls(refused, 20, "none")
        first.get("/testability/healthy/true")
        calls.await_calls(served_by(first), 20, "first only")
        second.get("/testability/healthy/true")
        poll(both, timeout=60, what="both called again")
        assert first.stop() == 0
        calls.await_calls(served_by(second), 20, "second only, first stopped")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--address"),
        (["--address", "localhost"], "'localhost'"),
        (["--address", "127.0.0.1:x"], "'127.0.0.1:x'"),
        (["--address", "127.0.0.1:70000"], "'127.0.0.1:70000'"),
        (["--address", "127.0.0.1:1", "--address", "[::1]:1"], "--address"),
        (["--address", "127.0.0.1:1", "--interval", "0"], "--interval"),
        (["--address", "127.0.0.1:1", "--interval", "nan"], "--interval"),
        (["--verbose"], "--address"),
    ],
)
def test_client_refuses_bad_arguments(arguments: list[str], named: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "accountservice.client", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert named in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_generated_code_is_current(tmp_path: Path) -> None:
    subprocess.run(
        [ROOT / "scripts" / "generate-proto", tmp_path],
        env={**os.environ, "VENV": sys.prefix, "SETUP": "skip"},
        check=True,
    )
    made = sorted((tmp_path / "accountservice" / "proto").iterdir())
    assert [file.name for file in made] == [
        "account_pb2.py",
        "account_pb2.pyi",
        "account_pb2_grpc.py",
    ]
    for file in made:
        assert file.read_text() == (ROOT / "accountservice" / "proto" / file.name).read_text()
