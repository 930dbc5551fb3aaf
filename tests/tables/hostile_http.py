"""The table of HTTP peers that misbehave: what each does, and the verdict on it."""

from __future__ import annotations

import functools
import gzip
import random
import zlib
from dataclasses import dataclass

from healthchecker import Reason
from tests.servers.peers import (
    Behaviour,
    blurt,
    close,
    drip,
    flood,
    half_close,
    hold,
    in_turn,
    never_read,
    read_a_byte,
    reset,
    respond,
    slowly,
)
from tests.tables.hostile_behaviours import LONG, SHORT


@dataclass(frozen=True, slots=True)
class Hostile:
    """A behaviour of a peer and the verdict on it."""

    name: str
    behaviour: Behaviour
    reason: Reason
    detail: str = ""
    """What the detail must contain."""
    args: tuple[str, ...] = ()
    tls: bool = False
    """Whether the peer really does TLS first."""
    scheme: str = ""
    as_http: Reason | None = None
    """The verdict of an HTTP/2 check on a gRPC peer, if it is another one."""

    def allows(self, reason: Reason, detail: str) -> bool:
        return reason is self.reason and self.detail in detail

    def __str__(self) -> str:
        return self.name

    @property
    def target_scheme(self) -> str:
        return self.scheme or ("https" if self.tls else "http")

    @property
    def timeout(self) -> float:
        return SHORT if self.reason is Reason.TIMEOUT else LONG


OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
HEALTHY = OK + EMPTY
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SIZED = OK + b"Content-Length: 10\r\n\r\n"
LONG_BODY = OK + b"Content-Length: 100000\r\n\r\n"
UNSIZED = OK + b"\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
FOLLOW = ("--follow-redirects",)
LARGE_REQUEST = tuple(f"--header=X-{n}: {'x' * 120_000}" for n in range(2))
"""More than socket buffers take; one argument of a program ends at 128 KiB."""

BODY_LIMIT = 256 * 1024

NESTED = {
    "deeper than may be": b"[" * 129 + b"]" * 129,
    "too deep for a small stack": b"[" * 5000,
    "too deep for any stack": b"[" * BODY_LIMIT,
    "in objects": b'{"a":' * 50_000,
    "in whole objects": b'{"a":' * 2500 + b"1" + b"}" * 2500,
    "behind strings": b'["\\"]",' + b"[" * 5000,
}
"""JSON in which a parser that calls itself would run into the end of its stack."""

STOPS = {
    "the status line": b"HTTP/1.1 20",
    "the headers": OK,
    "a header": OK + b"Content-Le",
    "the body": SIZED + b"12345",
    "a chunk size": CHUNKED + b"1",
    "a chunk": CHUNKED + b"a\r\n12345",
    "the chunks": CHUNKED + b"1\r\nx\r\n",
    "the trailer": CHUNKED + b"1\r\nx\r\n0\r\nX-Tr",
}
"""Where a response can stop, and the bytes sent until then."""


@functools.cache
def bomb(wbits: int) -> bytes:
    """Return 64 MB of zeros, compressed to some 64 KB."""
    packer = zlib.compressobj(wbits=wbits)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()


def encoded(encoding: str, body: bytes) -> Behaviour:
    head = f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return respond(OK + head.encode() + body)


def redirect(location: str | bytes) -> Behaviour:
    data = location.encode() if isinstance(location, str) else location
    return respond(REDIRECT + data + b"\r\n\r\n")


def _invalid(name: str, sent: bytes, then: Behaviour = close, *args: str) -> Hostile:
    return Hostile(name, respond(sent, then), Reason.INVALID_RESPONSE, "response: ", args)


