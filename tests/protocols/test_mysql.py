"""mysql:// targets: agreement with mysqladmin ping about a real MariaDB server in every state."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from healthchecker import CheckResult, Reason, check
from healthchecker._protocols.mysql import (
    Greeting,
    LoginReply,
    caching_proof,
    decode_greeting,
    decode_login_reply,
    encode_login,
    native_proof,
)
from healthchecker._protocols.reply import CodecError
from tests.servers.mariadb import MAX_CONNECT_ERRORS, MariaDb, running_mariadb
from tests.servers.peers import Connection, Peer
from tests.support import poll, require


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDb]:
    with running_mariadb() as server:
        yield server


@pytest.fixture(scope="module")
def address(server: MariaDb) -> str:
    """Return an address of this machine that the server does not take for loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            require(False, "this machine has no address but loopback")
        address: str = sock.getsockname()[0]
    server.execute("CREATE USER app@'%' IDENTIFIED BY 's3cret'")
    return address


def probe(server: MariaDb, host: str = "127.0.0.1", timeout: int = 10) -> CheckResult:
    """Check, and compare the verdict with that of mysqladmin ping."""
    result = check(f"mysql://{host}:{server.port}", timeout=timeout)
    pong = server.ping(f"--host={host}", f"--port={server.port}", timeout=timeout)
    assert result.healthy == pong, result
    return result


def test_alive(server: MariaDb) -> None:
    result = probe(server)
    assert result.healthy
    assert "MariaDB" in result.detail


def test_unix_socket(server: MariaDb) -> None:
    assert check("mysql://localhost", unix_socket=str(server.socket))
    assert server.ping(f"--socket={server.socket}")


@pytest.mark.parametrize("user", ["app:s3cret@", "root@", "nobody@", ""])
def test_any_user(server: MariaDb, address: str, user: str) -> None:
    result = check(f"mysql://{user}127.0.0.1:{server.port}/accounts")
    assert (result.healthy, result.target) == (True, f"mysql://127.0.0.1:{server.port}/accounts")
    assert "app" not in result.detail


@pytest.mark.parametrize("user", ["", "app@", "other@", "ghost@"])
def test_checks_do_not_get_the_host_blocked(server: MariaDb, address: str, user: str) -> None:
    server.execute("CREATE USER IF NOT EXISTS other@'%' IDENTIFIED VIA unix_socket")
    for _ in range(2 * MAX_CONNECT_ERRORS):
        assert check(f"mysql://{user}{address}:{server.port}")


def test_blocked_host(server: MariaDb, address: str) -> None:
    server.block(address)
    try:
        result = probe(server, address)
        assert (result.reason, result.status) == (Reason.NOT_SERVING, 1129)
        assert "blocked" in result.detail
    finally:
        server.execute("FLUSH HOSTS")
    assert probe(server, address).healthy


def test_too_many_connections(server: MariaDb) -> None:
    with server.all_connections_taken():
        result = probe(server)
    assert (result.reason, result.status) == (Reason.NOT_SERVING, 1040)
    assert result.detail == "Too many connections"


def test_frozen(server: MariaDb) -> None:
    server.pause()
    try:
        assert probe(server, timeout=1).reason is Reason.TIMEOUT
    finally:
        server.resume()
    assert probe(server).healthy


def test_stopped(server: MariaDb) -> None:
    server.stop()
    try:
        assert probe(server).reason is Reason.CONNECTION_REFUSED
    finally:
        server.start()


# Decoding


def packet(body: bytes, number: int = 0) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([number]) + body


def greeting(version: bytes, capabilities: int = 0x80200, plugin: bytes = b"a_plugin\0") -> bytes:
    low, high = (capabilities & 0xFFFF).to_bytes(2, "little"), capabilities >> 16
    return packet(
        b"\x0a" + version + b"\0" + bytes(4) + b"scramble\0" + low + b"\x21\x02\0"
        + high.to_bytes(2, "little") + b"\x15" + bytes(10) + b"scramble rest\0"[:13] + plugin
    )  # fmt: skip


