"""cassandra:// targets: frames, with those of DataStax's driver as the judge."""

from __future__ import annotations

import pytest

from healthchecker import Reason, check
from healthchecker._protocols.cassandra import OPTIONS, decode_frame
from healthchecker._protocols.reply import CodecError
from tests.servers.peers import Connection, Peer


def frame(opcode: int, body: bytes, *, version: int = 0x84) -> bytes:
    return bytes([version, 0, 0, 1, opcode]) + len(body).to_bytes(4) + body


def error(code: int, text: str) -> bytes:
    return frame(0, code.to_bytes(4) + len(text).to_bytes(2) + text.encode())


SUPPORTED = frame(6, b"\0\1\0\x0bCQL_VERSION\0\1\0\x053.4.5")


@pytest.mark.parametrize(
    ("data", "reason", "status", "detail"),
    [
        (SUPPORTED, Reason.OK, None, "OPTIONS are supported"),
        (
            error(0x0A, "Invalid or unsupported protocol version (4)"),
            Reason.OK,
            10,
            "alive: Invalid or unsupported protocol version (4)",
        ),
        (error(0x1001, "overloaded"), Reason.NOT_SERVING, 0x1001, "overloaded"),
    ],
)
def test_frames(data: bytes, reason: Reason, status: int | None, detail: str) -> None:
    def behave(connection: Connection) -> None:
        assert connection.hear() == OPTIONS
        connection.send(data)
        connection.hold()

    with Peer(behave) as peer:
        result = check(f"cassandra://{peer.address}")
    assert (result.reason, result.status, result.detail) == (reason, status, detail)
    assert all(decode_frame(data[:end]) is None for end in range(len(data)))


def test_request_is_that_of_the_driver() -> None:
    # ProtocolHandler.encode_message(OptionsMessage(), 1, 4, None, False) of cassandra-driver 3.30
    assert OPTIONS == b"\x04\x00\x00\x01\x05\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "data",
    [
        b"\x04",
        b"HTTP/1.1 400",
        frame(3, b""),
        frame(0, b"\0\0\0\x0a"),
        b"\x84\0\0\1\6\x7f\xff\xff\xff",
        b"\x15\x03\x03",
    ],
)
def test_other_frames(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_frame(data)
