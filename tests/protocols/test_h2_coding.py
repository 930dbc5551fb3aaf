"""HPACK, compared with the library hpack. No I/O."""

from __future__ import annotations

import random

import hpack
import pytest

from healthchecker._protocols.h2_coding import FieldsDecoder, encode_fields
from healthchecker._protocols.reply import CodecError

MAX_SIZE = 8192
NAMES = (
    *(b":status", b"content-type", b"grpc-status", b"grpc-message", b"server", b"x", b""),
    b"a" * 200,
)
VALUES = (
    *(b"200", b"application/grpc", b"0", b"", b"identity", b"y" * 130, b"\xff\0 "),
    *(b"Thu, 01 Jan 1970 00:00:00 GMT", b"z" * 5000),
)
REFUSED, OVERSIZED = "refused", "oversized"


def by_hpack(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes]] | str:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except hpack.OversizedHeaderListError:
        return OVERSIZED
    except hpack.HPACKError:
        return REFUSED


def decoded(decoder: FieldsDecoder, block: bytes) -> list[tuple[bytes, bytes]] | str:
    try:
        return decoder.decode(block)
    except CodecError as error:
        return OVERSIZED if "oversized header block" in str(error) else REFUSED


def broken(chance: random.Random, block: bytes) -> bytes:
    data = bytearray(block)
    for _ in range(chance.choice((0, 0, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(3):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                del data[at : at + 1]
            case _:
                data[at:at] = chance.randbytes(chance.randrange(5))
    return bytes(data)


@pytest.mark.parametrize("seed", range(20))
def test_blocks_are_decoded_as_by_hpack(seed: int) -> None:
    chance = random.Random(seed)
    found = set()
    for _ in range(300):
        encoder, theirs, ours = hpack.Encoder(), hpack.Decoder(MAX_SIZE), FieldsDecoder(MAX_SIZE)
        for _ in range(3):
            fields = [
                (chance.choice(NAMES), chance.choice(VALUES)) for _ in range(chance.randrange(6))
            ]
            if chance.random() < 0.2:
                encoder.header_table_size = chance.choice((0, 100, 2000, 4096))
            block = broken(chance, encoder.encode(fields, huffman=chance.random() < 0.6))
            expected = by_hpack(theirs, block)
            assert decoded(ours, block) == expected, block.hex()
            found.add(expected if isinstance(expected, str) else "fields")
            if isinstance(expected, str):
                break
    assert found == {"fields", REFUSED, OVERSIZED}


@pytest.mark.parametrize(
    "block",
    [
        "82 3fe11f",  # RFC 7541, section 4.2: a new size after a field
        "3fe21f",  # 4.2: a size that is larger than allowed
        "80",  # 6.1: index 0
        "be",  # 6.1: an index of the dynamic table, which is empty
        "40",  # a name is missing
        "4001",
        "400178",  # a value is missing
        "40017805 61",  # a value that is cut off
        "ff",  # a number that is cut off
        "ff808080808001",  # 5.1: a number that is too long
        "000178 81 ff",  # 5.2: a Huffman code that is only padding
    ],
)
def test_an_invalid_block_is_refused(block: str) -> None:
    assert by_hpack(hpack.Decoder(MAX_SIZE), bytes.fromhex(block)) == REFUSED
    with pytest.raises(CodecError, match="headers that cannot be decoded"):
        FieldsDecoder(MAX_SIZE).decode(bytes.fromhex(block))


@pytest.mark.parametrize(
    ("field", "block"),
    [
        ((b":method", b"POST"), "83"),  # RFC 7541, section 6.1
        ((b"user-agent", b"me"), "0f2b 02 6d65"),  # 6.2.2
        ((b"authorization", b"Basic eA=="), "1f08 0a 42617369632065413d3d"),  # 6.2.3
        ((b"cookie", b"a=" + b"b" * 30), "1f11 20 613d" + "62" * 30),
        ((b"x-token", b"abc"), "00 07 782d746f6b656e 03 616263"),
        ((b"x-token", b"b" * 127), "00 07 782d746f6b656e 7f00" + "62" * 127),
    ],
)
def test_fields_are_encoded_by_the_static_table(field: tuple[bytes, bytes], block: str) -> None:
    assert encode_fields([field]) == bytes.fromhex(block)
    assert by_hpack(hpack.Decoder(), bytes.fromhex(block)) == [field]
