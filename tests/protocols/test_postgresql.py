"""postgresql:// targets: agreement with pg_isready about a real server in every state."""

from __future__ import annotations

import re
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
from healthchecker._protocols.scram import Scram
from tests.servers.peers import Connection, Peer, blurt, hold
from tests.servers.postgres import PASSWORD, Cluster, find_binaries, running_cluster
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


def test_nothing_is_logged(cluster: Cluster) -> None:
    log = cluster.data.parent / "log"
    for hba in (TRUST, "host all all 127.0.0.1/32 scram-sha-256\n"):
        restart(cluster, hba + "host all postgres 127.0.0.1/32 trust\n")
        with cluster.connect() as admin:
            if not admin.execute("SELECT FROM pg_roles WHERE rolname = 'postgres'").fetchall():
                admin.execute("CREATE ROLE postgres LOGIN")
        before = len(log.read_text())
        for _ in range(3):
            assert check(f"postgresql://127.0.0.1:{cluster.port}")
        cluster.end()
        new = log.read_text()[before:]
        assert not re.search("FATAL|ERROR|could not", new.partition("shutdown request")[0]), new
        cluster.start()


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


# Login, role and STARTTLS


def use_scram(cluster: Cluster, method: str = "scram-sha-256", **settings: str) -> str:
    """Restart with a login for `accounts`; return its URL without a database."""
    hba = f"host all accounts 127.0.0.1/32 {method}\n" + TRUST
    restart(cluster, hba, accepts=True, **settings)
    return cluster.url("postgres")


def test_login(cluster: Cluster) -> None:
    url = use_scram(cluster)
    result = check(url, login=True)
    assert (result.reason, result.detail) == (Reason.OK, "ready for queries")
    assert "accounts" not in str(result)
    log = (cluster.data.parent / "log").read_text()
    assert "unexpected EOF" not in log
    assert "SCRAM" not in log


def test_login_refused(cluster: Cluster) -> None:
    url = use_scram(cluster)
    wrong = check(url.replace("p%25ss", "s3cret"), login=True)
    assert (wrong.reason, wrong.status) == (Reason.NOT_SERVING, "28P01")
    assert wrong.detail == 'password authentication failed for user "..."'
    absent = check(url.replace("/postgres", "/nowhere"), login=True)
    assert (absent.reason, absent.status) == (Reason.NOT_SERVING, "3D000")
    without = check(f"postgresql://accounts@127.0.0.1:{cluster.port}", login=True)
    assert without.reason is Reason.UNEXPECTED_REPLY
    with cluster.all_connections_taken():
        full = check(url, login=True)
    assert (full.reason, full.status) == (Reason.NOT_SERVING, "53300")


def test_login_by_md5(cluster: Cluster) -> None:
    url = use_scram(cluster, "md5")
    with cluster.connect() as admin:
        admin.execute("SET password_encryption = 'md5'")
        admin.execute(f"CREATE ROLE old LOGIN PASSWORD '{PASSWORD}'")
    restart(cluster, "host all old 127.0.0.1/32 md5\n" + TRUST)
    assert check(url.replace("accounts", "old"), login=True)
    wrong = check(url.replace("accounts", "old").replace("ss", "xx"), login=True)
    assert wrong.status == "28P01"


def test_login_in_clear_text_needs_tls(cluster: Cluster, tmp_path: Path) -> None:
    ca = enable_tls(cluster, tmp_path)
    url = use_scram(cluster, "password", ssl="on")
    plain = check(url, login=True)
    assert plain.reason is Reason.UNEXPECTED_REPLY
    assert "use --starttls" in plain.detail
    assert check(url, login=True, starttls=True, cacert=ca)


def test_role(cluster: Cluster) -> None:
    url = use_scram(cluster)
    assert check(url, login=True, role="primary")
    wrong = check(url, login=True, role="replica")
    assert (wrong.reason, wrong.detail, wrong.status) == (
        Reason.NOT_SERVING,
        "expected role replica, got primary",
        "primary",
    )
    standby = cluster.data / "standby.signal"
    cluster.end()
    standby.touch()
    try:
        use_scram(cluster)
        assert check(url, login=True, role="replica")
        assert not check(url, login=True, role="primary")
    finally:
        standby.unlink()
        restart(cluster)


