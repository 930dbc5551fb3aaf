"""accountservice on a real PostgreSQL that is stopped, killed, frozen, filled and locked."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest

from accountservice.__main__ import STOP_LIMIT
from accountservice.database import CONNECTIONS
from accountservice.proto import account_pb2, account_pb2_grpc
from tests.servers.accountservice import BOUND, DOWN, UP, Service, running_service
from tests.servers.postgres import PASSWORD, Cluster, find_binaries, running_cluster
from tests.servers.proxy import Proxy
from tests.support import poll, require

_numbers = count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    binaries = find_binaries()
    require(binaries, "PostgreSQL (Debian: apt-get install postgresql)")
    assert binaries is not None
    with running_cluster(binaries) as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> str:
    """Make an empty database and return its name."""
    name = f"accounts{next(_numbers)}"
    cluster.create_database(name)
    return name


@pytest.fixture
def service(cluster: Cluster, database: str, tmp_path: Path) -> Iterator[Service]:
    url = cluster.url(database)
    with running_service(tmp_path / "log", DATABASE_URL=url, TESTABILITY="1") as service:
        service.await_health(UP, timeout=60)
        yield service
        check_secrets(service)


def check_secrets(service: Service) -> None:
    assert PASSWORD not in service.log
    assert quote(PASSWORD, safe="") not in service.log


@contextmanager
def load(service: Service) -> Iterator[list[set[int]]]:
    """Send requests without a pause; each must get a response in time, whatever happens.

    The value is the statuses that each client has received so far.
    """
    over = threading.Event()

    def request(path: str, statuses: set[int]) -> None:
        while not over.is_set():
            statuses.add(service.get(path)[0])

    paths = ["/accounts/10000", "/accounts/none", "/health"] * 3
    received: list[set[int]] = [set() for _ in paths]
    with ThreadPoolExecutor(len(paths)) as threads:
        clients = list(map(threads.submit, [request] * len(paths), paths, received))
        try:
            yield received
        finally:
            over.set()
    for path, statuses, one in zip(paths, received, clients, strict=True):
        one.result()
        assert statuses == {404 if path.endswith("none") else 200, 503}


@contextmanager
def stopped(cluster: Cluster, _: str) -> Iterator[None]:
    cluster.stop()
    try:
        yield
    finally:
        cluster.start()


@contextmanager
def killed(cluster: Cluster, _: str) -> Iterator[None]:
    cluster.kill()
    try:
        yield
    finally:
        cluster.start()


@contextmanager
def paused(cluster: Cluster, _: str) -> Iterator[None]:
    cluster.pause()
    try:
        yield
    finally:
        cluster.resume()


@contextmanager
def locked(cluster: Cluster, database: str) -> Iterator[None]:
    with closing(cluster.connect(database)) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE account IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def exhausted(cluster: Cluster, database: str) -> Iterator[None]:
    """Take every connection, those of the service included."""
    end_those = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with (
        closing(cluster.connect()) as admin,
        cluster.all_connections_taken(
            but=1, before_each=lambda: admin.execute(end_those, [database])
        ),
    ):
        yield


Trouble = Callable[[Cluster, str], AbstractContextManager[None]]
TROUBLE = [stopped, killed, paused, locked, exhausted]


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble(cluster: Cluster, database: str, service: Service, trouble: Trouble) -> None:
    for _ in range(2):
        with trouble(cluster, database):
            service.await_health(DOWN)
            for _ in range(2):
                assert service.get("/health") == DOWN
            assert service.get("/accounts/10042") == DOWN
            assert service.get("/testability/healthy/true")[0] == 200
        service.await_health(UP)
        poll(lambda: service.get("/accounts/10042")[0] == 200, timeout=30, what="accounts served")


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_under_load(
    cluster: Cluster, database: str, service: Service, trouble: Trouble
) -> None:
    with load(service) as received:
        poll(
            lambda: all(one - {503} for one in received), timeout=60, what="all got a good response"
        )
        with trouble(cluster, database):
            service.await_health(DOWN)
            for _ in range(3):
                assert service.get("/health") == DOWN
            status = Path(f"/proc/{service.process.pid}/status").read_text()
            assert int(status.split("Threads:")[1].split()[0]) < 10
            poll(
                lambda: all(503 in one for one in received),
                timeout=60,
                what="503 for all",
            )
        service.await_health(UP)


def test_table_gone(cluster: Cluster, database: str, service: Service) -> None:
    with cluster.connect(database) as admin:
        admin.execute("ALTER TABLE account RENAME TO lost")
        service.await_health(DOWN)
        admin.execute("ALTER TABLE lost RENAME TO account")
        service.await_health(UP)


def test_an_empty_database_in_its_place_is_seeded(
    cluster: Cluster, database: str, service: Service
) -> None:
    """Like that of a new pod with an empty volume."""
    with cluster.connect() as admin:
        admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        service.await_health(DOWN)
        cluster.create_database(database)
    service.await_health(UP)
    poll(lambda: service.get("/accounts/10042")[0] == 200, timeout=30, what="accounts served")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_databases_of_other_encodings(cluster: Cluster, encoding: str, tmp_path: Path) -> None:
    name = f"accounts{next(_numbers)}"
    with cluster.connect() as admin:
        admin.execute(
            f"CREATE DATABASE {name} OWNER accounts TEMPLATE template0"
            f" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    with running_service(tmp_path / "log", DATABASE_URL=cluster.url(name)) as service:
        service.await_health(UP, timeout=60)
        assert service.get("/accounts/10042") == (200, '{"id":"10042","name":"Person_42"}')
        for missing in ("%E2%82%AC", "a%00b", "%FF", "x" * 1000):
            assert service.get(f"/accounts/{missing}")[0] == 404
        assert service.get("/health") == UP


def test_a_lasting_fault_is_logged_once(cluster: Cluster, database: str, service: Service) -> None:
    with stopped(cluster, database):
        service.await_health(DOWN)
        for _ in range(20):
            assert service.get("/health") == DOWN
    service.await_health(UP)
    # Its end and its absence are two faults.
    assert service.log.count("Connection refused") == 1, service.log
    assert service.log.count("database inaccessible") <= 2, service.log
    assert service.log.count(" WARNING ") == service.log.count("database inaccessible")


def test_no_database_at_start(cluster: Cluster, database: str, tmp_path: Path) -> None:
    url = cluster.url(database)
    with ExitStack() as stack:
        with stopped(cluster, database):
            service = stack.enter_context(running_service(tmp_path / "log", DATABASE_URL=url))
            for _ in range(3):
                assert service.get("/health") == DOWN
                assert service.get("/accounts/10000") == DOWN
        service.await_health(UP)
        assert service.get("/accounts/10099") == (200, '{"id":"10099","name":"Person_99"}')
        check_secrets(service)


def test_database_that_is_made_later(cluster: Cluster, tmp_path: Path) -> None:
    name = f"accounts{next(_numbers)}"
    with running_service(tmp_path / "log", DATABASE_URL=cluster.url(name)) as service:
        assert service.get("/health") == DOWN
        cluster.create_database(name)
        service.await_health(UP)
        check_secrets(service)


def test_wrong_password(cluster: Cluster, database: str, tmp_path: Path) -> None:
    url = f"postgresql://accounts:very-secret@127.0.0.1:{cluster.port}/{database}"
    with running_service(tmp_path / "log", DATABASE_URL=url) as service:
        assert service.get("/health") == DOWN
        poll(lambda: "password authentication failed" in service.log, timeout=60, what="the reason")
        assert "very-secret" not in service.log


@pytest.mark.timing  # neither may wait for a second
def test_replicas_seed_together(cluster: Cluster, database: str, tmp_path: Path) -> None:
    url = cluster.url(database)
    with (
        running_service(tmp_path / "log1", DATABASE_URL=url) as first,
        running_service(tmp_path / "log2", DATABASE_URL=url) as second,
    ):
        for service in (first, second):
            service.await_health(UP, timeout=60)
            assert "inaccessible" not in service.log
    with cluster.connect(database) as admin:
        assert admin.execute("SELECT count(*) FROM account").fetchone() == (100,)


def test_connections_that_die_silently(cluster: Cluster, database: str, tmp_path: Path) -> None:
    with Proxy(cluster.port) as proxy:
        url = cluster.url(database).replace(f":{cluster.port}/", f":{proxy.port}/")
        with running_service(tmp_path / "log", DATABASE_URL=url) as service:
            service.await_health(UP, timeout=60)

            def pool_is_full() -> bool:
                with ThreadPoolExecutor(20) as threads:
                    list(threads.map(service.get, ["/accounts/10000", "/health"] * 20))
                return proxy.open_connections() == CONNECTIONS

            poll(pool_is_full, timeout=60, what="all connections of the pool in use")
            proxy.silence_open_connections()
            service.await_health(DOWN)
            service.await_health(UP, timeout=3)  # which is less than a second for each of them
            poll(lambda: service.get("/accounts/10000")[0] == 200, timeout=3, what="accounts")


def waiting_queries(cluster: Cluster, database: str) -> int:
    """Count the queries for one account that wait for a lock."""
    with cluster.connect() as admin:
        rows = admin.execute(
            "SELECT FROM pg_stat_activity WHERE datname = %s"
            " AND wait_event_type = 'Lock' AND query LIKE '%%WHERE account.id%%'",
            [database],
        )
        return len(rows.fetchall())


@pytest.mark.timing  # a call that waits for a lock is ended after 0.8 s
def test_stop_lets_running_calls_finish(cluster: Cluster, database: str, tmp_path: Path) -> None:
    url = cluster.url(database)
    with (
        running_service(tmp_path / "log", grpc=True, DATABASE_URL=url) as service,
        grpc.insecure_channel(service.grpc.removeprefix("grpc://")) as channel,
        ThreadPoolExecutor(1) as threads,
    ):
        service.await_health(UP, timeout=60)
        stub = account_pb2_grpc.AccountServiceStub(channel)  # type: ignore[no-untyped-call]
        request = account_pb2.GetAccountRequest(account_id="10001")
        stub.GetAccount(request, timeout=BOUND)
        locking = ExitStack()
        locking.enter_context(locked(cluster, database))
        over_http = threads.submit(service.get, "/accounts/10001")
        over_grpc = stub.GetAccount.future(request, timeout=BOUND)
        poll(lambda: waiting_queries(cluster, database) == 2, timeout=1, what="two calls running")
        service.process.send_signal(signal.SIGTERM)
        poll(lambda: "stopping" in service.log, timeout=1, what="stopping")
        assert not over_http.done()
        assert not over_grpc.done()
        locking.close()
        assert over_http.result() == (200, '{"id":"10001","name":"Person_1"}')
        assert over_grpc.result().name == "Person_1"
        assert service.process.wait(timeout=STOP_LIMIT) == 0


def test_nothing_stays_connected(cluster: Cluster, database: str, tmp_path: Path) -> None:
    with running_service(tmp_path / "log", DATABASE_URL=cluster.url(database)) as service:
        service.await_health(UP, timeout=60)

    def connected() -> int:
        with cluster.connect() as admin:
            return len(
                admin.execute(
                    "SELECT FROM pg_stat_activity WHERE datname = %s", [database]
                ).fetchall()
            )

    poll(lambda: connected() == 0, timeout=30, what="connections closed")
