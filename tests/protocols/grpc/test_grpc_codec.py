"""The gRPC codec, fed with bytes and compared with protobuf."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2

from healthchecker._protocols.grpc.codec import (
    MAX_SERVICES,
    SERVING_STATUSES,
    STATUS_CODES,
    MessageReader,
    decode_check_response,
    decode_list_response,
    encode_check_request,
    encode_message,
)
from healthchecker._protocols.reply import CodecError
from tests.servers.grpc import list_response


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize(
    "service", ["", "a", "accounts.v1.Accounts", "größe", "x" * 127, "x" * 300]
)
def test_a_check_request_is_the_same_as_of_protobuf(service: str) -> None:
    assert (
        encode_check_request(service)
        == health_pb2.HealthCheckRequest(service=service).SerializeToString()
    )


def test_names_and_numbers_of_statuses_are_those_of_the_proto_file() -> None:
    assert dict(health_pb2.HealthCheckResponse.ServingStatus.items()) == {
        name: number for number, name in enumerate(SERVING_STATUSES)
    }


def test_names_and_numbers_of_codes_are_those_of_grpc() -> None:
    assert {code.name: code.value[0] for code in StatusCode} == {
        name: number for number, name in enumerate(STATUS_CODES)
    }


@pytest.mark.parametrize("status", range(4))
def test_a_check_response_of_protobuf_is_decoded(status: int) -> None:
    response = health_pb2.HealthCheckResponse()
    response.status = health_pb2.HealthCheckResponse.ServingStatus.values()[status]
    assert decode_check_response(response.SerializeToString()) == SERVING_STATUSES[status]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"", "UNKNOWN"),
        (b"\x08\x01", "SERVING"),
        (b"\x08\x01\x08\x02", "NOT_SERVING"),
        (b"\x08\x07", "7"),
        (b"\x08\x81\x80\x00", "SERVING"),  # longer than necessary, which is allowed
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "4294967295"),  # -1
        (b"\x10\x05\x08\x01", "SERVING"),  # unknown fields of every type are skipped
        (b"\x12\x03abc\x08\x01", "SERVING"),
        (b"\x15abcd\x08\x01", "SERVING"),
        (b"\x11abcdefgh\x08\x01", "SERVING"),
        (b"\x0a\x01\x01", "UNKNOWN"),  # a field with the wrong type is also unknown
    ],
)
def test_a_check_response_by_its_bytes(message: bytes, status: str) -> None:
    assert decode_check_response(message) == status


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x08", "truncated varint"),
        (b"\x80", "truncated varint"),
        (b"\x08\x80", "truncated varint"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "longer than 10 bytes"),
        (b"\x08" + b"\xff" * 10_000, "longer than 10 bytes"),
        (b"\x00\x01", "field number 0"),
        (b"\x12\x05abc", "truncated field"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "truncated field"),
        (b"\x15abc", "truncated field"),
        (b"\x11abcdefg", "truncated field"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0e", "wire type 6"),
        (b"\x0f", "wire type 7"),
    ],
)
def test_a_malformed_message_is_refused(message: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        decode_check_response(message)
    with pytest.raises(CodecError):
        decode_list_response(message)


def test_a_list_response_of_protobuf_is_decoded() -> None:
    statuses = {"": 1, "accounts": 2, "größe": 0, "x" * 300: 3}
    response = list_response(statuses)
    assert decode_list_response(response.SerializeToString()) == {
        name: SERVING_STATUSES[status] for name, status in statuses.items()
    }


@pytest.mark.parametrize(
    ("message", "statuses"),
    [
        (b"", {}),
        (b"\x0a\x00", {"": "UNKNOWN"}),
        (b"\x0a\x03\x0a\x01a", {"a": "UNKNOWN"}),
        (b"\x0a\x04\x12\x02\x08\x01", {"": "SERVING"}),
        (b"\x0a\x07\x12\x02\x08\x02\x0a\x01a", {"a": "NOT_SERVING"}),  # the value before the key
        (b"\x0a\x03\x0a\x01a\x0a\x07\x0a\x01a\x12\x02\x08\x01", {"a": "SERVING"}),  # the last wins
        (b"\x0a\x09\x0a\x01a\x12\x02\x08\x01\x12\x00", {"a": "SERVING"}),  # merged
        (b"\x08\x01", {}),
    ],
)
def test_a_list_response_by_its_bytes(message: bytes, statuses: dict[str, str]) -> None:
    assert decode_list_response(message) == statuses


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x0a\x04\x0a\x02\xff\xfe", "not valid UTF-8"),
        (b"\x0a\x03\x12\x01\x08", "truncated varint"),
        (b"\x0a\x02\x0a\x01", "truncated field"),
        (
            b"".join(b"\x0a\x06\x0a\x04%04d" % number for number in range(MAX_SERVICES + 1)),
            f"more than {MAX_SERVICES} services",
        ),
    ],
)
def test_a_malformed_list_is_refused(message: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        decode_list_response(message)


@pytest.mark.parametrize("size", [1, 2, 5, 9, 1000, 100_000])
def test_messages_are_complete_whatever_the_size_of_the_pieces(size: int) -> None:
    messages = [b"", b"\x08\x01", b"x" * 300, b""]
    reader = MessageReader(300)
    found = [
        message
        for piece in pieces(b"".join(encode_message(one) for one in messages), size)
        for message in reader.feed(piece)
    ]
    assert found == messages
    reader.finish()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x01\x00\x00\x00\x02\x08\x01", "compressed"),
        (b"\xff\x00\x00\x00\x02\x08\x01", "compressed"),
        (b"\x00\x00\x00\x00\x0b", r"message too large: 11 bytes \(limit 10\)"),
        (b"\x00\xff\xff\xff\xff", "message too large: 4294967295 bytes"),
    ],
)
def test_unacceptable_messages_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        list(MessageReader(10).feed(data))


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x00\x00\x00\x02", b"\x00\x00\x00\x00\x02\x08"])
def test_a_truncated_message_is_refused(data: bytes) -> None:
    reader = MessageReader(10)
    assert list(reader.feed(data)) == []
    with pytest.raises(CodecError, match="truncated message"):
        reader.finish()


def test_random_bytes_are_decoded_or_refused() -> None:
    source = random.Random(1)
    statuses: list[str] = []
    problems: set[str] = set()
    for _ in range(20_000):
        message = source.randbytes(source.randrange(24))
        try:
            statuses.append(decode_check_response(message))
            statuses += decode_list_response(message).values()
        except CodecError as error:
            problems.add(str(error).partition(":")[0])
    assert len(statuses) > 1000
    assert all(status in SERVING_STATUSES or status.isdecimal() for status in statuses)
    assert problems == {"malformed message"}  # names in 24 random bytes are hardly ever complete


def test_changed_messages_are_decoded_like_protobuf() -> None:
    source = random.Random(2)
    valid = b"\x08\x01\x12\x03abc\x15abcd\x08\x02"
    agreed = 0
    for _ in range(5_000):
        changed = bytearray(valid)
        changed[source.randrange(len(valid))] = source.randrange(256)
        message = bytes(changed[: source.randrange(len(valid) + 1)])
        try:
            status = decode_check_response(message)
        except CodecError:
            continue
        expected = health_pb2.HealthCheckResponse.FromString(message).status
        names = dict(enumerate(SERVING_STATUSES))
        assert status == names.get(expected, str(expected & 0xFFFFFFFF)), message
        agreed += 1
    assert agreed > 1_000
