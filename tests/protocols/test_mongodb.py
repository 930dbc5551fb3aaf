"""mongodb:// targets: replies to `hello`, as MongoDB's drivers read them, and BSON."""

from __future__ import annotations

import struct

import pytest

from healthchecker import CheckResult, Reason, check
from healthchecker._protocols.mongodb import HELLO, decode_document, decode_message
from healthchecker._protocols.reply import CodecError
from tests.servers.peers import Connection, Peer

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, BOOL, DATE, INT, TIMESTAMP, LONG = (
    1, 2, 3, 4, 5, 8, 9, 16, 17, 18,
)  # fmt: skip


def element(kind: int, name: str, value: bytes) -> bytes:
    return bytes([kind]) + name.encode() + b"\0" + value


def document(*elements: bytes) -> bytes:
    body = b"".join(elements) + b"\0"
    return (4 + len(body)).to_bytes(4, "little") + body


def text(value: str) -> bytes:
    return (len(value) + 1).to_bytes(4, "little") + value.encode() + b"\0"


def message(body: bytes, *, to: int = 1, opcode: int = 2013) -> bytes:
    return struct.pack("<4i", 21 + len(body), 7, to, opcode) + bytes(5) + body


OK = element(DOUBLE, "ok", struct.pack("<d", 1.0))
PRIMARY = element(BOOL, "isWritablePrimary", b"\1")
SECONDARY = element(BOOL, "secondary", b"\1")
OTHERS = (
    element(DOCUMENT, "topologyVersion", document(element(LONG, "counter", bytes(8)))),
    element(ARRAY, "hosts", document(element(STRING, "0", text("a:27017")))),
    element(STRING, "setName", text("rs0")),
    element(BINARY, "id", b"\2\0\0\0\4ab"),
    element(DATE, "localTime", bytes(8)),
    element(TIMESTAMP, "operationTime", bytes(8)),
    element(7, "electionId", bytes(12)),
)


def hello(*elements: bytes, role: str | None = None) -> CheckResult:
    def behave(connection: Connection) -> None:
        assert connection.hear() == HELLO
        connection.send(message(document(*elements)))
        connection.hold()

    with Peer(behave) as peer:
        return check(f"mongodb://user:s3cret@{peer.address}/db?replicaSet=rs0", role=role)


@pytest.mark.parametrize(
    ("elements", "role", "reason", "detail"),
    [
        ((*OTHERS, PRIMARY, OK), None, Reason.OK, "primary"),
        ((SECONDARY, *OTHERS, element(INT, "ok", b"\1\0\0\0")), None, Reason.OK, "secondary"),
        ((PRIMARY, element(BOOL, "ok", b"\1")), "primary", Reason.OK, "primary"),
        ((SECONDARY, OK), "secondary", Reason.OK, "secondary"),
        ((SECONDARY, OK), "replica", Reason.OK, "secondary"),
        (
            (SECONDARY, OK),
            "primary",
            Reason.NOT_SERVING,
            "expected role primary, got secondary",
        ),
        ((*OTHERS, OK), None, Reason.NOT_SERVING, "neither primary nor secondary"),
        (
            (element(DOUBLE, "ok", bytes(8)), element(INT, "code", b"\x3b\0\0\0")),
            None,
            Reason.OK,
            "alive, hello is not supported",
        ),
        (
            (element(DOUBLE, "ok", bytes(8)), element(STRING, "errmsg", text("shutdown"))),
            None,
            Reason.NOT_SERVING,
            "shutdown",
        ),
        ((PRIMARY,), None, Reason.NOT_SERVING, "hello failed"),
    ],
)
def test_hello(elements: tuple[bytes, ...], role: str | None, reason: Reason, detail: str) -> None:
    result = hello(*elements, role=role)
    assert (result.reason, result.detail) == (reason, detail)


def test_request() -> None:
    assert HELLO.hex() == (
        "340000000100000000000000dd07000000000000001f0000"
        "001068656c6c6f000100000002246462000600000061646d696e0000"
    )  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        message(document(OK), to=2),
        message(document(OK), opcode=1),
        message(b""),
        struct.pack("<4i", -1, 0, 1, 2013),
        struct.pack("<4i", 1 << 30, 0, 1, 2013),
        message(b"\x10\0\0\0\x02name\0\xff\xff\xff\xff"),
        message(b"\x10\0\0\0\x02name\0\xff\xff\xff\x7f"),
        message(b"\x10\0\0\0\x77name\0\0\0\0\0"),
        message(b"\x10\0\0\0\x10name"),
        message(b"\x10\0\0\0\x10name\0\1"),
    ],
)
def test_other_replies(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_message(data)


def test_nested_documents_are_skipped() -> None:
    deep = b""
    for _ in range(1000):
        deep = element(DOCUMENT, "d", document(deep))
    assert decode_document(document(deep, OK)) == {"d": None, "ok": 1.0}
