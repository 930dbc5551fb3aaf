"""postgresql:// targets: agreement with pg_isready about a real server in every state."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from healthchecker import BadArgumentError, CheckResult, Reason, check
from healthchecker._protocols.postgresql import (
    StartupReply,
    decode_startup_reply,
    encode_startup,
)
from healthchecker._protocols.reply import CodecError
from tests.servers.postgres import Cluster, find_binaries, running_cluster
from tests.support import require

TRUST = "host all all 127.0.0.1/32 trust\nlocal all all trust\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    binaries = find_binaries()
    require(binaries, "PostgreSQL is not installed")
    assert binaries
    with running_cluster(binaries) as cluster:
        yield cluster


def probe(
    cluster: Cluster, *, socket_directory: Path | None = None, timeout: int = 10
) -> CheckResult:
    """Check, and compare the verdict with that of pg_isready."""
    result = check(
        f"postgresql://127.0.0.1:{cluster.port}",
        timeout=timeout,
        unix_socket=None if socket_directory is None else str(_socket(cluster, socket_directory)),
    )
    host = str(socket_directory or "127.0.0.1")
    pg_isready = str(cluster.binaries / "pg_isready")
    command = [pg_isready, "-h", host, f"-p{cluster.port}", f"-t{timeout}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.healthy == (done.returncode == 0), (result, done)
    return result


def _socket(cluster: Cluster, directory: Path) -> Path:
    return directory / f".s.PGSQL.{cluster.port}"


def restart(cluster: Cluster, hba: str = TRUST, *, accepts: bool = True, **settings: str) -> None:
    cluster.end()
    (cluster.data / "pg_hba.conf").write_text("host all admin 127.0.0.1/32 trust\n" + hba)
    cluster.start(accepts=accepts, **settings)


def test_accepting(cluster: Cluster) -> None:
    restart(cluster)
    result = probe(cluster)
    assert (result.healthy, result.detail) == (True, "accepts connections")


def test_unix_socket(cluster: Cluster, open_directory: Path) -> None:
    restart(cluster, unix_socket_directories=str(open_directory))
    assert probe(cluster, socket_directory=open_directory).healthy
    cluster.stop()
    result = probe(cluster, socket_directory=open_directory)
    assert result.reason is Reason.CONNECTION_FAILED


def test_password_is_required(cluster: Cluster) -> None:
    restart(cluster, "host all all 127.0.0.1/32 scram-sha-256\n")
    assert probe(cluster).healthy
    result = check(f"postgres://accounts:s3cret@127.0.0.1:{cluster.port}/accounts")
    assert result.healthy
    assert result.target == f"postgres://127.0.0.1:{cluster.port}/accounts"


def test_every_client_is_rejected(cluster: Cluster) -> None:
    restart(cluster, "host all all 127.0.0.1/32 reject\n")
    result = probe(cluster)
    assert (result.healthy, result.status) == (True, "28000")
    assert "pg_hba.conf" in result.detail
    result = check(f"postgresql://s3cret@127.0.0.1:{cluster.port}")
    assert (result.healthy, result.detail) == (True, "accepts connections: error 28000")


def test_tls_is_required(cluster: Cluster) -> None:
    files = {"server.crt": b"", "server.key": b""}
    certificate = trustme.CA().issue_cert("127.0.0.1")
    files["server.crt"] = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    files["server.key"] = certificate.private_key_pem.bytes()
    for name, content in files.items():
        file = cluster.data / name
        file.write_bytes(content)
        file.chmod(0o600)
        shutil.chown(file, cluster.data.owner(), cluster.data.group())
    restart(cluster, "hostssl all all 127.0.0.1/32 scram-sha-256\n", ssl="on")
    result = probe(cluster)
    assert (result.healthy, result.status) == (True, "28000")


def test_too_many_connections(cluster: Cluster) -> None:
    restart(cluster)
    with cluster.all_connections_taken():
        result = probe(cluster)
    assert (result.healthy, result.status) == (True, "53300")


def test_recovering(cluster: Cluster) -> None:
    signal = cluster.data / "standby.signal"
    cluster.end()
    signal.touch()
    try:
        restart(cluster, accepts=False, hot_standby="off")
        result = probe(cluster)
        assert (result.reason, result.status) == (Reason.NOT_SERVING, "57P03")
        assert result.detail.startswith("the database system is ")
    finally:
        signal.unlink()
        restart(cluster)
    assert probe(cluster).healthy


def test_frozen(cluster: Cluster) -> None:
    restart(cluster)
    cluster.pause()
    try:
        assert probe(cluster, timeout=1).reason is Reason.TIMEOUT
    finally:
        cluster.resume()
    assert probe(cluster).healthy


def test_stopped(cluster: Cluster) -> None:
    cluster.end()
    assert probe(cluster).reason is Reason.CONNECTION_REFUSED


# Decoding

ERROR = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0Fpostmaster.c\0\0"


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (4 + len(body)).to_bytes(4) + body


def test_startup_packet() -> None:
    body = b"\0\x03\0\0user\0me\0database\0db\0\0"
    assert encode_startup("me", "db") == (4 + len(body)).to_bytes(4) + body
    assert encode_startup("me", "") == b"\0\0\0\x11\0\x03\0\0user\0me\0\0"


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (message(b"R", b"\0\0\0\0") + b"S...", StartupReply(None)),
        (message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0"), StartupReply(None)),
        (message(b"E", ERROR), StartupReply("57P03", "the database system is starting up")),
        (message(b"E", b"C28000\0\0"), StartupReply("28000", "")),
        (message(b"E", b"C28000\0M\xff\x1b[2J\0\0"), StartupReply("28000", "\ufffd\x1b[2J")),
    ],
)
def test_replies(data: bytes, reply: StartupReply) -> None:
    assert decode_startup_reply(data) == reply
    length = 1 + int.from_bytes(data[1:5])
    assert all(decode_startup_reply(data[:end]) is None for end in range(length))


@pytest.mark.parametrize(
    "data",
    [
        b"H",
        b"+PONG\r\n",
        b"Ecould not fork new process for connection: Cannot allocate memory\n\0",
        message(b"R", b""),
        message(b"R", bytes(2000)),
        message(b"E", b"Mno code\0\0"),
        message(b"E", b"C57P\0\0\0\0\0"),
        message(b"E", b"C57\x1b[2\0\0\0"),
        b"E\xff\xff\xff\xff",
        b"R\0\0\0\0",
    ],
)
def test_other_replies(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_startup_reply(data)


@pytest.mark.parametrize(
    "target",
    [
        "postgresql://me@h/db?password=s3cret",
        "postgresql://h/db#s3cret",
        "postgresql://me:s3cret%00@h/db",
        "postgresql://:s3cret@h/a%00user",
        "postgresql:///s3cret@db",
    ],
)
def test_unusable_targets_show_no_credentials(target: str) -> None:
    with pytest.raises(BadArgumentError) as raised:
        check(target)
    assert "s3cret" not in str(raised.value)