def _silence() -> list[Hostile]:
    silent = {
        "the response": b"",
        **STOPS,
        "a body without a length": UNSIZED + b"12345",
        "an interim response": b"HTTP/1.1 100 Continue\r\n",
        "the response after an interim one": INTERIM,
    }
    return [
        *(
            Hostile(f"silence in {phase}", respond(sent, hold), Reason.TIMEOUT, "(response)")
            for phase, sent in silent.items()
        ),
        Hostile(
            "silence while the request is sent",
            never_read,
            Reason.TIMEOUT,
            "(response)",
            LARGE_REQUEST,
        ),
        Hostile(
            "silence after a redirect",
            in_turn(redirect("/"), hold),
            Reason.TIMEOUT,
            "(response)",
            FOLLOW,
        ),
        Hostile("silence in TLS", hold, Reason.TIMEOUT, "(tls)", scheme="https"),
        Hostile("silence after TLS", hold, Reason.TIMEOUT, "(response)", tls=True),
        Hostile(
            "silence in the body over TLS",
            respond(SIZED + b"12345", hold),
            Reason.TIMEOUT,
            "(response)",
            tls=True,
        ),
    ]


def _dripping() -> list[Hostile]:
    dripping = {
        "status line": (b"", OK * 100),
        "reason phrase": (b"HTTP/1.1 200 ", b"O"),
        "header": (OK + b"X-Long: ", b"x"),
        "headers": (OK, b"a:\r\n"),
        "interim responses": (b"", INTERIM),
        "body": (LONG_BODY, b"x"),
        "body without a length": (UNSIZED, b"x"),
        "chunks": (CHUNKED, b"1\r\nx\r\n"),
        "chunk": (CHUNKED + b"fff\r\n", b"x"),
        "chunk extension": (CHUNKED + b"1;", b"x"),
        "trailer": (CHUNKED + b"0\r\n", b"a:\r\n"),
        "headers of an error": (b"HTTP/1.1 500 No\r\n", b"a:\r\n"),
    }
    return [
        *(
            Hostile(f"dripping {what}", respond(sent, drip(more)), Reason.TIMEOUT, "(response)")
            for what, (sent, more) in dripping.items()
        ),
        Hostile(
            "dripping redirects", slowly(redirect("/"), 0.12), Reason.TIMEOUT, "(response)", FOLLOW
        ),
        Hostile(
            "dripping TLS",
            blurt(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03", drip(b"x")),
            Reason.TIMEOUT,
            "(tls)",
            scheme="https",
        ),
        Hostile(
            "dripping body over TLS",
            respond(LONG_BODY, drip(b"x")),
            Reason.TIMEOUT,
            "(response)",
            tls=True,
        ),
    ]


def _resets() -> list[Hostile]:
    stops = {"the response": b"", **STOPS, "a body without a length": UNSIZED + b"12345"}
    return [
        *(
            Hostile(
                f"reset in {phase}", respond(sent, reset), Reason.CONNECTION_RESET, "response: "
            )
            for phase, sent in stops.items()
        ),
        Hostile("reset before the request", reset, Reason.CONNECTION_RESET),
        Hostile(
            "reset while the request is sent",
            slowly(reset, 0.1),
            Reason.CONNECTION_RESET,
            "response: ",
            LARGE_REQUEST,
        ),
        Hostile("reset before TLS", reset, Reason.CONNECTION_RESET, scheme="https"),
        Hostile(
            "reset in TLS",
            read_a_byte(reset),
            Reason.CONNECTION_RESET,
            "tls: ",
            scheme="https",
        ),
        Hostile(
            "reset in the body over TLS",
            respond(SIZED + b"12345", reset),
            Reason.CONNECTION_RESET,
            "response: ",
            tls=True,
        ),
        Hostile(
            "tcp target that closes immediately",
            close,
            Reason.CONNECTION_RESET,
            "the peer closed the connection immediately",
            scheme="tcp",
        ),
    ]


def _cut_off() -> list[Hostile]:
    return [
        *(_invalid(f"cut off in {phase}", sent) for phase, sent in STOPS.items()),
        _invalid("empty response", b""),
        Hostile("closed before the request", close, Reason.INVALID_RESPONSE, "response: "),
        Hostile("half closed before the request", half_close, Reason.INVALID_RESPONSE),
        _invalid("closed after an interim response", INTERIM),
        Hostile(
            "half closed after the response", respond(UNSIZED + b"body", half_close), Reason.OK
        ),
        Hostile("response before the request", blurt(HEALTHY), Reason.OK),
        Hostile(
            "response in the middle of a large request",
            read_a_byte(blurt(b"HTTP/1.1 431 Too Large\r\n" + EMPTY, half_close)),
            Reason.UNEXPECTED_STATUS,
            "431",
            LARGE_REQUEST,
        ),
        Hostile(
            "closed in TLS", close, Reason.TLS_FAILURE, "closed the connection", scheme="https"
        ),
        Hostile("closed after TLS", close, Reason.INVALID_RESPONSE, "response: ", tls=True),
        Hostile(
            "cut off in the body over TLS",
            respond(SIZED + b"12345"),
            Reason.INVALID_RESPONSE,
            "response: ",
            tls=True,
        ),
        Hostile(
            "body without a length and without the end of TLS",
            respond(UNSIZED + b"12345", half_close),
            Reason.OK,
            args=("--expect-body=12345",),
            tls=True,
        ),
        Hostile(
            "cut off in the body without the end of TLS",
            respond(SIZED + b"12345", half_close),
            Reason.INVALID_RESPONSE,
            "before the end of the body",
            tls=True,
        ),
        Hostile(
            "cut off in the chunks without the end of TLS",
            respond(CHUNKED + b"5\r\n12345\r\n", half_close),
            Reason.INVALID_RESPONSE,
            "before the end of the body",
            tls=True,
        ),
        Hostile(
            "cut off in the headers without the end of TLS",
            respond(OK + b"X-Name: val", half_close),
            Reason.INVALID_RESPONSE,
            "before the end of the headers",
            tls=True,
        ),
        Hostile(
            "whole body without the end of TLS",
            respond(SIZED + b"1234567890", half_close),
            Reason.OK,
            tls=True,
        ),
    ]


def _endless() -> list[Hostile]:
    return [
        _invalid("endless status line", b"HTTP/1.1 200 ", flood(b"x" * 4096)),
        _invalid("endless header", OK + b"X-Long: ", flood(b"x" * 4096)),
        _invalid("endless headers", OK, flood(b"a: b\r\n" * 700)),
        _invalid("endless folded header", OK + b"X-Long: x\r\n", flood(b" x\r\n" * 1000)),
        *_endless_bodies(
            {
                "body": (OK + b"Content-Length: 999999999999\r\n\r\n", bytes(65536)),
                "body without a length": (UNSIZED, bytes(65536)),
                "chunks": (CHUNKED, b"1000\r\n" + bytes(4096) + b"\r\n"),
                "chunks of one byte": (CHUNKED, b"1\r\nx\r\n" * 10_000),
            }
        ),
        _invalid("endless chunk size", CHUNKED, flood(b"0" * 4096)),
        _invalid("endless chunk extension", CHUNKED + b"1;", flood(b"x" * 4096)),
        _invalid("endless trailer", CHUNKED + b"0\r\n", flood(b"a: b\r\n" * 700)),
        _invalid("endless empty lines", b"", flood(b"\r\n" * 2000)),
        _invalid("endless NULs", b"", flood(bytes(65536))),
        Hostile(
            "endless interim responses",
            respond(b"", flood(INTERIM * 100)),
            Reason.INVALID_RESPONSE,
            "response: ",
        ),
        Hostile(
            "endless bytes in TLS",
            blurt(b"", flood(b"x" * 4096)),
            Reason.TLS_FAILURE,
            "tls: ",
            scheme="https",
        ),
        Hostile(
            "endless bytes over TLS",
            respond(UNSIZED, flood(bytes(65536))),
            Reason.TIMEOUT,
            "(response)",
            tls=True,
        ),
        _invalid("status line of 100 KB", b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n" + EMPTY),
        _invalid("headers of 64 KB", OK + b"X-Large: " + b"x" * 65_536 + b"\r\n" + EMPTY),
        _invalid(
            "64 headers of 1 KB",
            OK + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1024) for n in range(64)) + EMPTY,
        ),
        _invalid("10,000 headers", OK + b"".join(b"X-%d:\r\n" % n for n in range(10_000)) + EMPTY),
    ]


