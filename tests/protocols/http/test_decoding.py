"""Content codings, fed with bytes."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest

from healthchecker._protocols.http.decoding import (
    MAX_CODINGS,
    MAX_MEMBERS,
    ContentError,
    Decoded,
    decode,
)

TEXT = b'{"status": "UP"}'
LONG = bytes(256 * 1024)


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # the same in every worker of the tests


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("content_encoding", "data"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", packed(TEXT)),
        (" X-GZip ", packed(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("gzip, gzip", packed(packed(TEXT))),
        ("deflate,gzip", packed(zlib.compress(TEXT))),
        ("gzip, deflate", zlib.compress(packed(TEXT))),
        ("identity, gzip", packed(TEXT)),
        ("gzip, identity,", packed(TEXT)),
        ("gzip", b"".join(packed(bytes([byte])) for byte in TEXT)),
        ("gzip", packed(b"") * (MAX_MEMBERS - 1) + packed(TEXT)),
    ],
)
def test_a_body_is_decoded(content_encoding: str, data: bytes) -> None:
    assert decode(content_encoding, data, len(TEXT)) == Decoded(TEXT, is_whole=True)


@pytest.mark.parametrize(
    ("content_encoding", "data", "coding", "left"),
    [
        ("br", b"?", "br", b"?"),
        ("Zstd", b"?", "zstd", b"?"),
        ("compress", b"?", "compress", b"?"),
        ("br, gzip", packed(b"?"), "br", b"?"),
        ("gzip, br", b"?", "br", b"?"),
    ],
)
def test_an_unknown_coding_is_named(
    content_encoding: str, data: bytes, coding: str, left: bytes
) -> None:
    assert decode(content_encoding, data, 99) == Decoded(left, True, coding)


@pytest.mark.parametrize("size", [0, 1, 9, 100, len(LONG) - 1])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", "", "gzip, gzip"])
def test_no_more_is_decoded_than_the_limit(coding: str, size: int) -> None:
    once = {"deflate": zlib.compress(LONG), "identity": LONG, "": LONG}
    data = once.get(coding, packed(LONG))
    if coding == "gzip, gzip":
        data = packed(data)
    assert decode(coding, data, size) == Decoded(LONG[:size], is_whole=False)
    assert decode(coding, data, len(LONG) + 1) == Decoded(LONG, is_whole=True)


def test_the_start_of_a_longer_body_is_decoded() -> None:
    whole = bytes(range(256)) * 99
    start = decode("gzip", packed(whole)[:200], 9999, is_whole=False)
    assert start.data
    assert whole.startswith(start.data)
    assert not start.is_whole


@pytest.mark.parametrize(
    ("content_encoding", "data", "problem"),
    [
        ("gzip", packed(TEXT)[:-9], "truncated gzip body"),
        ("gzip", packed(TEXT)[:1], "truncated gzip body"),
        ("deflate", raw_deflate(TEXT)[:-3], "truncated deflate body"),
        ("gzip, gzip", packed(packed(TEXT)[:-9]), "truncated gzip body"),
        ("gzip", b"x" * 100, "body is not valid gzip"),
        ("gzip, gzip", packed(TEXT), "body is not valid gzip"),
        ("gzip", packed(TEXT) + b"garbage", "body is not valid gzip"),
        ("deflate", b"\xff" * 9, "body is not valid deflate"),
        ("gzip, " * (MAX_CODINGS + 1), b"x", "more than 5 content codings"),
        ("gzip", packed(b"") * (MAX_MEMBERS + 1), "more than 1000 members"),
    ],
)
def test_an_invalid_body_is_refused(content_encoding: str, data: bytes, problem: str) -> None:
    with pytest.raises(ContentError, match=problem):
        decode(content_encoding, data, 9999)


def test_empty_members_take_little_time() -> None:
    start = time.process_time()
    with pytest.raises(ContentError):
        decode("gzip", packed(b"") * 12_500, 256 * 1024)
    assert time.process_time() - start < 0.5
