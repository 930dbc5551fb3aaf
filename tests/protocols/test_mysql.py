"""mysql:// targets: agreement with mysqladmin ping about a real MariaDB server in every state."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from healthchecker import CheckResult, Reason, check
from healthchecker._protocols.mysql import (
    Greeting,
    LoginReply,
    decode_greeting,
    decode_login_reply,
    encode_login,
)
from healthchecker._protocols.reply import CodecError
from tests.servers.mariadb import MAX_CONNECT_ERRORS, MariaDb, running_mariadb
from tests.servers.peers import Connection, Peer
from tests.support import require


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
    assert decode_greeting(data) == expected
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


def test_login() -> None:
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
