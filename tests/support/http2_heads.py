"""HTTP/2 responses whose heads are broken, for the fuzzer: as fields, before they are encoded."""

from __future__ import annotations

import random

import hpack
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, SettingsFrame

_Fields = list[tuple[bytes, bytes]]

BODY = b'{"status":"UP"} '
_HEADS: tuple[_Fields, ...] = (
    [(b":status", b"200"), (b"content-type", b"application/json"), (b"content-length", b"15")],
    [(b":status", b"200"), (b"content-encoding", b"gzip"), (b"x-state", b"fine")],
    [(b":status", b"204")],
    [(b":status", b"304"), (b"content-length", b"15")],
    [(b":status", b"302"), (b"location", b"/login")],
    [(b":status", b"503"), (b"content-length", b"15")],
)
_INTERIM: _Fields = [(b":status", b"103"), (b"link", b"x")]
_NAMES = (
    *(b":status", b":path", b":other", b"content-length", b"Content-Length", b"connection"),
    *(b"transfer-encoding", b"location", b"content-encoding", b"", b"x", b"\x1b[2J", b"a\0b"),
)
_VALUES = (
    *(b"", b"0", b"15", b"16", b"-1", b"+200", b"abc", b"1x", b"20", b"099", b"100", b"101"),
    *(b"2000", b"999", b"200 OK", b" 200", b"\x1b[2J", b"\xd9\xa2", b"\xff", b"a\0b", b"9" * 5000),
    *(b"gzip", b"gzip, gzip", b"br", b"chunked", b"/", b"http://[::1", b"x" * 40_000),
)


def broken_head(chance: random.Random) -> bytes:
    """Return the frames of a response with a few faults in its head, body or trailers."""
    head = list(chance.choice(_HEADS))
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        _break(chance, head)
    parts = [_headers(chance, head, ends=chance.random() < 0.3)]
    if chance.random() < 0.3:
        interim = list(_INTERIM)
        if chance.random() < 0.5:
            _break(chance, interim)
        parts.insert(0, _headers(chance, interim, ends=chance.random() < 0.1))
    sizes: tuple[int, ...] = chance.choice(((15,), (5, 10), (0, 15), (16,), (), (1,) * 15))
    parts += [DataFrame(1, BODY[:size]).serialize() for size in sizes]
    if chance.random() < 0.3:
        parts.append(_headers(chance, [(b"x-end", b"y")], ends=chance.random() < 0.9))
    else:
        parts.append(DataFrame(1, b"", flags=["END_STREAM"]).serialize())
    for _ in range(chance.choice((0, 0, 1, 2))):
        parts.insert(chance.randrange(len(parts) + 1), chance.choice(_BETWEEN))
    return SettingsFrame(0).serialize() + b"".join(parts)


_BETWEEN = (
    PingFrame(0, b"12345678").serialize(),
    GoAwayFrame(0, last_stream_id=1).serialize(),
    GoAwayFrame(0, last_stream_id=2**31 - 1).serialize(),
    GoAwayFrame(0, last_stream_id=0).serialize(),
    GoAwayFrame(0, last_stream_id=1, error_code=11, additional_data=b"\x1b[2J").serialize(),
    SettingsFrame(0, flags=["ACK"]).serialize(),
)


def _break(chance: random.Random, fields: _Fields) -> None:
    index = chance.randrange(len(fields) + 1)
    name, value = fields[index] if index < len(fields) else (b"x", b"y")
    match chance.randrange(5):
        case 0:
            fields.insert(index, (chance.choice(_NAMES), chance.choice(_VALUES)))
        case 1 if index < len(fields):
            fields[index] = (name, chance.choice(_VALUES))
        case 2 if len(fields) > 1 and index < len(fields):
            del fields[index]
        case 3:
            fields.insert(chance.randrange(len(fields) + 1), (name, value))
        case _:
            chance.shuffle(fields)


def _headers(chance: random.Random, fields: _Fields, *, ends: bool) -> bytes:
    block = hpack.Encoder().encode(fields, huffman=chance.random() < 0.5)
    flags = ["END_HEADERS", "END_STREAM"] if ends else ["END_HEADERS"]
    return HeadersFrame(1, block, flags=flags).serialize()
