"""postgresql:// targets: a real PgBouncer, with its database, without it, and full."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psycopg
import pytest

from healthchecker import Reason, check
from tests.servers.daemons import Daemon, free_port, program, running_daemon
from tests.servers.postgres import PASSWORD, Cluster, find_binaries, running_cluster
from tests.support import poll, require
from tests.support.forms import Form, run


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    binaries = find_binaries()
    require(binaries, "PostgreSQL is not installed")
    assert binaries
    with running_cluster(binaries) as cluster:
        cluster.create_database("accounts")
        yield cluster


@contextmanager
def pgbouncer(cluster: Cluster, port: int, **changed: str) -> Iterator[Daemon]:
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": "{directory}/users",
        "query_wait_timeout": "2",
        "server_login_retry": "1",
        **changed,
    }
    lines = ["[databases]", f"accounts = host=127.0.0.1 port={cluster.port}", "[pgbouncer]"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    files = {
        "config": "\n".join(lines).encode(),
        "users": f'"accounts" "{PASSWORD}"\n'.encode(),
    }
    command = [program("pgbouncer", folder="/usr/sbin:/usr/bin"), "{directory}/config"]
    with running_daemon("nobody", *command, port=port, files=files) as server:
        yield server


def url_of(cluster: Cluster, port: int) -> str:
    return cluster.url("accounts").replace(f":{cluster.port}/", f":{port}/")


def test_states(cluster: Cluster) -> None:
    port = free_port()
    url = url_of(cluster, port)
    assert check(url, login=True).reason is Reason.CONNECTION_REFUSED
    with pgbouncer(cluster, port) as server:
        result = check(url, login=True, timeout=20)
        assert (result.reason, result.detail) == (Reason.OK, "ready for queries")
        assert check(f"postgresql://127.0.0.1:{port}", timeout=20)
        server.pause()
        assert check(url, login=True, timeout=0.3).reason is Reason.TIMEOUT
        assert check(f"postgresql://127.0.0.1:{port}", timeout=0.3).reason is Reason.TIMEOUT
        server.resume()
        assert check(url, login=True, timeout=20)
        assert "unexpected" not in server.log
    assert check(url, login=True).reason is Reason.CONNECTION_REFUSED


def test_refused_logins(form: Form, cluster: Cluster) -> None:
    port = free_port()
    url = url_of(cluster, port)
    with pgbouncer(cluster, port):
        for refused in (url.replace("p%25ss", "s3cret"), url.replace("accounts:", "nobody:")):
            for args in ((), ("-v",), ("--output=json",)):
                found = run(form, ["--login", *args, refused])
                assert found.code == 1
                assert "not_serving" in found.stdout + found.stderr, found
                assert "s3cret" not in found.stdout + found.stderr
                assert "rd@" not in found.stdout + found.stderr
        absent = check(f"{url}x", login=True, timeout=20)
    assert absent.reason is Reason.NOT_SERVING
    assert "no such database" in absent.detail


def test_without_its_database(cluster: Cluster) -> None:
    port = free_port()
    url = url_of(cluster, port)
    cluster.end()
    try:
        with pgbouncer(cluster, port):
            never = check(url, login=True, timeout=20)
            assert check(f"postgresql://127.0.0.1:{port}", timeout=20)  # alive itself
            cluster.start()
            poll(lambda: check(url, login=True, timeout=20), timeout=20, what="it is there")
            cluster.end()
            # It has found it once: from now on it lets clients log in without it, for a while.
            gone = check(url, login=True, timeout=20)
            cluster.start()
            poll(lambda: check(url, login=True, timeout=20), timeout=20, what="it is back")
    finally:
        cluster.end()
        cluster.start()
    for found in (never, gone):
        assert (found.reason, found.status) == (Reason.NOT_SERVING, "08P01")
        assert re.match("query_wait_timeout|server login has been failing", found.detail)


def test_full(cluster: Cluster) -> None:
    port = free_port()
    url = url_of(cluster, port)
    with pgbouncer(cluster, port, max_client_conn="2"), ExitStack() as taken:
        for _ in range(2):
            taken.enter_context(closing(psycopg.connect(url)))
        full = check(url, login=True, timeout=20)
    assert full.reason is Reason.NOT_SERVING
    assert "no more connections allowed" in full.detail
