"""The codec, fed with bytes; what is right is taken from protobuf's and hyperframe's own code."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame

from healthchecker._protocols.grpc.codec import (
    GOAWAY,
    MAX_FRAME_SIZE,
    MAX_SERVICES,
    SERVING_STATUSES,
    STATUS_CODES,
    FrameReader,
    MessageReader,
    decode_check_response,
    decode_goaway,
    decode_list_response,
    encode_check_request,
    encode_message,
    frame_type,
)
from healthchecker._protocols.reply import CodecError
from tests.servers.grpc import list_response

FRAMES = [
    PingFrame(0, b"12345678").serialize(),
    DataFrame(1, b"").serialize(),
    DataFrame(1, b"x" * MAX_FRAME_SIZE).serialize(),
]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize(
    "service", ["", "a", "accounts.v1.Accounts", "größe", "x" * 127, "x" * 300]
)
def test_a_check_request_is_what_protobuf_makes(service: str) -> None:
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
def test_a_check_response_of_protobuf_is_understood(status: int) -> None:
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
        (b"\x08\x81\x80\x00", "SERVING"),  # longer than it needs to be, which is allowed
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "4294967295"),  # -1
        (b"\x10\x05\x08\x01", "SERVING"),  # unknown fields of every type are passed over
        (b"\x12\x03abc\x08\x01", "SERVING"),
        (b"\x15abcd\x08\x01", "SERVING"),
        (b"\x11abcdefgh\x08\x01", "SERVING"),
        (b"\x0a\x01\x01", "UNKNOWN"),  # the right number with a wrong type is unknown as well
    ],
)
def test_a_check_response_by_its_bytes(message: bytes, status: str) -> None:
    assert decode_check_response(message) == status


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x08", "ends inside a number"),
        (b"\x80", "ends inside a number"),
        (b"\x08\x80", "ends inside a number"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than 10 bytes"),
        (b"\x08" + b"\xff" * 10_000, "more than 10 bytes"),
        (b"\x00\x01", "field number 0"),
        (b"\x12\x05abc", "ends inside a field"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "ends inside a field"),
        (b"\x15abc", "ends inside a field"),
        (b"\x11abcdefg", "ends inside a field"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0e", "wire type 6"),
        (b"\x0f", "wire type 7"),
    ],
)
def test_a_malformed_message_is_told(message: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        decode_check_response(message)
    with pytest.raises(CodecError):
        decode_list_response(message)


def test_a_list_response_of_protobuf_is_understood() -> None:
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
        (b"\x0a\x04\x0a\x02\xff\xfe", "not UTF-8"),
        (b"\x0a\x03\x12\x01\x08", "ends inside a number"),
        (b"\x0a\x02\x0a\x01", "ends inside a field"),
        (
            b"".join(b"\x0a\x06\x0a\x04%04d" % number for number in range(MAX_SERVICES + 1)),
            f"more than {MAX_SERVICES} services",
        ),
    ],
)
def test_a_malformed_list_is_told(message: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        decode_list_response(message)


@pytest.mark.parametrize("size", [1, 2, 5, 9, 1000, 100_000])
def test_messages_are_whole_however_they_are_cut(size: int) -> None:
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
        (b"\x00\x00\x00\x00\x0b", "a message of 11 bytes, more than 10"),
        (b"\x00\xff\xff\xff\xff", "a message of 4294967295 bytes"),
    ],
)
def test_messages_that_are_not_taken(data: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        list(MessageReader(10).feed(data))


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x00\x00\x00\x02", b"\x00\x00\x00\x00\x02\x08"])
def test_a_message_that_is_cut_off_is_told(data: bytes) -> None:
    reader = MessageReader(10)
    assert list(reader.feed(data)) == []
    with pytest.raises(CodecError, match="cut off"):
        reader.finish()


@pytest.mark.parametrize("size", [1, 8, 9, 10, 1000, 1_000_000])
def test_frames_are_whole_however_they_are_cut(size: int) -> None:
    reader = FrameReader()
    found = [frame for piece in pieces(b"".join(FRAMES), size) for frame in reader.feed(piece)]
    assert found == FRAMES


def test_an_overlong_frame_is_refused_by_its_header() -> None:
    header = DataFrame(1, b"x" * (MAX_FRAME_SIZE + 1)).serialize()[:9]
    reader = FrameReader()
    assert list(reader.feed(header[:8])) == []
    with pytest.raises(CodecError, match=f"a frame of {MAX_FRAME_SIZE + 1} bytes"):
        list(reader.feed(header[8:]))


def test_http_1_is_told_from_frames() -> None:
    with pytest.raises(CodecError, match="HTTP/1"):
        list(FrameReader().feed(b"HTTP/1.1 400 Bad Request\r\n\r\n"))


def test_goaway_is_read() -> None:
    frame = GoAwayFrame(0, last_stream_id=7, error_code=11, additional_data=b"calm").serialize()
    assert frame_type(frame) == GOAWAY
    assert decode_goaway(frame) == (7, 11, b"calm")
    reserved_bit_set = frame[:9] + b"\x80" + frame[10:]
    assert decode_goaway(reserved_bit_set) == (7, 11, b"calm")


def test_goaway_that_is_too_short_is_told() -> None:
    with pytest.raises(CodecError, match="GOAWAY"):
        decode_goaway(b"\x00\x00\x04\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01")


def test_random_bytes_are_understood_or_told() -> None:
    source = random.Random(1)
    for _ in range(20_000):
        message = source.randbytes(source.randrange(24))
        for decode in (decode_check_response, decode_list_response):
            try:
                decode(message)
            except CodecError:
                continue


def test_what_is_understood_is_what_protobuf_understands() -> None:
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
