"""mssql:// targets: replies to PRELOGIN."""

from __future__ import annotations

import pytest

from healthchecker import Reason, check
from healthchecker._protocols.mssql import PRELOGIN, decode_prelogin
from healthchecker._protocols.reply import CodecError
from tests.servers.peers import Connection, Peer


def packet(body: bytes, kind: int = 4, status: int = 1) -> bytes:
    return bytes([kind, status]) + (8 + len(body)).to_bytes(2) + b"\0\0\1\0" + body


# As SQL Server replies: VERSION at 11, ENCRYPTION at 17, and the values.
REPLY = packet(b"\0\0\x0b\0\6\1\0\x11\0\1\xff" + b"\x10\0\x03\xe8\0\0" + b"\2")


def test_reply() -> None:
    def behave(connection: Connection) -> None:
        assert connection.hear() == PRELOGIN
        connection.send(REPLY)
        connection.hold()

    with Peer(behave) as peer:
        result = check(f"mssql://sa:s3cret@{peer.address}/master")
    assert (result.reason, result.detail) == (Reason.OK, "server version 16.0.1000")
    assert all(decode_prelogin(REPLY[:end]) is None for end in range(len(REPLY)))


def test_request() -> None:
    assert bytes.fromhex("1201001a0000010000000b00060100110001ff00000000000002") == PRELOGIN


@pytest.mark.parametrize(
    "data",
    [
        packet(REPLY[8:], kind=18),
        packet(REPLY[8:], status=0),
        packet(b"\0"),
        packet(b"\1\0\x0b\0\6\xff"),
        packet(b"\0\xff\xff\0\6\xff"),
        b"HTTP",
        b"\x15\x03",
    ],
)
def test_other_replies(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_prelogin(data)
