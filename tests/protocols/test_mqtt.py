"""mqtt:// and mqtts:// targets: real Mosquitto brokers, and the packets of the protocol."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._protocols.mqtt import decode_connack, encode_connect
from healthchecker._protocols.reply import CodecError
from tests.servers.daemons import Daemon, free_port, program, running_daemon
from tests.servers.peers import Connection, Peer
from tests.support import poll


@contextmanager
def mosquitto(port: int, *settings: str, **files: bytes) -> Iterator[Daemon]:
    lines = [f"listener {port} 127.0.0.1", *settings, "log_type all"]
    command = [program("mosquitto", folder="/usr/sbin"), "-c", "{directory}/config"]
    files["config"] = "\n".join(lines).encode()
    with running_daemon("mosquitto", *command, port=port, files=files) as broker:
        yield broker


@pytest.fixture(scope="module")
def passwords(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("mosquitto") / "passwords"
    command = [program("mosquitto_passwd"), "-b", "-c", str(file), "app", "s3:cret"]
    subprocess.run(command, check=True, capture_output=True)
    return file.read_bytes()


def test_states() -> None:
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    assert check(url).reason is Reason.CONNECTION_REFUSED
    with mosquitto(port, "allow_anonymous true") as broker:
        result = check(url)
        assert (result.reason, result.detail) == (Reason.OK, "connection accepted")
        assert check(f"mqtt://app:s3cret@127.0.0.1:{port}")
        broker.pause()
        assert check(url, timeout=0.3).reason is Reason.TIMEOUT
        broker.resume()
        assert check(url)
        before = len(broker.log)
        assert check(url)
        poll(lambda: " disconnected." in broker.log[before:], timeout=10, what="it is logged")
        assert "closed its connection" not in broker.log[before:]
    assert check(url).reason is Reason.CONNECTION_REFUSED


@pytest.mark.parametrize(
    ("credentials", "reason", "status"),
    [
        ("", Reason.OK, 5),
        ("app:s3%3Acret@", Reason.OK, None),
        ("app:wrong@", Reason.UNEXPECTED_REPLY, 5),
        ("app@", Reason.UNEXPECTED_REPLY, 5),
    ],
)
def test_login_is_required(
    passwords: bytes, credentials: str, reason: Reason, status: int | None
) -> None:
    port = free_port()
    settings = ("allow_anonymous false", "password_file {directory}/passwords")
    with mosquitto(port, *settings, passwords=passwords):
        result = check(f"mqtt://{credentials}127.0.0.1:{port}")
    assert (result.reason, result.status) == (reason, status)
    assert "wrong" not in str(result)


def test_tls(tmp_path: Path) -> None:
    port = free_port()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    settings = ("allow_anonymous true", "certfile {directory}/pem", "keyfile {directory}/pem")
    with mosquitto(port, *settings, pem=certificate.bytes()):
        assert check(f"mqtts://127.0.0.1:{port}", cacert=tmp_path / "ca.pem")
        assert check(f"mqtts://127.0.0.1:{port}").reason is Reason.TLS_FAILURE
        assert not check(f"mqtt://127.0.0.1:{port}", timeout=0.5)


@pytest.mark.parametrize(
    ("connack", "reason"),
    [
        (b"\x20\x02\x01\x00", Reason.OK),
        (b"\x20\x02\x00\x01", Reason.OK),
        (b"\x20\x02\x00\x02", Reason.OK),
        (b"\x20\x02\x00\x03", Reason.NOT_SERVING),
        (b"\x20\x02\x00\x04", Reason.OK),
    ],
)
def test_connack(connack: bytes, reason: Reason) -> None:
    heard: list[bytes] = []

    def behave(connection: Connection) -> None:
        heard.append(connection.hear())
        connection.send(connack)
        heard.append(connection.hear())

    with Peer(behave) as peer:
        assert check(f"mqtt://{peer.address}").reason is reason
    accepted = connack[3] == 0
    assert heard == [encode_connect("", ""), b"\xe0\0" if accepted else b""]
    assert all(decode_connack(connack[:end]) is None for end in range(4))


# Encoding and decoding


def test_connect() -> None:
    assert encode_connect("", "") == b"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0"
    assert encode_connect("u", "") == b"\x10\x0f\0\x04MQTT\x04\x82\0\x0a\0\0\0\x01u"
    assert encode_connect("", "p") == b"\x10\x11\0\x04MQTT\x04\xc2\0\x0a\0\0\0\0\0\x01p"
    assert encode_connect("u" * 200, "")[:3] == b"\x10\xd6\x01"


@pytest.mark.parametrize(
    "data",
    [b"\x21", b"\x20\x03", b"\x20\x02\x02\x00", b"\x20\x02\x00\x06", b"HTTP", b"\x15\x03\x03\0"],
)
def test_other_replies(data: bytes) -> None:
    with pytest.raises(CodecError, match="not an MQTT CONNACK"):
        decode_connack(data)