def _endless_bodies(bodies: dict[str, tuple[bytes, bytes]]) -> list[Hostile]:
    """Return peers whose bodies have no end, which an expectation reports immediately."""
    expecting = {"text": "--expect-body=UP", "JSON": "--expect-json=status=UP"}
    return [
        *(
            Hostile(f"endless {name}", respond(sent, flood(more)), Reason.TIMEOUT, "(response)")
            for name, (sent, more) in bodies.items()
        ),
        *(
            Hostile(
                f"endless {name}, {what} expected",
                respond(sent, flood(more)),
                Reason.UNEXPECTED_BODY,
                str(BODY_LIMIT),
                (arg,),
            )
            for name, (sent, more) in bodies.items()
            for what, arg in expecting.items()
            if name != "chunks of one byte"  # of which the time limit comes first
        ),
    ]


def _long_bodies() -> list[Hostile]:
    def body(size: int, start: bytes = b"", end: bytes = b"") -> Behaviour:
        return respond(UNSIZED + start + bytes(size - len(start) - len(end)) + end)

    text, up = ("--expect-body=here",), ("--expect-json=status=UP",)
    unexpected = Reason.UNEXPECTED_BODY
    return [
        Hostile("body longer than is looked at", body(8 * BODY_LIMIT), Reason.OK),
        Hostile("text at its end", body(BODY_LIMIT, end=b"here"), Reason.OK, "", text),
        Hostile(
            "text after what is looked at",
            body(BODY_LIMIT + 1, end=b"here"),
            unexpected,
            f"in the first {BODY_LIMIT} bytes of the body",
            text,
        ),
        Hostile(
            "text at the start of a long body", body(8 * BODY_LIMIT, b"here"), Reason.OK, "", text
        ),
        Hostile(
            "text at the start of a body that is cut off",
            respond(OK + b"Content-Length: 500000\r\n\r\nhere" + bytes(400_000)),
            Reason.INVALID_RESPONSE,
            "before the end of the body",
            text,
        ),
        Hostile(
            "JSON that is too long",
            respond(UNSIZED + b'{"status":"UP"}' + b" " * BODY_LIMIT),
            unexpected,
            f"more than {BODY_LIMIT} bytes",
            up,
        ),
    ]


