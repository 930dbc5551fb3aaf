"""Every decode function, fed with parts and with the bytes of other protocols."""

from __future__ import annotations

import pytest

from healthchecker._protocols.reply import MAX_REPLY_BYTES, CodecError
from tests.tables.decoders import DECODERS, Decode
from tests.tables.hostile_behaviours import NOTHING, OPENINGS, OTHERS

REPLIES = {scheme: one.turns[0] for scheme, one in OPENINGS.items()} | OTHERS
every_decoder = pytest.mark.parametrize(
    ("scheme", "decode"),
    [pytest.param(scheme, decode, id=f"{scheme} {name}") for name, scheme, decode in DECODERS],
)


def outcome(decode: Decode, data: bytes) -> object:
    try:
        return decode(data)
    except CodecError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 300
        return CodecError


def test_every_protocol_has_its_decoder() -> None:
    """HTTP and gRPC have tables of their own."""
    decoded = [OPENINGS[scheme] for _, scheme, _ in DECODERS]
    others = (NOTHING, OPENINGS["http"], OPENINGS["grpc"])
    missing = [name for name, one in OPENINGS.items() if one not in (*decoded, *others)]
    assert missing == []


@every_decoder
def test_other_protocols_are_refused(scheme: str, decode: Decode) -> None:
    """Refused, or not recognized in 64 KiB: that also ends a probe."""
    own = OPENINGS[scheme].turns
    for name, data in REPLIES.items():
        found = outcome(decode, data)
        if data in own:
            continue
        greetings_are_alike = data[:4] == own[0][:4] or data.startswith(b"+OK")
        assert found in (None, CodecError) or greetings_are_alike, (name, found)


@every_decoder
def test_parts_are_incomplete(scheme: str, decode: Decode) -> None:
    for turn in OPENINGS[scheme].turns:
        whole = outcome(decode, turn)
        if whole is None or whole is CodecError:
            continue  # of another function
        found = [outcome(decode, turn[:end]) for end in range(len(turn))]
        complete = found.index(whole) if whole in found else len(turn)
        assert found[:complete] == [None] * complete
        assert set(map(repr, found[complete:])) <= {repr(whole)}
        return
    pytest.fail("no turn is recognized")


@every_decoder
def test_giants_are_bounded(scheme: str, decode: Decode) -> None:
    for filler in (b"\0", b"\xff", b" ", b"A", b"9", b"\x80", b"\n"):
        for turn in OPENINGS[scheme].turns:
            for kept in {0, 1, len(turn) // 2, len(turn) - 1}:
                outcome(decode, (turn[:kept] + filler * MAX_REPLY_BYTES)[:MAX_REPLY_BYTES])
