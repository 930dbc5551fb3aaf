"""redis:// and rediss:// targets: real Redis servers in every state, with and without passwords."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._protocols.redis import Reply, decode_replies, decode_role, encode_command
from healthchecker._protocols.reply import CodecError
from tests.servers.daemons import free_port, program, running_daemon
from tests.servers.peers import Connection, Peer, blurt
from tests.servers.redis import Redis, running_redis
from tests.support import poll


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[Redis]:
    with running_redis("--requirepass s3cret", "--user checker on >p%ss +ping") as server:
        yield server


def test_alive(server: Redis) -> None:
    result = check(f"redis://127.0.0.1:{server.port}/0")
    assert (result.healthy, result.detail) == (True, "PONG")


def test_unix_socket(server: Redis) -> None:
    assert check("redis://localhost", unix_socket=str(server.socket))


@pytest.mark.parametrize(
    ("credentials", "reason", "status"),
    [
        ("", Reason.OK, "NOAUTH"),
        (":@", Reason.OK, "NOAUTH"),
        (":s3cret@", Reason.OK, None),
        ("default:s3cret@", Reason.OK, None),
        ("checker:p%25ss@", Reason.OK, None),
        (":s3cre@", Reason.UNEXPECTED_REPLY, "WRONGPASS"),
        ("checker:s3cret@", Reason.UNEXPECTED_REPLY, "WRONGPASS"),
        ("checker@", Reason.UNEXPECTED_REPLY, "WRONGPASS"),
        ("nobody:s3cret@", Reason.UNEXPECTED_REPLY, "WRONGPASS"),
    ],
)
def test_password_is_required(
    guarded: Redis, credentials: str, reason: Reason, status: str | None
) -> None:
    result = check(f"redis://{credentials}127.0.0.1:{guarded.port}")
    assert (result.reason, result.status) == (reason, status)
    assert result.target == f"redis://127.0.0.1:{guarded.port}"
    assert not any(secret in result.detail for secret in ("s3cre", "p%ss", "checker"))


def test_password_is_not_required(server: Redis) -> None:
    result = check(f"redis://:s3cret@127.0.0.1:{server.port}")
    assert (result.reason, result.status) == (Reason.UNEXPECTED_REPLY, "ERR")


def test_user_may_not_ping(guarded: Redis) -> None:
    guarded.execute("--pass", "s3cret", "ACL", "SETUSER", "mute", "on", ">s3cret", "+get")
    result = check(f"redis://mute:s3cret@127.0.0.1:{guarded.port}")
    assert (result.reason, result.status) == (Reason.OK, "NOPERM")
    assert result.detail == "alive, the user may not run PING"
    denied = check(f"redis://mute:wrong@127.0.0.1:{guarded.port}")
    assert (denied.reason, denied.status) == (Reason.UNEXPECTED_REPLY, "WRONGPASS")


def test_loading() -> None:
    # Slowed down by a setting for Redis's own tests, or it would take a very large file.
    slow = ("--key-load-delay 3000", "--loading-process-events-interval-bytes 1024")
    with running_redis(*slow) as server:
        server.execute("DEBUG", "POPULATE", "3000")
        server.execute("SAVE")
        server.stop()
        server.start()
        result = check(f"redis://127.0.0.1:{server.port}")
        assert (result.reason, result.status) == (Reason.NOT_SERVING, "LOADING")
        server.execute("CONFIG", "SET", "key-load-delay", "0")
        poll(
            lambda: check(f"redis://127.0.0.1:{server.port}"),
            timeout=20,
            what="all has been loaded",
        )


def test_replica_without_its_master() -> None:
    away = (f"--replicaof 127.0.0.1 {free_port()}", "--replica-serve-stale-data no")
    with running_redis(*away) as server:
        result = check(f"redis://127.0.0.1:{server.port}")
        assert (result.reason, result.status) == (Reason.NOT_SERVING, "MASTERDOWN")
        server.execute("REPLICAOF", "NO", "ONE")
        assert check(f"redis://127.0.0.1:{server.port}")


def test_data_cannot_be_saved() -> None:
    with running_redis("--save 3600 1") as server:
        in_the_way = server.directory / "dump.rdb"
        in_the_way.mkdir()
        server.execute("SET", "key", "value")
        server.execute("BGSAVE")
        poll(
            lambda: "rdb_last_bgsave_status:err" in server.execute("INFO", "persistence"),
            timeout=10,
            what="saving has failed",
        )
        result = check(f"redis://127.0.0.1:{server.port}")
        assert (result.reason, result.status) == (Reason.NOT_SERVING, "MISCONF")
        in_the_way.rmdir()  # it does not end without having saved


def test_script_that_never_ends(server: Redis) -> None:
    url = f"redis://127.0.0.1:{server.port}"
    server.execute("CONFIG", "SET", "busy-reply-threshold", "1")
    with server.in_background("EVAL", "while true do end", "0"):
        poll(
            lambda: not (result := check(url)) and result.reason is not Reason.TIMEOUT,
            timeout=10,
            what="the script keeps it busy",
        )
        result = check(url)
        assert (result.reason, result.status) == (Reason.NOT_SERVING, "BUSY")
        server.execute("SCRIPT", "KILL")
    assert check(url)


def test_no_more_clients(server: Redis) -> None:
    with server.connect() as only:
        server.execute("CONFIG", "SET", "maxclients", "1")
        result = check(f"redis://127.0.0.1:{server.port}")
        only.sendall(b"CONFIG SET maxclients 100\r\n")  # no other client could
        assert only.recv(64) == b"+OK\r\n"
    assert (result.reason, result.status) == (Reason.UNEXPECTED_REPLY, "ERR")
    assert "max number of clients reached" in result.detail


def test_frozen_and_stopped(server: Redis) -> None:
    server.pause()
    assert check(f"redis://127.0.0.1:{server.port}", timeout=0.2).reason is Reason.TIMEOUT
    server.resume()
    assert check(f"redis://127.0.0.1:{server.port}")
    server.stop()
    assert check(f"redis://127.0.0.1:{server.port}").reason is Reason.CONNECTION_REFUSED
    server.start()


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("localhost")
    with running_redis(certificate=certificate) as server:
        url = f"rediss://localhost:{server.tls_port}"
        assert check(url, cacert=str(tmp_path / "ca.pem"))
        assert check(url, insecure=True)
        assert check(url).reason is Reason.TLS_FAILURE
        plain = check(f"rediss://localhost:{server.port}", timeout=0.3)
        assert plain.reason is Reason.TIMEOUT  # Redis waits for the rest of a command
        assert check(f"redis://localhost:{server.tls_port}").reason in (
            Reason.INVALID_RESPONSE,
            Reason.CONNECTION_RESET,
        )


def test_error_that_repeats_the_password() -> None:
    def behave(connection: Connection) -> None:
        request = connection.sock.recv(65536)
        connection.send(b"-" + request.split(b"\r\n")[4] + b" unknown command\r\n")
        connection.hold()

    with Peer(behave) as peer:
        result = check(f"redis://:s3cret@127.0.0.1:{peer.port}")
    assert result.reason is Reason.UNEXPECTED_REPLY
    assert "s3cret" not in f"{result}"


def test_other_string_than_pong() -> None:
    with Peer(blurt(b"+pong\r\n")) as peer:
        result = check(f"redis://127.0.0.1:{peer.port}")
    assert (result.reason, result.detail) == (Reason.UNEXPECTED_REPLY, "expected PONG, got pong")


# Decoding


def test_commands() -> None:
    assert encode_command("PING") == b"*1\r\n$4\r\nPING\r\n"
    assert encode_command("AUTH", "ü\r\n") == b"*2\r\n$4\r\nAUTH\r\n$4\r\n\xc3\xbc\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "count", "reply"),
    [
        (b"+PONG\r\n", 1, Reply("PONG", is_error=False)),
        (b"+OK\r\n+PONG\r\n", 2, Reply("PONG", is_error=False)),
        (b"-WRONGPASS no\r\n", 2, Reply("WRONGPASS no", is_error=True)),
        (b"+OK\r\n-NOPERM no\r\n", 2, Reply("NOPERM no", is_error=True)),
        (b"-\r\n", 1, Reply("", is_error=True)),
        (b"+\xff\n\r\n", 1, Reply("\ufffd\n", is_error=False)),
    ],
)
def test_replies(data: bytes, count: int, reply: Reply) -> None:
    assert decode_replies(data, count) == reply
    assert all(decode_replies(data[:end], count) is None for end in range(len(data)))


@pytest.mark.parametrize("data", [b"$4\r\nPONG\r\n", b"H", b"+OK\r\n:1\r\n", b"\r\n", b"\0"])
def test_other_replies(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_replies(data, 2)


@pytest.mark.parametrize(
    ("text", "code"), [("NOAUTH Authentication", "NOAUTH"), ("s3cret?", "ERR"), ("", "ERR")]
)
def test_codes(text: str, code: str) -> None:
    assert Reply(text, is_error=True).code == code


# Roles


def test_role_of_a_primary_and_its_replica(server: Redis) -> None:
    url = f"redis://127.0.0.1:{server.port}"
    result = check(url, role="primary")
    assert (result.reason, result.detail) == (Reason.OK, "PONG, primary")
    wrong = check(url, role="replica")
    assert (wrong.reason, wrong.detail) == (
        Reason.NOT_SERVING,
        "expected role replica, got primary",
    )
    with running_redis(f"--replicaof 127.0.0.1 {server.port}") as replica:
        url = f"redis://127.0.0.1:{replica.port}"
        poll(lambda: check(url, role="replica"), timeout=20, what="the link is up")
        assert not check(url, role="primary")
    with running_redis(f"--replicaof 127.0.0.1 {free_port()}") as replica:
        alone = check(f"redis://127.0.0.1:{replica.port}", role="replica")
    assert alone.reason is Reason.NOT_SERVING
    assert alone.detail.startswith("the link to the primary is not up: ")


def test_role_in_a_cluster_and_with_a_password() -> None:
    with running_redis("--cluster-enabled yes", "--requirepass s3cret") as server:
        url = f"redis://:s3cret@127.0.0.1:{server.port}"
        assert check(url)
        result = check(url, role="primary")
        assert (result.reason, result.detail) == (Reason.NOT_SERVING, "cluster_state:fail")
        server.execute("-a", "s3cret", "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        poll(lambda: check(url, role="primary"), timeout=20, what="the cluster is ok")
        without = check(f"redis://127.0.0.1:{server.port}", role="primary")
        assert (without.reason, without.status) == (Reason.UNEXPECTED_REPLY, "NOAUTH")


def test_sentinel(server: Redis) -> None:
    port = free_port()
    config = f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n"
    command = [program("redis-server"), "{directory}/config", "--sentinel"]
    url = f"redis://127.0.0.1:{port}"
    assert check(url).reason is Reason.CONNECTION_REFUSED
    with running_daemon("redis", *command, port=port, files={"config": config.encode()}) as daemon:
        result = check(url)
        assert (result.reason, result.detail) == (Reason.OK, "PONG")
        for role in ("primary", "replica"):
            other = check(url, role=role)
            assert (other.reason, other.detail) == (
                Reason.NOT_SERVING,
                f"expected role {role}, got sentinel",
            )
        daemon.pause()
        assert check(url, timeout=0.3).reason is Reason.TIMEOUT
        daemon.resume()
        assert check(url)
    assert check(url).reason is Reason.CONNECTION_REFUSED


DISABLED = b"-ERR This instance has cluster support disabled\r\n"


@pytest.mark.parametrize(
    ("role", "reason", "detail"),
    [
        (b"*1\r\n$8\r\nsentinel\r\n", Reason.NOT_SERVING, "expected role primary, got sentinel"),
        (b"*0\r\n", Reason.NOT_SERVING, "expected role primary, got unknown"),
        (b"*1\r\n*0\r\n", Reason.NOT_SERVING, "expected role primary, got unknown"),
        (b"-NOPERM no\r\n", Reason.UNEXPECTED_REPLY, "ROLE failed: NOPERM"),
        (b"+OK\r\n", Reason.INVALID_RESPONSE, "response: not a reply to ROLE"),
        (b"*1\r\n" * 9, Reason.INVALID_RESPONSE, "response: not a Redis reply"),
        (b"*99999999\r\n", Reason.INVALID_RESPONSE, "response: not a Redis reply"),
        (b"*1\r\n$-2\r\n", Reason.INVALID_RESPONSE, "response: not a Redis reply"),
    ],
)
def test_other_roles(role: bytes, reason: Reason, detail: str) -> None:
    def behave(connection: Connection) -> None:
        connection.hear()
        connection.send(b"+PONG\r\n")
        connection.hear()
        connection.send(role + DISABLED)
        connection.hold()

    with Peer(behave) as peer:
        result = check(f"redis://{peer.address}", role="primary")
    assert (result.reason, result.detail) == (reason, detail)


def test_role_in_parts() -> None:
    data = b"*3\r\n$6\r\nmaster\r\n:0\r\n*1\r\n*-1\r\n" + DISABLED
    assert decode_role(data) is not None
    assert all(decode_role(data[:end]) is None for end in range(len(data)))