def _encodings() -> list[Hostile]:
    packed = gzip.compress(b'{"status": "UP"}')
    up = ("--expect-json", "status=UP")
    healthy, invalid = Reason.OK, Reason.INVALID_RESPONSE
    unexpected = Reason.UNEXPECTED_BODY
    longer = f"more than {BODY_LIMIT} bytes"
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = raw.compress(b'{"status": "UP"}') + raw.flush()
    members = gzip.compress(b'{"sta') + gzip.compress(b"") + gzip.compress(b'tus": "UP"}')
    return [
        Hostile("gzip", encoded("gzip", packed), Reason.OK, "", up),
        Hostile("gzip of several members", encoded("gzip", members), Reason.OK, "", up),
        Hostile("deflate", encoded("deflate", zlib.compress(b'{"status": "UP"}')), healthy, "", up),
        Hostile("raw deflate", encoded("Deflate", deflated), healthy, "", up),
        Hostile("raw deflate cut off", encoded("deflate", deflated[:-3]), invalid, "truncated", up),
        Hostile("gzip bomb", encoded("gzip", bomb(31)), healthy),
        Hostile("gzip bomb, body expected", encoded("gzip", bomb(31)), unexpected, longer, up),
        Hostile("deflate bomb", encoded("deflate", bomb(-15)), unexpected, longer, up),
        Hostile("gzip bombs", encoded("gzip", bomb(31) * 4), unexpected, longer, up),
        Hostile("gzip cut off", encoded("gzip", packed[:-9]), invalid, "truncated", up),
        Hostile(
            "gzip cut off in a member", encoded("gzip", members[:-9]), invalid, "truncated", up
        ),
        Hostile("gzip that is invalid", encoded("gzip", b"x" * 100), invalid, "not valid gzip", up),
        Hostile("deflate that is invalid", encoded("deflate", b"\xff" * 9), invalid, "not", up),
        Hostile(
            "gzip and garbage", encoded("gzip", packed + b"garbage"), invalid, "not valid gzip", up
        ),
        Hostile(
            "gzip with another checksum", encoded("gzip", packed[:-5] + b"12345"), invalid, "", up
        ),
        Hostile("gzip of a body that no option needs", encoded("gzip", b"x" * 100), healthy),
        Hostile("gzip twice", encoded("gzip, gzip", gzip.compress(packed)), healthy, "", up),
        Hostile("gzip after identity", encoded("identity, gzip", packed), healthy, "", up),
        Hostile("gzip once, not twice", encoded("gzip, gzip", packed), invalid, "not valid", up),
        Hostile("six codings", encoded("gzip," * 6, packed), invalid, "more than 5 content", up),
        Hostile(
            "empty gzip members",
            encoded("gzip", gzip.compress(b"") * 12_500),
            invalid,
            "more than 1000 members",
            up,
        ),
        *(
            Hostile(
                f"{coding}, text expected",
                encoded(coding, b"\x0b\x02\x80UP\x03"),
                unexpected,
                f"(the body is encoded as {coding})",
                ("--expect-body=DOWN",),
            )
            for coding in ("br", "zstd", "compress")
        ),
        Hostile("br, uncoded in fact", encoded("br", b'{"status":"UP"}'), healthy, "", up),
        Hostile("unknown encoding", encoded("\x7fno", b"?"), unexpected, "", up),
    ]