def enable_tls(cluster: Cluster, directory: Path) -> Path:
    """Give the cluster a certificate; return the file of its CA."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    files = {
        "server.crt": b"".join(blob.bytes() for blob in certificate.cert_chain_pems),
        "server.key": certificate.private_key_pem.bytes(),
    }
    for name, content in files.items():
        file = cluster.data / name
        file.write_bytes(content)
        file.chmod(0o600)
        shutil.chown(file, cluster.data.owner(), cluster.data.group())
    return directory / "ca.pem"


def test_starttls(cluster: Cluster, tmp_path: Path) -> None:
    ca = enable_tls(cluster, tmp_path)
    restart(cluster, "hostssl all all 127.0.0.1/32 scram-sha-256\n", ssl="on")
    url = f"postgresql://127.0.0.1:{cluster.port}"
    result = check(url, starttls=True, cacert=ca)
    assert (result.reason, result.detail) == (Reason.OK, "accepts connections")
    assert check(url, starttls=True, insecure=True)
    assert check(url, starttls=True).reason is Reason.TLS_FAILURE
    assert check(url, starttls=True, cacert=ca, cert_lifetime=86_400)
    restart(cluster)
    refused = check(url, starttls=True, cacert=ca)
    assert (refused.reason, refused.detail) == (
        Reason.TLS_FAILURE,
        "response: the peer does not start TLS: TLS is not enabled",
    )


@pytest.mark.parametrize("reply", [b"S\x16\x03", b"SE", b"X"])
def test_data_before_tls_is_refused(reply: bytes) -> None:
    with Peer(blurt(reply, hold)) as peer:
        result = check(f"postgresql://{peer.address}", starttls=True)
    assert result.reason is Reason.INVALID_RESPONSE


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("postgresql://h", {"login": True}),
        ("postgresql://u:p@h", {"role": "primary"}),
        ("postgresql://h", {"insecure": True}),
        ("tcp://h:1", {"starttls": True}),
        ("smtps://h", {"starttls": True}),
    ],
)
def test_unusable_options(target: str, options: dict[str, bool | str]) -> None:
    with pytest.raises(BadArgumentError):
        check(target, **options)  # type: ignore[arg-type]


# SCRAM: the example of RFC 7677, section 3, with an empty user as PostgreSQL takes it.

NONCE = b"rOprNGfwEbeRWgbNEkqO"
CHALLENGE = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)


def test_scram_needs_the_proof_of_the_server() -> None:
    scram = Scram("pencil", NONCE)
    assert scram.first_message() == b"n,,n=,r=" + NONCE
    assert scram.final_message(CHALLENGE).startswith(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hv")
    with pytest.raises(CodecError, match="does not prove"):
        scram.verify(b"v=AAAA")
    assert not scram.is_verified


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=other,s=AAAA,i=1",
        CHALLENGE.replace(b"i=4096", b"i=0"),
        CHALLENGE.replace(b"i=4096", b"i=100001"),
        CHALLENGE.replace(b"i=4096", b"i=" + b"9" * 5000),
        CHALLENGE.replace(b"i=4096", b"i=-1"),
        CHALLENGE.replace(b"W22", b"!!!"),
    ],
)
def test_scram_challenges(challenge: bytes) -> None:
    with pytest.raises(CodecError):
        Scram("pencil", NONCE).final_message(challenge)


def test_server_that_skips_its_proof() -> None:
    def behave(connection: Connection) -> None:
        connection.hear()
        connection.send(message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
        connection.hear()
        connection.send(message(b"R", b"\0\0\0\0") + message(b"Z", b"I"))
        connection.hold()

    with Peer(behave) as peer:
        result = check(f"postgresql://u:p@{peer.address}", login=True)
    assert (result.reason, result.detail) == (
        Reason.INVALID_RESPONSE,
        "response: the server skipped its own proof",
    )
