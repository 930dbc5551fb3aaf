"""accountservice over HTTP on SQLite: the routes, and a file that is lost in every way."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from accountservice.__main__ import STOP_LIMIT
from accountservice.config import ConfigError, read_config
from accountservice.database import TIMEOUT
from healthchecker import check
from tests.servers.accountservice import DOWN, UP, Service, running_service
from tests.support import ROOT, Stopwatch, poll
from tests.support.kubernetes import manifest_links


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "accounts #1?.db"


@pytest.fixture
def service(tmp_path: Path, database: Path) -> Iterator[Service]:
    url = f"sqlite:///{str(database).replace('?', '%3F')}"
    with running_service(tmp_path / "log", DATABASE_URL=url, TESTABILITY="1") as service:
        service.await_health(UP, timeout=60)
        yield service


def test_accounts(service: Service) -> None:
    for n in range(100):
        expected = f'{{"id":"{10_000 + n}","name":"Person_{n}"}}'
        assert service.get(f"/accounts/{10_000 + n}") == (200, expected)
    for unknown in ("9999", "10100", "010000", "10000%20", "x", "%00", "%F0%9F%98%80"):
        assert service.get(f"/accounts/{unknown}")[0] == 404


def test_readiness_follows_health_and_liveness_does_not(service: Service, database: Path) -> None:
    def ready(expected: int) -> bool:
        return service.get("/readyz") == service.get("/healthz") == (expected, "")

    poll(lambda: ready(200), timeout=60, what="ready")
    service.get("/testability/healthy/false")
    poll(lambda: ready(503), timeout=60, what="not ready")
    assert service.get("/livez") == (200, "")
    service.get("/testability/healthy/true")
    poll(lambda: ready(200), timeout=60, what="ready again")
    restore = remove(database)
    poll(lambda: ready(503), timeout=60, what="not ready without a database")
    failed = "[-]database failed: returned False"
    poll(
        lambda: failed in service.get("/readyz?verbose")[1],
        timeout=60,
        what="the reason",
    )
    assert service.get("/livez") == (200, "")
    restore()
    poll(lambda: ready(200), timeout=60, what="ready with it")
    assert httpx.post(service.url + "/livez", trust_env=False).status_code == 405


@pytest.mark.timing  # half of what a question may take
def test_liveness_does_not_ask_the_database(service: Service, database: Path) -> None:
    restore = lock(database)  # for which every question waits
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(service.get, "/health") for _ in range(4)]
        for _ in range(5):
            assert check(f"{service.url}/livez", timeout=TIMEOUT / 2)
        assert {one.result() for one in waiting} == {DOWN}
    restore()


def test_only_the_routes_that_exist(service: Service) -> None:
    assert service.get("/")[0] == 404
    assert service.get("/testability/healthy/")[0] == 404
    assert httpx.post(service.url + "/health", trust_env=False).status_code == 405


def test_switched_off_and_on(service: Service) -> None:
    spellings = zip(
        ("0", "f", "F", "FALSE", "false", "False"),
        ("1", "t", "T", "TRUE", "true", "True"),
        strict=True,
    )
    for off, on in spellings:
        assert service.get(f"/testability/healthy/{off}") == (200, "")
        assert service.get("/health") == DOWN
        assert service.get("/accounts/10000")[0] == 200
        assert service.get(f"/testability/healthy/{on}") == (200, "")
        assert service.get("/health") == UP


def test_state_that_is_no_bool(service: Service) -> None:
    for state in ("maybe", "yes", "tRUE", "2", "%20true", "on"):
        assert service.get(f"/testability/healthy/{state}")[0] == 400
        assert service.get("/health") == UP


def test_testability_is_off_by_default(tmp_path: Path) -> None:
    with running_service(tmp_path / "log") as service:
        assert service.get("/testability/healthy/false")[0] == 404
        service.await_health(UP, timeout=60)


def remove(database: Path) -> Callable[[], None]:
    kept = database.rename(database.with_suffix(".kept"))
    return lambda: void(kept.rename(database))


def replace_by_nothing(database: Path) -> Callable[[], None]:
    restore = remove(database)
    database.touch()
    return restore


def replace_by_directory(database: Path) -> Callable[[], None]:
    kept = database.rename(database.with_suffix(".kept"))
    database.mkdir()

    def restore() -> None:
        database.rmdir()
        kept.rename(database)

    return restore


def replace_by_other_database(database: Path) -> Callable[[], None]:
    restore = remove(database)
    with closing(sqlite3.connect(database)) as other:
        other.execute("CREATE TABLE unrelated (id)")
    return restore


def overwrite(damage: Callable[[bytes], bytes]) -> Callable[[Path], Callable[[], None]]:
    def overwrite_in_place(database: Path) -> Callable[[], None]:
        good = database.read_bytes()
        bad = damage(good)
        write_in_place(database, bad)
        return lambda: write_in_place(database, good)

    return overwrite_in_place


def write_in_place(database: Path, content: bytes) -> None:
    with database.open("r+b") as file:
        file.write(content)
        file.truncate()


def lock(database: Path) -> Callable[[], None]:
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    return other.close


def drop_table(database: Path) -> Callable[[], None]:
    with closing(sqlite3.connect(database)) as other:
        other.execute("ALTER TABLE account RENAME TO lost")

    def restore() -> None:
        with closing(sqlite3.connect(database)) as other:
            other.execute("ALTER TABLE lost RENAME TO account")

    return restore


def void(_: object) -> None:
    pass


TROUBLE = {
    "removed": remove,
    "empty": replace_by_nothing,
    "directory": replace_by_directory,
    "other database": replace_by_other_database,
    "all noise": overwrite(lambda good: b"\xa5" * len(good)),
    "header noise": overwrite(lambda good: b"\xa5" * 100 + good[100:]),
    "page noise": overwrite(lambda good: good[:4096] + b"\xa5" * (len(good) - 4096)),
    "cut off": overwrite(lambda good: good[:5000]),
    "truncated": overwrite(lambda _: b""),
    "locked": lock,
    "table gone": drop_table,
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_with_the_file(service: Service, database: Path, trouble: str) -> None:
    for _ in range(2):
        assert service.get("/accounts/10042")[0] == 200
        restore = TROUBLE[trouble](database)
        service.await_health(DOWN)
        for _ in range(2):
            assert service.get("/health") == DOWN
        assert service.get("/accounts/10042") == DOWN
        restore()
        service.await_health(UP)
        assert service.get("/accounts/10042") == (200, '{"id":"10042","name":"Person_42"}')


def test_a_removed_file_is_not_made_again(service: Service, database: Path) -> None:
    restore = remove(database)
    service.await_health(DOWN)
    assert not database.exists()
    restore()


@pytest.mark.timing
def test_an_answer_comes_in_time(service: Service, database: Path) -> None:
    restore = lock(database)
    service.await_health(DOWN)
    for path in ("/health", "/accounts/10000"):
        watch = Stopwatch(service.process.pid)
        assert service.get(path) == DOWN
        assert watch.own < TIMEOUT + 0.5
    restore()


def test_many_requests_on_a_locked_file(service: Service, database: Path) -> None:
    restore = lock(database)
    service.await_health(DOWN)
    with ThreadPoolExecutor(40) as threads:
        responses = set(threads.map(service.get, ["/health", "/accounts/10000"] * 40))
    assert responses == {DOWN}
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    assert int(status.split("Threads:")[1].split()[0]) < 10
    restore()
    service.await_health(UP)


def test_a_missing_directory_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/later/accounts.db"
    with running_service(tmp_path / "log", DATABASE_URL=url) as service:
        assert service.get("/health") == DOWN
        assert service.get("/accounts/10000") == DOWN
        (tmp_path / "later").mkdir()
        service.await_health(UP, timeout=60)
        assert service.get("/accounts/10000")[0] == 200


def test_seeding_keeps_what_is_there(tmp_path: Path, database: Path) -> None:
    url = f"sqlite:///{tmp_path}/accounts.db"
    with running_service(tmp_path / "log", DATABASE_URL=url) as service:
        service.await_health(UP, timeout=60)
    with closing(sqlite3.connect(tmp_path / "accounts.db")) as file:
        file.execute("UPDATE account SET name = 'Ada' WHERE id = '10001'")
        file.execute("DELETE FROM account WHERE id = '10002'")
        file.commit()
    with running_service(tmp_path / "log2", DATABASE_URL=url) as service:
        service.await_health(UP, timeout=60)
        assert service.get("/accounts/10001") == (200, '{"id":"10001","name":"Ada"}')
        assert service.get("/accounts/10002")[0] == 200


def test_replicas_seed_one_file_together(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/accounts.db"
    with (
        running_service(tmp_path / "log1", DATABASE_URL=url) as first,
        running_service(tmp_path / "log2", DATABASE_URL=url) as second,
    ):
        for service in (first, second):
            service.await_health(UP, timeout=60)
            assert service.get("/accounts/10099")[0] == 200
    with closing(sqlite3.connect(tmp_path / "accounts.db")) as file:
        assert file.execute("SELECT count(*) FROM account").fetchone() == (100,)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_temporary_database_is_removed(tmp_path: Path, number: signal.Signals) -> None:
    with running_service(tmp_path / "log", TESTABILITY="1") as service:
        service.await_health(UP, timeout=60)
        name = service.log.split("database sqlite:///")[1].split()[0]
        assert Path(name).parent.parent == Path(tempfile.gettempdir())
        assert Path(name).stat().st_size > 0
        service.process.send_signal(number)
        assert service.process.wait(timeout=60) == 0
        assert not Path(name).parent.exists()


@pytest.mark.timing  # half a second of notice
def test_stop_turns_health_before_the_port_closes(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)
    service.await_health(DOWN, timeout=1)
    assert service.get("/accounts/10000")[0] == 200
    assert service.process.wait(timeout=60) == 0


def test_stop_does_not_wait_for_a_request_without_end(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nX: ")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=STOP_LIMIT) == 0


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PORT", "http", "ACCOUNTSERVICE_PORT: 'http' is not a port number (0 to 65535)"),
        ("PORT", "65536", "ACCOUNTSERVICE_PORT: '65536' is not a port number (0 to 65535)"),
        ("PORT", "-1", "ACCOUNTSERVICE_PORT: '-1' is not a port number (0 to 65535)"),
        ("PORT", "٣", "ACCOUNTSERVICE_PORT: '٣' is not a port number (0 to 65535)"),
        ("GRPC_PORT", "of", "ACCOUNTSERVICE_GRPC_PORT: 'of' is not a port number (0 to 65535)"),
        ("TESTABILITY", "yes", "ACCOUNTSERVICE_TESTABILITY: 'yes' must be 0 or 1"),
        ("DATABASE_URL", "secret", "ACCOUNTSERVICE_DATABASE_URL: not a database URL"),
        (
            "DATABASE_URL",
            "mysql://me:secret@host/name",
            "ACCOUNTSERVICE_DATABASE_URL: must start with sqlite:/// or postgresql://",
        ),
        (
            "DATABASE_URL",
            "postgresql://me:secret@host:port/name",
            "ACCOUNTSERVICE_DATABASE_URL: not a database URL",
        ),
        (
            "DATABASE_URL",
            "sqlite://",
            "ACCOUNTSERVICE_DATABASE_URL: sqlite needs a file (sqlite:///accounts.db)",
        ),
        (
            "DATABASE_URL",
            "sqlite:///a.db?mode=ro",
            "ACCOUNTSERVICE_DATABASE_URL: sqlite:// takes no query parameters",
        ),
    ],
)
def test_bad_configuration(variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({f"ACCOUNTSERVICE_{variable}": value})
    assert str(caught.value) == message


def test_configuration_defaults() -> None:
    config = read_config({"ACCOUNTSERVICE_HOST": "", "ACCOUNTSERVICE_GRPC_PORT": ""})
    assert (config.host, config.port, config.grpc_port) == ("127.0.0.1", 6767, 6768)
    assert config.database_url is None
    assert not config.testability


SERVICE_LINKS = {
    **manifest_links(),
    # Those of a Service that is named accountservice-grpc.
    "ACCOUNTSERVICE_GRPC_PORT": "tcp://10.98.0.90:6768",
    "ACCOUNTSERVICE_GRPC_SERVICE_HOST": "10.98.0.90",
}


def test_service_links_of_kubernetes_are_not_settings() -> None:
    config = read_config(SERVICE_LINKS)
    assert (config.host, config.port, config.grpc_port) == ("127.0.0.1", 6767, 6768)


def test_it_starts_in_a_pod_with_service_links(tmp_path: Path) -> None:
    """On the default ports, which are free on an address of its own."""
    links = {name.removeprefix("ACCOUNTSERVICE_"): value for name, value in SERVICE_LINKS.items()}
    host = "127.67.67.1"
    with running_service(tmp_path / "log", grpc=True, HOST=host, **links) as service:
        assert (service.url, service.grpc) == (f"http://{host}:6767", f"grpc://{host}:6768")
        service.await_health(UP, timeout=60)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "accountservice", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_start_that_fails_says_why_in_one_line(service: Service) -> None:
    port = service.url.rsplit(":", 1)[1]
    for name, value in (
        ("ACCOUNTSERVICE_PORT", "http"),
        ("ACCOUNTSERVICE_PORT", port),
        ("ACCOUNTSERVICE_HOST", "no.such.host.invalid"),
    ):
        ended = run(**{"ACCOUNTSERVICE_GRPC_PORT": "off", name: value})
        assert ended.returncode == 1
        assert " ERROR accountservice: " in ended.stderr
        assert ended.stderr.count("\n") == 1
    ended = run(ACCOUNTSERVICE_PORT="0", ACCOUNTSERVICE_GRPC_PORT=port)
    assert ended.returncode == 1
    assert f"accountservice: cannot bind gRPC port {port} on 127.0.0.1\n" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help() -> None:
    ended = run("--help")
    assert ended.returncode == 0
    assert "ACCOUNTSERVICE_DATABASE_URL" in ended.stdout
    assert run("extra").returncode == 1
