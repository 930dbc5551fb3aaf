"""amqp:// and amqps:// targets: a real RabbitMQ that is starting, running, and has an alarm."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._protocols.amqp import PROTOCOL_HEADER, decode_start
from healthchecker._protocols.reply import CodecError
from tests.servers.peers import Peer, blurt, hold
from tests.servers.rabbitmq import RabbitMq, starting_rabbitmq
from tests.support import poll

SECONDS = 20.0
"""How long the node may take for a reply: it loads code for the first client of each kind."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def node(authority: trustme.CA) -> Iterator[RabbitMq]:
    """Start a node and check it all the time until it is up."""
    with starting_rabbitmq(authority.issue_cert("localhost")) as node:
        url = f"amqp://127.0.0.1:{node.port}"
        reasons = {check(url).reason}

        def is_up() -> bool:
            reasons.add(check(url, timeout=SECONDS).reason)
            return Reason.OK in reasons

        poll(is_up, timeout=300, what="RabbitMQ has started")
        assert reasons == {Reason.CONNECTION_REFUSED, Reason.OK}
        yield node


def test_up(node: RabbitMq) -> None:
    result = check(f"amqp://guest:s3cret@127.0.0.1:{node.port}/host", timeout=SECONDS)
    assert (result.healthy, result.detail) == (True, "broker speaks AMQP 0-9")
    assert result.target == f"amqp://127.0.0.1:{node.port}/host"


def test_tls(node: RabbitMq, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = f"amqps://localhost:{node.tls_port}"
    assert check(url, cacert=tmp_path / "ca.pem", timeout=SECONDS)
    assert check(url, timeout=SECONDS).reason is Reason.TLS_FAILURE
    assert not check(f"amqp://localhost:{node.tls_port}")
    assert not check(f"amqps://localhost:{node.port}")


def test_alarm_stops_publishers_only(node: RabbitMq) -> None:
    node.control("set_vm_memory_high_watermark", "absolute", "1")
    poll(lambda: "Memory alarm" in node.control("status"), timeout=120, what="the alarm is raised")
    assert check(f"amqp://127.0.0.1:{node.port}", timeout=SECONDS)


def test_wrong_version(node: RabbitMq) -> None:
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as connection:
        connection.sendall(b"AMQP\0\x02\0\0")
        header = connection.recv(64)
    with pytest.raises(CodecError, match="expected AMQP 0-9-1, got 0-9-1"):
        decode_start(header)


def test_stopped(node: RabbitMq) -> None:
    node.stop()
    assert check(f"amqp://127.0.0.1:{node.port}").reason is Reason.CONNECTION_REFUSED


def test_broker_of_another_version() -> None:
    with Peer(blurt(b"AMQP\0\x01\0\0", hold)) as peer:
        result = check(f"amqp://127.0.0.1:{peer.port}")
    assert result.reason is Reason.INVALID_RESPONSE
    assert result.detail == "response: expected AMQP 0-9-1, got 1-0-0"


# Decoding


def frame(payload: bytes, *, kind: int = 1, channel: int = 0, end: bytes = b"\xce") -> bytes:
    return bytes([kind]) + channel.to_bytes(2) + len(payload).to_bytes(4) + payload + end


START = b"\0\x0a\0\x0a\0\x09" + b"\0\0\0\0" + b"\0\0\0\x05PLAIN" + b"\0\0\0\x05en_US"


def test_start() -> None:
    data = frame(START)
    assert decode_start(data) == "0-9"
    assert decode_start(data + b"more") == "0-9"
    assert all(decode_start(data[:end]) is None for end in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"AMQP\0\x01\0\0",
        PROTOCOL_HEADER,
        b"HTTP/1.1 400 Bad Request\r\n",
        b"AMQX",
        frame(START, kind=8),
        frame(START, channel=1),
        frame(START, end=b"\n"),
        frame(b"\0\x0a\0\x32" + START[4:]),
        frame(START[:5]),
        b"\x01\0\0\xff\xff\xff\xff",
    ],
)
def test_other_replies(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_start(data)
