"""kafka:// targets: responses to ApiVersions, also those of librdkafka's mock broker."""

from __future__ import annotations

import struct
from importlib import import_module
from importlib.util import find_spec

import pytest

from healthchecker import Reason, check
from healthchecker._protocols.kafka import REQUEST, decode_api_versions
from healthchecker._protocols.reply import CodecError
from tests.servers.peers import Connection, Peer
from tests.support import require

CORRELATION = 0x68636B72


def response(error: int, apis: bytes = b"", count: int | None = None) -> bytes:
    number = len(apis) // 6 if count is None else count
    body = struct.pack("!ihi", CORRELATION, error, number) + apis
    return len(body).to_bytes(4) + body


APIS = struct.pack("!6h", 18, 0, 3, 3, 0, 12)


def test_mock_broker() -> None:
    require(find_spec("confluent_kafka"), "confluent-kafka is not installed")
    admin = import_module("confluent_kafka.admin")
    client = admin.AdminClient({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    (broker,) = client.list_topics(timeout=10).brokers.values()
    result = check(f"kafka://{broker.host}:{broker.port}", timeout=10)
    assert result.reason is Reason.OK
    assert result.detail.startswith("ApiVersions lists ")


@pytest.mark.parametrize(
    ("data", "reason", "status"),
    [
        (response(0, APIS), Reason.OK, None),
        (response(35), Reason.OK, 35),
        (response(35, APIS), Reason.OK, 35),
        (response(-1), Reason.NOT_SERVING, -1),
    ],
)
def test_responses(data: bytes, reason: Reason, status: int | None) -> None:
    def behave(connection: Connection) -> None:
        assert connection.hear() == REQUEST
        connection.send(data)
        connection.hold()

    with Peer(behave) as peer:
        result = check(f"kafka://{peer.address}")
    assert (result.reason, result.status) == (reason, status)
    assert all(decode_api_versions(data[:end]) is None for end in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"\x15\x03\x03\0\2\2\x46",
        b"HTTP/1.1",
        b"\0\0\0\x06\0\0\0\1\0\0",
        response(0, count=1),
        response(0, APIS, count=3),
        response(0, b"", count=0),
        response(0, APIS, count=-1),
        b"\0\0\0\x04" + CORRELATION.to_bytes(4) + b"\0\0",
    ],
)
def test_other_responses(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_api_versions(data)