ACCESS_DENIED = packet(b"\xff\x15\x04#28000Access denied for user", 2)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (greeting(b"8.4.3"), Greeting(None, "8.4.3", b"a_plugin")),
        (greeting(b"8.4.3", plugin=b"unended"), Greeting(None, "8.4.3", b"unended")),
        (greeting(b"5.5.5-10.11.6-MariaDB"), Greeting(None, "10.11.6-MariaDB", b"a_plugin")),
        (greeting(b"5.1.73", 0x200, b""), Greeting(None, "5.1.73")),
        (packet(b"\x0a3.21\0short"), Greeting(None, "3.21")),
        (packet(b"\xff\x10\x04Too many connections"), Greeting(1040, "Too many connections")),
        (packet(b"\xff\x10\x04#08004Too many"), Greeting(1040, "Too many")),
        (packet(b"\xff"), Greeting(0, "")),
    ],
)
def test_greetings(data: bytes, expected: Greeting) -> None:
    found = decode_greeting(data)
    assert found
    assert replace(found, salt=b"") == expected
    assert all(decode_greeting(data[:end]) is None for end in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example ESMTP\r\n",
        b"\0\0\0\0",
        b"\xff\xff\x00\x00",
        packet(b"\x09old protocol\0"),
        packet(b"\x0aendless version"),
        packet(b"\x0a8.4.3\0", 1),
    ],
)
def test_other_greetings(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_greeting(data)


def test_login_packet() -> None:
    login = encode_login("me", b"a_plugin")
    assert login[:4] == packet(bytes(len(login) - 4), 1)[:4]
    assert login.endswith(bytes(23) + b"me\0\0a_plugin\0")
    assert encode_login("me", b"").endswith(bytes(23) + b"me\0\0")


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (packet(b"\0\0\0\x02\0\0\0", 2), LoginReply.SESSION),
        (packet(b"\x01\x04", 2), LoginReply.SWITCH),
        (packet(b"\xfemysql_native_password\0scramble\0", 2), LoginReply.SWITCH),
        (ACCESS_DENIED, LoginReply.REFUSED),
    ],
)
def test_login_replies(data: bytes, reply: LoginReply) -> None:
    assert decode_login_reply(data) is reply
    assert all(decode_login_reply(data[:end]) is None for end in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        packet(b"\0\0\0\x02\0\0\0", 0),
        packet(b"\0\0\0\x02\0\0\0", 3),
        packet(b"\x0a", 2),
        packet(b"", 2),
        b"AMQP",
    ],
)
def test_other_login_replies(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_login_reply(data)


def test_goes_through_a_change_of_authentication() -> None:
    heard: list[bytes] = []

    def behave(connection: Connection) -> None:
        connection.send(greeting(b"8.4.3"))
        heard.append(connection.sock.recv(65536))
        connection.send(packet(b"\xfeanother_plugin\0scramble\0", 2))
        heard.append(connection.sock.recv(65536))
        connection.send(ACCESS_DENIED.replace(b"\x02", b"\x04", 1))
        connection.hold()

    with Peer(behave) as peer:
        assert check(f"mysql://me:s3cret@127.0.0.1:{peer.port}")
    assert heard == [encode_login("me", b"a_plugin"), b"\0\0\0\x03"]


# Login, role and STARTTLS


def test_login(server: MariaDb, address: str) -> None:
    url = f"mysql://app:s3cret@{address}:{server.port}"
    result = check(url, login=True)
    assert result.reason is Reason.OK
    assert result.detail.startswith("logged in, server version ")
    wrong = check(url.replace("s3cret", "wr0ng"), login=True)
    assert (wrong.reason, wrong.status) == (Reason.NOT_SERVING, 1045)
    assert "app" not in wrong.detail
    assert "wr0ng" not in str(wrong)
    absent = check(f"{url}/nowhere", login=True)
    assert (absent.reason, absent.status) == (Reason.NOT_SERVING, 1044)
    server.execute("CREATE DATABASE IF NOT EXISTS accounts")
    assert check(f"mysql://root@127.0.0.1:{server.port}/accounts", login=True)
    with server.all_connections_taken():
        full = check(url, login=True)
    assert (full.reason, full.status) == (Reason.NOT_SERVING, 1040)
    for _ in range(2 * MAX_CONNECT_ERRORS):
        assert check(url, login=True)


def test_role(server: MariaDb, address: str) -> None:
    url = f"mysql://app:s3cret@{address}:{server.port}"
    assert check(url, login=True, role="primary")
    server.execute("SET GLOBAL read_only = 1")
    try:
        assert check(url, login=True, role="replica")
        wrong = check(url, login=True, role="primary")
        assert (wrong.reason, wrong.status) == (Reason.NOT_SERVING, "replica")
    finally:
        server.execute("SET GLOBAL read_only = 0")


@pytest.fixture
def primary_and_replica() -> Iterator[tuple[MariaDb, MariaDb]]:
    """Two servers, of which one replicates the other, also its user `app`."""
    with (
        running_mariadb(options=["--server-id=1", "--log-bin=binary"]) as primary,
        running_mariadb(options=["--server-id=2", "--read-only"]) as replica,
    ):
        replica.replicate(primary)
        primary.execute("CREATE USER app@'%' IDENTIFIED BY 's3cret'")
        has_app = "SELECT user FROM mysql.user WHERE user = 'app'"
        poll(lambda: replica.execute(has_app), timeout=30, what="the replica has the user")
        yield primary, replica


def require_role(server: MariaDb, role: str, other: str) -> None:
    url = f"mysql://app:s3cret@127.0.0.1:{server.port}"
    assert check(url, login=True, role=role).reason is Reason.OK
    wrong = check(url, login=True, role=other)
    assert (wrong.reason, wrong.status) == (Reason.NOT_SERVING, role)


def test_role_of_a_real_replica(primary_and_replica: tuple[MariaDb, MariaDb]) -> None:
    primary, replica = primary_and_replica
    require_role(primary, "primary", "replica")
    require_role(replica, "replica", "primary")

    # `read_only` alone decides: a user without privileges cannot see whether the replication runs.
    command = ["mariadb", "--no-defaults", f"--socket={replica.socket}", "-uapp", "-ps3cret"]
    command += ["-e", "SHOW SLAVE STATUS"]
    denied = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "ERROR 1227" in denied.stderr  # a missing privilege
    replica.execute("SET GLOBAL read_only = 0")
    require_role(replica, "primary", "replica")
    replica.execute("SET GLOBAL read_only = 1")

    replica.execute("STOP SLAVE")
    assert not replica.replicates()
    require_role(replica, "replica", "primary")
    replica.execute("START SLAVE")
    poll(replica.replicates, timeout=30, what="the replication runs again")
    primary.stop()
    poll(lambda: not replica.replicates(), timeout=30, what="the replica has lost its primary")
    require_role(replica, "replica", "primary")

    replica.execute("STOP SLAVE; SET GLOBAL read_only = 0")  # as a failover promotes it
    require_role(replica, "primary", "replica")


def test_starttls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with running_mariadb(authority.issue_cert("127.0.0.1")) as server:
        server.execute("CREATE USER app@'%' IDENTIFIED BY 's3cret' REQUIRE SSL")
        url = f"mysql://app:s3cret@127.0.0.1:{server.port}"
        tls = {"starttls": True, "cacert": str(tmp_path / "ca.pem")}
        assert check(url, **tls)  # type: ignore[arg-type]
        assert check(url, login=True, **tls)  # type: ignore[arg-type]
        assert check(url, starttls=True).reason is Reason.TLS_FAILURE
        assert check(url, login=True).status == 1045


def test_starttls_is_not_offered(server: MariaDb) -> None:
    result = check(f"mysql://127.0.0.1:{server.port}", starttls=True)
    assert (result.reason, result.detail) == (
        Reason.TLS_FAILURE,
        "response: the peer does not start TLS: TLS is not enabled",
    )


SALT = b"scramblescramble res"  # of `greeting()`


def session(*replies: bytes, plugin: bytes) -> tuple[list[bytes], Peer]:
    """Return what a server hears, and the server."""
    heard: list[bytes] = []

    def behave(connection: Connection) -> None:
        connection.send(greeting(b"8.4.3", plugin=plugin + b"\0"))
        for reply in replies:
            heard.append(connection.hear())
            connection.send(reply)
        heard.append(connection.hear())

    return heard, Peer(behave)


OK = packet(b"\0\0\0\x02\0\0\0", 3)


def test_caching_sha2_password() -> None:
    name = b"caching_sha2_password"
    heard, peer = session(packet(b"\x01\x03", 2) + OK, plugin=name)
    with peer:
        assert check(f"mysql://me:s3cret@{peer.address}", login=True)
    proof = caching_proof(b"s3cret", SALT)
    assert heard == [encode_login("me", name, 1, proof), b"\x01\0\0\0\x01"]


def test_full_authentication_needs_tls() -> None:
    _, peer = session(packet(b"\x01\x04", 2), plugin=b"caching_sha2_password")
    with peer:
        result = check(f"mysql://me:s3cret@{peer.address}", login=True)
    assert result.reason is Reason.UNEXPECTED_REPLY
    assert "use --starttls" in result.detail


def test_switch_of_plugins() -> None:
    switch = packet(b"\xfemysql_native_password\0" + SALT + b"\0", 2)
    heard, peer = session(switch, packet(OK[4:], 4), plugin=b"unknown")
    with peer:
        assert check(f"mysql://me:s3cret@{peer.address}", login=True)
    assert heard[1] == packet(native_proof(b"s3cret", SALT), 3)
    _, peer = session(packet(b"\xfeclient_ed25519\0" + SALT, 2), plugin=b"unknown")
    with peer:
        result = check(f"mysql://me:s3cret@{peer.address}", login=True)
    assert result.detail == "unsupported authentication plugin client_ed25519"


def test_proofs() -> None:
    assert native_proof(b"", SALT) == caching_proof(b"", SALT) == b""
    assert len(native_proof(b"s3cret", SALT)) == 20
    assert len(caching_proof(b"s3cret", SALT)) == 32