def _framing() -> list[Hostile]:
    def length(value: bytes) -> bytes:
        return OK + b"Content-Length: " + value + b"\r\n\r\n12345"

    healthy = Reason.OK
    return [
        _invalid("Content-Length too large", length(b"6")),
        Hostile("Content-Length too small", respond(length(b"4")), healthy),
        _invalid("Content-Length without digits", length(b"five")),
        _invalid("Content-Length with a sign", length(b"+5")),
        _invalid("Content-Length below zero", length(b"-5")),
        _invalid("Content-Length of 400 digits", length(b"9" * 400)),
        _invalid("Content-Length of 5,000 digits", length(b"9" * 5000)),
        _invalid("Content-Length with other digits", length("\u0665".encode())),
        _invalid("two Content-Lengths", OK + b"Content-Length: 5\r\n" + length(b"6")[17:]),
        _invalid("two Content-Lengths in one", length(b"5, 6")),
        Hostile("the same Content-Length twice", respond(length(b"5, 5")), healthy),
        Hostile(
            "Content-Length beside chunks",
            respond(OK + b"Content-Length: 3\r\n" + CHUNKED[17:] + b"1\r\nx\r\n0\r\n\r\n"),
            healthy,
        ),
        _invalid("unknown transfer coding", OK + b"Transfer-Encoding: gzip\r\n\r\nx"),
        _invalid("two transfer codings", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        _invalid("chunk size that is invalid", CHUNKED + b"xyz\r\n"),
        _invalid("chunk size below zero", CHUNKED + b"-1\r\nx\r\n"),
        _invalid("chunk size of 30 digits", CHUNKED + b"f" * 30 + b"\r\n"),
        _invalid("chunk size of 19 digits", CHUNKED + b"f" * 19 + b"\r\nx"),
        _invalid("chunk size in another notation", CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n"),
        _invalid("chunk longer than its size", CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n"),
        _invalid("empty chunk size", CHUNKED + b"\r\n\r\n"),
        Hostile(
            "chunk extensions and a trailer",
            respond(CHUNKED + b'1;a=b;c="d;e"\r\nx\r\n0;f\r\nX-End: y\r\n\r\n'),
            healthy,
        ),
        Hostile("garbage after the last chunk", respond(CHUNKED + b"0\r\n\r\n?"), healthy),
        Hostile(
            "HTTP/1.0 that would keep the connection",
            respond(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + EMPTY, hold),
            healthy,
        ),
        Hostile(
            "HTTP/1.0 with chunks",
            respond(b"HTTP/1.0 200 OK\r\n" + CHUNKED[17:] + b"1\r\nx\r\n0\r\n\r\n"),
            healthy,
        ),
        Hostile(
            "length beside 304",
            respond(b"HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", hold),
            healthy,
            "",
            ("--status=304",),
        ),
        Hostile("second response", respond(HEALTHY + b"HTTP/1.1 500 No\r\n\r\n"), healthy),
        Hostile("lines that end in LF", respond(HEALTHY.replace(b"\r\n", b"\n")), healthy),
        Hostile("HTTP/1.0", respond(b"HTTP/1.0 200 OK\r\n\r\nbody"), healthy),
    ]


def _heads() -> list[Hostile]:
    def status(line: bytes) -> bytes:
        return line + b"\r\n" + EMPTY

    def header(line: bytes) -> bytes:
        return OK + line + b"\r\n" + EMPTY

    unexpected = Reason.UNEXPECTED_STATUS
    return [
        _invalid("HTTP/0.9", b"<html>fine</html>"),
        _invalid("HTTP/2 in a status line", status(b"HTTP/2 200")),
        Hostile(
            "HTTP/2.0 in a status line",
            respond(status(b"HTTP/2.0 200 OK")),
            Reason.INVALID_RESPONSE,
            "expected an HTTP/1 status line, got HTTP/2.0",
        ),
        Hostile(
            "HTTP/9.9 in a status line",
            respond(status(b"HTTP/9.9 200 OK")),
            Reason.INVALID_RESPONSE,
            "expected an HTTP/1 status line, got HTTP/9.9",
        ),
        _invalid("HTTP/1.10", status(b"HTTP/1.10 200 OK")),
        _invalid("status of two digits", status(b"HTTP/1.1 20 OK")),
        _invalid("status of four digits", status(b"HTTP/1.1 2000 OK")),
        _invalid("status below 100", status(b"HTTP/1.1 099 OK")),
        _invalid("status with a sign", status(b"HTTP/1.1 +20 OK")),
        Hostile("status 999", respond(status(b"HTTP/1.1 999 ?")), unexpected, "999"),
        _invalid("status 101", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
        Hostile(
            "status 101 for a client that requests it",
            respond(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", hold),
            Reason.OK,
            "",
            ("--status=101", "--header=Upgrade: x", "--header=Connection: Upgrade"),
        ),
        Hostile(
            "folded header",
            respond(OK + b"X-State: a\r\n b\r\n" + EMPTY),
            Reason.OK,
            "",
            ("--expect-header=X-State: a b",),
        ),
        Hostile("no reason phrase", respond(status(b"HTTP/1.1 200")), Reason.OK),
        _invalid("NUL in the reason phrase", status(b"HTTP/1.1 500 \x00No")),
        Hostile(
            "terminal commands in the reason phrase",
            respond(status(b"HTTP/1.1 500 \x1b[2J\x1b]0;x\x07No")),
            unexpected,
            "500",
        ),
        _invalid("carriage return in the reason phrase", status(b"HTTP/1.1 500 No\r\x1b[2J")),
        Hostile(
            "high bytes in the reason phrase",
            respond(status(b"HTTP/1.1 500 \x9b2J\xff")),
            unexpected,
            "500",
        ),
        _invalid("NUL in a header's name", header(b"X-\x00: y")),
        _invalid("NUL in a header", header(b"X: a\x00b")),
        _invalid("escape in a header's name", header(b"\x1b[2J: y")),
        _invalid("header without a colon", header(b"no colon here")),
        _invalid("header without a name", header(b": value")),
        _invalid("space before the colon", header(b"Name : value")),
        _invalid("space before the first header", OK + b" folded\r\n" + EMPTY),
        Hostile(
            "escape in an expected header",
            respond(header(b"X-State: \x1b[2Jup")),
            Reason.UNEXPECTED_HEADER,
            "",
            ("--expect-header", "X-State: up"),
        ),
    ]


def _bodies() -> list[Hostile]:
    def body(data: bytes) -> Behaviour:
        return respond(OK + b"Content-Length: %d\r\n\r\n" % len(data) + data)

    unexpected = Reason.UNEXPECTED_BODY
    up = ("--expect-json", "status=UP")
    return [
        Hostile("control characters in the body", body(bytes(range(256)) * 9), unexpected, "", up),
        Hostile("terminal commands in JSON", body(b'{"status":"\\u001b[2J"}'), unexpected, "", up),
        Hostile("lone surrogate in JSON", body(b'{"status":"\\ud800"}'), unexpected, "", up),
        *(
            Hostile(f"JSON nested {name}", body(data), unexpected, "more than 128 levels deep", up)
            for name, data in NESTED.items()
        ),
        Hostile(
            "JSON nested as deep as may be",
            body(b'{"status":"UP","x":' + b"[" * 127 + b"]" * 127 + b"}"),
            Reason.OK,
            "",
            up,
        ),
        Hostile(
            "brackets that are no nesting",
            body(
                b'{"status":"UP","x":"' + rb"[{\"[{\\" * 9999 + b'","y":[' + b"[]," * 9999 + b"0]}"
            ),
            Reason.OK,
            "",
            up,
        ),
        Hostile("long JSON number", body(b"1" * BODY_LIMIT), unexpected, "status is missing", up),
        Hostile(
            "JSON beside long numbers",
            body(
                b'{"status":"UP","n":'
                + b"9" * 5000
                + b',"e":[1e999,-1E-999,1e'
                + b"9" * 999
                + b"]}"
            ),
            Reason.OK,
            "",
            (*up, "--expect-json=n=" + "9" * 5000, "--expect-json=e.1=0"),
        ),
        Hostile("JSON with what only Python has", body(b'{"status":NaN}'), unexpected, "", up),
        Hostile(
            "JSON of many small parts", body(b"[" + b"{}," * 80_000 + b"0]"), unexpected, "", up
        ),
        Hostile("JSON that is not UTF-8", body(b'{"status":"\xff"}'), unexpected, "", up),
        Hostile("JSON with a NUL", body(b'{"status":"UP"}\0'), unexpected, "", up),
        Hostile("empty body", body(b""), unexpected, "", up),
        Hostile(
            "text that is not in the body", body(b"\x1b[2J"), unexpected, "", ("--expect-body", "x")
        ),
        Hostile("body beside HEAD", body(b"x" * 9), Reason.OK, "", ("--method", "HEAD")),
        Hostile(
            "body beside 204",
            respond(b"HTTP/1.1 204 No\r\n\r\nx"),
            Reason.OK,
            "",
            ("--status", "204"),
        ),
    ]


def _redirects() -> list[Hostile]:
    def refused(name: str, location: str | bytes, detail: str, *args: str) -> Hostile:
        return Hostile(name, redirect(location), Reason.REDIRECT, detail, (*FOLLOW, *args))

    return [
        Hostile("redirect", redirect("/login"), Reason.REDIRECT, "not followed"),
        refused("redirect to itself", "/", "more than 5 redirects"),
        refused("redirect to nowhere", "", "redirect without Location"),
        refused("redirect to another host", "http://elsewhere.invalid/", "another host"),
        refused("redirect to another name of this host", "//localhost/", "another host"),
        refused(
            "redirect that only looks like this host", "http://127.0.0.1@10.0.0.1/", "another host"
        ),
        refused("redirect to a non-loopback address", "http://10.0.0.1/", "", "--loopback-only"),
        refused("redirect to another protocol", "ftp://127.0.0.1/", ""),
        refused("redirect to a file", "file:///etc/passwd", ""),
        refused("redirect to gRPC", "grpc://127.0.0.1:50051/", "another protocol"),
        refused("redirect to port 0", "http://127.0.0.1:0/", ""),
        refused("redirect to port 99999", "http://127.0.0.1:99999/", "an invalid URL"),
        refused("redirect to broken brackets", "http://[::1/", "an invalid URL"),
        refused("redirect to high bytes", b"/\xff\xfe\x9b2J", ""),
        refused("redirect to 20 KB", "/" + "x" * 20_000, ""),
        refused("redirect with secrets", "http://user:secret@elsewhere.invalid/", "another host"),
        Hostile(
            "redirect without a location",
            respond(b"HTTP/1.1 302 F\r\n" + EMPTY),
            Reason.REDIRECT,
            "HTTP status 302: redirect without Location",
            FOLLOW,
        ),
        Hostile(
            "redirect to two places",
            respond(REDIRECT + b"/a\r\nLocation: /b\r\n\r\n"),
            Reason.REDIRECT,
            "more than one Location",
            FOLLOW,
        ),
        Hostile(
            "redirect from TLS to plain HTTP",
            redirect("http://127.0.0.1/"),
            Reason.REDIRECT,
            "another protocol",
            FOLLOW,
            tls=True,
        ),
    ]


def _other_protocols() -> list[Hostile]:
    noise = random.Random(1).randbytes(2000)
    banners = {
        "SSH": b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
        "SMTP": b"220 mail.example ESMTP Postfix\r\n",
        "FTP": b"220 (vsFTPd 3.0.3)\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/2 settings": bytes.fromhex("00000c0400000000000003000000640004000fffff"),
        "Redis": b"-ERR unknown command\r\n",
        "RTSP": b"RTSP/1.0 200 OK\r\n\r\n",
        "SIP": b"SIP/2.0 200 OK\r\n\r\n",
        "Icecast": b"ICY 200 OK\r\n\r\n",
        "a TLS alert": b"\x15\x03\x03\x00\x02\x02\x46",
        "MySQL": b"\x4a\x00\x00\x00\x0a8.0.36\x00" + bytes(66),
        "terminal commands": b"\x1b]0;owned\x07\x1b[2J\r\n\r\n",
        "random bytes": noise,
    }
    return [
        *(
            Hostile(f"{name} instead of HTTP", blurt(sent), Reason.INVALID_RESPONSE, "response: ")
            for name, sent in banners.items()
        ),
        *(
            Hostile(
                f"{name} instead of TLS", blurt(sent), Reason.TLS_FAILURE, "tls: ", scheme="https"
            )
            for name, sent in banners.items()
            if name in ("SSH", "SMTP", "HTTP/2 settings", "a TLS alert", "random bytes")
        ),
        Hostile(
            "HTTP instead of TLS",
            blurt(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Reason.TLS_FAILURE,
            "does not speak TLS",
            scheme="https",
        ),
    ]


HOSTILE = (
    *_silence(),
    *_dripping(),
    *_resets(),
    *_cut_off(),
    *_endless(),
    *_long_bodies(),
    *_encodings(),
    *_framing(),
    *_heads(),
    *_bodies(),
    *_redirects(),
    *_other_protocols(),
)
