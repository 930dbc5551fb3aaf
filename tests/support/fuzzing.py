"""A mutating fuzzer: broken responses for the probers, broken bytes for the parsers.

Each case is made from the seed and its number alone, so that it can be repeated by itself. A case
fails if it ends with anything except a result (for a parser: its own error), if a probe exceeds its
timeout, or if its output is not printable. The run fails if memory, descriptors or threads leak.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import gzip
import json
import os
import random
import re
import resource
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from httpx import Request

try:
    import ctypes
except ModuleNotFoundError:  # in the interpreter of scripts/fuzz --sanitize
    ctypes = None  # type: ignore[assignment]

from healthchecker import CheckResult, Reason, check
from healthchecker._cli.render import MAX_OUTPUT_BYTES, json_line, text_lines
from healthchecker._net.dns import DnsMessageError, is_name
from healthchecker._net.dns import parse as parse_dns
from healthchecker._net.resolver import parse_resolv_conf
from healthchecker._protocols.grpc.codec import (
    MessageReader,
    decode_check_response,
    decode_list_response,
    encode_check_request,
    encode_message,
)
from healthchecker._protocols.grpc.list import list_services
from healthchecker._protocols.grpc.metadata import make_headers
from healthchecker._protocols.grpc.rpc import CHECK, LIST, WATCH, Call
from healthchecker._protocols.h2_frames import FrameReader
from healthchecker._protocols.http.decoding import ContentError, decode
from healthchecker._protocols.http.http2 import Http2
from healthchecker._protocols.pid import parse_pid
from healthchecker._protocols.registry import parse_target
from healthchecker._protocols.reply import CodecError
from healthchecker._values.expect.json_path import JsonError, expect_json, read_json
from healthchecker._values.expect.regex import Pattern
from healthchecker._values.options import make_options
from healthchecker._values.result import BadArgumentError, ProbeFailure
from healthchecker._values.text import parse_escapes
from tests.servers import dns as dns_server
from tests.servers.peers import Connection, Peer
from tests.servers.tls import from_records, in_records, server_flight
from tests.support import SANITIZED, SLOWNESS, open_files
from tests.support.fuzzing_tls import DER_WORDS, certificates, first_flight, servers
from tests.support.http2_heads import broken_head
from tests.tables.decoders import DECODERS
from tests.tables.hostile_behaviours import OPENINGS

TIMEOUT = 0.5 * SLOWNESS
GRACE = 0.5 * SLOWNESS
"""Seconds; more than that of the program, as the peer is a thread of the same interpreter."""
MAX_GROWTH_KIB = (256 if SANITIZED else 8) * 1024
"""A sanitizer keeps 64 MiB of freed memory, to detect its use."""
HANG = 20.0 * SLOWNESS

_FRAME_HEADER = 9
_WARM_UP = 0.2
_ATTEMPTS = 3
"""Of a probe that took too long: a machine may stall."""
_MAX_FAILURES = 5


# The originals

JSON_BODY = b'{"status":"UP","checks":[{"name":"db","ok":true,"n":3}]}'
OK = b"HTTP/1.1 200 OK\r\n"


def _sized(body: bytes, *headers: bytes) -> bytes:
    fields = (b"Content-Length: %d" % len(body), b"Content-Type: application/json", *headers)
    return OK + b"\r\n".join(fields) + b"\r\n\r\n" + body


JSON_PATHS = (b"a.1.b=null", b"a.0=1", b'"a.b".c=[1]')
PATTERNS = (rb"^(UP|OK)\b", rb"([a-z]+:\s*)*UP$", rb"[^\W\d]{2,5}?\Z", b"(?is)up.*?down")
NESTED = (b"[" * 100 + b"]" * 100, b'{"a":' * 100 + b"1" + b"}" * 100)
JSON_WORDS = (b"[", b"{", b'"', b"\\", b"]", b"}", b"[[[[", b"9" * 999, b"\xff\xfe", b"NaN")
CODED = (gzip.compress(JSON_BODY) * 2, zlib.compress(JSON_BODY), zlib.compress(JSON_BODY)[2:-4])

HTTP = (
    _sized(JSON_BODY, b"X-State: fine"),
    _sized(gzip.compress(JSON_BODY), b"Content-Encoding: gzip"),
    _sized(b"", b"Connection: close"),
    OK
    + b"Transfer-Encoding: chunked\r\n\r\n10\r\n"
    + JSON_BODY[:16]
    + b"\r\n0\r\nX-End: y\r\n\r\n",
    OK + b"\r\n" + JSON_BODY,
    b"HTTP/1.0 200 OK\r\n\r\n" + JSON_BODY,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _sized(b"body"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /login?next=%2F#top\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:8080/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown",
)

HTTP_WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\x1b[2J", b"\xff", b" ", b":", b",", b"\t"),
    *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999\r\n"),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Content-Encoding: gzip\r\n",
    ),
    *(
        b"Content-Encoding: deflate\r\n",
        b"Location: //[::1\r\n",
        b"Location: http://\xe2\x80\xae/\r\n",
    ),
    *(
        b"Location: \r\n",
        b"Location: /a\r\nLocation: /b\r\n",
        b"Location: http://" + b"\xc3\xbc" * 9000 + b"/\r\n",
        b"Set-Cookie: a=b\r\n",
        b"HTTP/1.1 ",
        b"HTTP/9.9 ",
        b"HTTP/1.1 101 X\r\n\r\n",
    ),
    *(
        b"0\r\n",
        b"-1\r\n",
        b"ffffffffffffffff\r\n",
        b"1;a=b\r\n",
        b"{",
        b"[[[[[[[[",
        b"1e999",
        b"\\ud800",
    ),
)


CALL_HEADERS = ((":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a"))


def _grpc_response(
    *messages: bytes, trailers: Sequence[tuple[str, str]] = (("grpc-status", "0"),)
) -> bytes:
    """Return all bytes that an HTTP/2 server sends for a call."""
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, CALL_HEADERS)
    client.send_data(1, encode_message(b""), end_stream=True)
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    sent = server.data_to_send()
    for event in server.receive_data(client.data_to_send()):
        if isinstance(event, RequestReceived):
            headers = [(":status", "200"), ("content-type", "application/grpc")]
            if not messages:
                server.send_headers(1, [*headers, *trailers], end_stream=True)
                continue
            server.send_headers(1, headers)
            for message in messages:
                server.send_data(1, encode_message(message))
            server.send_headers(1, list(trailers), end_stream=True)
    return sent + server.data_to_send()


SERVING = b"\x08\x01"
LISTED = b"\x0a\x06\x0a\x00\x12\x02\x08\x01\x0a\x08\x0a\x02db\x12\x02\x08\x02"

GRPC = (
    _grpc_response(SERVING),
    _grpc_response(b"\x08\x02"),
    _grpc_response(SERVING, SERVING),
    _grpc_response(LISTED),
    _grpc_response(trailers=[("grpc-status", "5"), ("grpc-message", "no%20such%0Aservice")]),
    _grpc_response(trailers=[("grpc-status", "12")]),
    HTTP[0],  # the last one: not HTTP/2
)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


GRPC_WORDS = (
    _frame(0, 1, 1, b""),
    _frame(0, 8, 1, b"\xff\x00"),
    _frame(1, 5, 1, b"\x88"),
    _frame(1, 4, 3, b"\x88\x40\x01a\x01b"),
    _frame(1, 1, 1, b"\x88"),
    _frame(2, 0, 1, bytes(5)),
    _frame(3, 0, 1, bytes(4)),
    _frame(3, 0, 0, b"\0\0\0\x07"),
    _frame(4, 0, 0, b"\0\x03\0\0\0\0\0\x04\xff\xff\xff\xff"),
    _frame(4, 1, 0, b""),
    _frame(4, 0, 0, b"\0"),
    _frame(5, 4, 1, b"\0\0\0\x02\x88"),
    _frame(6, 0, 0, bytes(8)),
    _frame(6, 0, 1, bytes(3)),
    _frame(7, 0, 0, bytes(8) + b"\x1b[2J"),
    _frame(7, 0, 0, b"\0\0\0\x01\0\0\0\x0bslow"),
    _frame(8, 0, 1, b"\x7f\xff\xff\xff"),
    _frame(8, 0, 0, bytes(4)),
    _frame(9, 4, 1, b"\x88"),
    _frame(0xEE, 0xFF, 0x7FFFFFFF, b"?"),
    b"\xff\xff\xff",
    encode_message(SERVING),
    b"\x01\0\0\0\x02\x08\x01",
)

DNS = tuple(
    dns_server.message(
        dns_server.Question(7, "", kind, b"\x01a\x07example\0\0" + bytes([kind, 0, 1]), False),
        ["192.0.2.1", "2001:db8::1"],
        alias=True,
    )
    for kind in (dns_server.A, dns_server.AAAA)
)  # fmt: skip


_MORE_REPLIES = {
    "postgresql": (b"E\0\0\0\x16C57P03\0Mstarting\0\0",),
    "mysql": (b"\x17\0\0\0\xff\x10\x04Too many connections",),
    "redis": (b"+OK\r\n+PONG\r\n", b"-NOAUTH Authentication required.\r\n"),
    "amqp": (b"AMQP\0\0\x09\x01",),
    "nats": (b"-ERR 'Authorization Violation'\r\n",),
}
REPLIES = {
    scheme: (*turns, *([b"".join(turns)] if len(turns) > 1 else []), *_MORE_REPLIES.get(scheme, ()))
    for scheme, turns in ((scheme, OPENINGS[scheme].turns) for _, scheme, _ in DECODERS)
}
"""Replies, by URL scheme: each one, and all of a check in one piece."""
REPLY_WORDS = (b"\0", b"\xff", b"\0\0\0\x08", b"\r\n", b"C57P03\0", b"-LOADING ", b"\xce", b"AMQP")


# Mutations

Mutation = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def _flip(chance: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _replace(chance: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 0x0A, 0x0D, 0x20, 0x7F, 0x80, 0xFF))


def _delete(chance: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    start, end = _slice(chance, data)
    del data[start:end]


def _repeat(chance: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    start, end = _slice(chance, data)
    data[end:end] = data[start:end] * chance.choice((1, 1, 2, 50))


def _move(chance: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    start, end = _slice(chance, data)
    part = data[start:end]
    del data[start:end]
    place = chance.randrange(len(data) + 1)
    data[place:place] = part


def _insert(chance: random.Random, data: bytearray, words: Sequence[bytes]) -> None:
    place = chance.randrange(len(data) + 1)
    data[place:place] = chance.choice(words) * chance.choice((1, 1, 1, 3, 200))


def _blow_up(chance: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    place = chance.randrange(len(data) + 1)
    data[place:place] = chance.randbytes(1) * chance.choice((100, 5000, 70_000, 300_000))


def _cut_off(chance: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _slice(chance: random.Random, data: bytearray) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 2, 4, 9, 30, 200)))


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _flip, _replace, _replace, _delete, _repeat, _move, _insert, _insert, _insert),
    *(_cut_off,),
)


def broken(chance: random.Random, originals: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return one of the originals after a few changes."""
    data = bytearray(chance.choice(originals))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 6))):
        chance.choice(_MUTATIONS)(chance, data, words)
    if chance.random() < 0.02:
        _blow_up(chance, data, words)
    return bytes(data)


def broken_frames(chance: random.Random) -> bytes:
    """Return HTTP/2 frames, some missing, doubled, moved or broken inside."""
    whole = chance.choice(GRPC[:-1])
    frames = []
    while whole:
        end = _FRAME_HEADER + int.from_bytes(whole[:3])
        frames.append(bytearray(whole[:end]))
        whole = whole[end:]
    for _ in range(chance.randint(1, 4)):
        index = chance.randrange(len(frames))
        match chance.randrange(6):
            case 0:
                frames.insert(
                    index, bytearray(chance.choice(GRPC_WORDS)) * chance.choice((1, 2, 1500))
                )
            case 1:
                frames.insert(chance.randrange(len(frames) + 1), frames[index])
            case 2 if len(frames) > 1:
                del frames[index]
            case 3 if len(frames[index]) > _FRAME_HEADER:
                place = chance.randrange(_FRAME_HEADER, len(frames[index]))
                frames[index][place] = chance.randrange(256)
            case 4 if len(frames[index]) >= _FRAME_HEADER:
                frames[index][chance.randrange(3, _FRAME_HEADER)] ^= 1 << chance.randrange(8)
            case _:
                chance.shuffle(frames)
    return b"".join(frames)


def broken_handshake(chance: random.Random) -> bytes:
    """Return what a TLS 1.2 server sends first, broken in a certificate or anywhere."""
    if chance.random() < 0.7:
        return server_flight(broken(chance, certificates(), DER_WORDS))
    return broken(chance, [server_flight(one) for one in certificates()], DER_WORDS)


def broken_response(chance: random.Random, hello: bytes) -> bytes:
    """Return a real server's response to a ClientHello, with one message broken."""
    messages = from_records(first_flight(chance.choice(servers()), hello))
    if not messages:
        return b""
    at = chance.randrange(len(messages))
    kind, body = messages[at]
    messages[at] = (kind, broken(chance, [body], DER_WORDS))
    return in_records(messages)


# The cases


@dataclass
class _Reply:
    """A behaviour that sends the bytes of the current case."""

    response: Callable[[bytes], bytes] = bytes
    """Of the bytes that the client sent first, if it does."""
    client_first: bool = True
    hold: bool = False
    """Whether the connection stays open afterwards."""

    def __call__(self, connection: Connection) -> None:
        heard = connection.sock.recv(65536) if self.client_first else b""
        connection.send(self.response(heard))
        (Connection.hold if self.hold else Connection.half_close)(connection)


class CaseError(Exception):
    """A property that a case does not have."""


_INTERNALS = re.compile(r"\bb'[^']*'|bytearray\(|<memory at |\w+Inputs\.|_SWITCH_| object at 0x")


def _check_message(message: str) -> None:
    """Refuse internals of a library in a message."""
    if _INTERNALS.search(message):
        raise CaseError(f"internals of a library: {message}")


@dataclass
class Run:
    """The shared state of the cases of a run."""

    seed: int
    unix_socket: str
    reply: _Reply
    reasons: Counter[str]
    only_tls: bool = False

    def case(self, number: int) -> None:
        """Run one case; raise an error if a property is missing."""
        chance = random.Random(f"{self.seed}/{number}")
        self.reply.hold = chance.random() < 0.004
        self.reply.client_first = True
        probes = (self._http, self._http2, self._grpc, self._tls, self._one_reply, self._parsers)
        probe = self._tls if self.only_tls else chance.choices(probes, (4, 3, 4, 2, 3, 3))[0]
        probe(chance)

    def _http(self, chance: random.Random) -> None:
        data = broken(chance, HTTP, HTTP_WORDS)
        options = chance.choice(_HTTP_OPTIONS)
        self._probe(
            data,
            lambda: check(
                "http://localhost/health",
                timeout=TIMEOUT,
                unix_socket=self.unix_socket,
                **options,  # type: ignore[arg-type]
            ),
        )

    def _http2(self, chance: random.Random) -> None:
        frames = broken_frames(chance) if chance.random() < 0.3 else broken_head(chance)
        options = chance.choice(_HTTP_OPTIONS)
        self._probe(
            frames,
            lambda: check(
                "http://localhost/",
                http2=True,
                timeout=TIMEOUT,
                unix_socket=self.unix_socket,
                **options,  # type: ignore[arg-type]
            ),
        )
        self._http2_client(frames)

    def _http2_client(self, frames: bytes) -> None:
        """Feed the frames without I/O; a head that is accepted must have a status."""
        client = Http2(Request("GET", "http://localhost/"))
        try:
            for start in range(0, len(frames), 1000):
                client.feed(frames[start : start + 1000])
                head = client.read_head()
                if head is not None:
                    break
            else:
                client.feed(b"")
                raise CaseError("no head and no failure")
        except ProbeFailure as failure:
            _check_message(failure.message)
            self.reasons["HTTP/2 head refused"] += 1
            return
        if not 200 <= head.status <= 999:
            raise CaseError(f"a final response with status {head.status}")
        self.reasons["HTTP/2 head read"] += 1

    def _grpc(self, chance: random.Random) -> None:
        frames = chance.random() < 0.5
        data = broken_frames(chance) if frames else broken(chance, GRPC, GRPC_WORDS)
        if chance.randrange(5):
            target = chance.choice(("grpc://localhost:1", "grpc://localhost:1/db"))
            self._probe(data, lambda: check(target, timeout=TIMEOUT, unix_socket=self.unix_socket))
        else:
            listed = parse_target("grpc://localhost:1", self.unix_socket)
            options = make_options(unix_socket=self.unix_socket)
            self._probe(data, lambda: list_services(listed, options, TIMEOUT).check)

    def _tls(self, chance: random.Random) -> None:
        insecure = chance.random() < 0.5
        is_real = chance.random() < 0.5
        seed = chance.random()

        def respond(hello: bytes) -> bytes:
            return broken_response(random.Random(seed), hello)

        self._probe(
            respond if is_real else broken_handshake(chance),
            lambda: check(
                "https://localhost/",
                insecure=insecure,
                timeout=TIMEOUT,
                unix_socket=self.unix_socket,
            ),
        )

    def _one_reply(self, chance: random.Random) -> None:
        scheme = chance.choice(tuple(REPLIES))
        self.reply.client_first = OPENINGS[scheme].client_first
        data = broken(chance, REPLIES[scheme], REPLY_WORDS)
        self._probe(
            data,
            lambda: check(
                f"{scheme}://user:secret@localhost", timeout=TIMEOUT, unix_socket=self.unix_socket
            ),
        )

    def _probe(
        self, response: bytes | Callable[[bytes], bytes], probe: Callable[[], CheckResult]
    ) -> None:
        self.reply.response = (lambda _: response) if isinstance(response, bytes) else response
        for _ in range(_ATTEMPTS):
            start = time.monotonic()
            result = probe()
            seconds = time.monotonic() - start
            if seconds <= TIMEOUT + GRACE:
                break
        if not isinstance(result, CheckResult):
            raise CaseError(f"not a result: {result!r}")
        if result.reason in (Reason.USAGE_ERROR, Reason.INTERNAL_ERROR):
            raise CaseError(f"not a reason for a peer: {result}")
        if result.healthy != (result.reason is Reason.OK):
            raise CaseError(f"healthy and the reason contradict each other: {result}")
        if seconds > TIMEOUT + GRACE:
            raise CaseError(f"lasted {seconds:.3f} s: {result}")
        _check_message(result.detail)
        for text in (
            json_line(result.healthy, [result]),
            text_lines([result], healthy=result.healthy),
        ):
            line = text.removesuffix("\n")
            if not (line.isascii() and line.isprintable() and len(text) <= MAX_OUTPUT_BYTES):
                raise CaseError(f"not printable: {text!r}")
            if "secret" in text:
                raise CaseError(f"a secret is shown: {text!r}")
        self.reasons[result.reason] += 1

    def _parsers(self, chance: random.Random) -> None:
        name, parse, error, originals, words = chance.choice(_PARSERS)
        data = broken(chance, originals, words)
        try:
            parse(data)
        except error:
            self.reasons[f"{name} refused"] += 1
        else:
            self.reasons[f"{name} read"] += 1


_HTTP_OPTIONS: tuple[dict[str, object], ...] = (
    {},
    {"follow_redirects": True},
    {"follow_redirects": True, "loopback_only": True, "status": "200-399"},
    {"expect_json": {"status": "UP", "checks.0.ok": "true"}},
    {"expect_body": "UP"},
    {"expect_header": {"X-State": "fine"}},
    {"method": "HEAD"},
    {"method": "POST", "status": "2xx"},
    {"status": "100-999", "basic_auth": ("user", "secret")},
)


def _read_frames(data: bytes) -> None:
    reader = FrameReader()
    reader.feed(data)
    for _ in reader:
        pass


def _read_messages(data: bytes) -> None:
    reader = MessageReader(1000)
    for start in range(0, len(data), 7):
        for message in reader.feed(data[start : start + 7]):
            decode_check_response(message)
    reader.finish()


def _feed_call(data: bytes) -> None:
    for method in (CHECK, LIST, WATCH):
        call: Call[Any] = Call(method, CALL_HEADERS, b"")
        for start in range(0, len(data), 4096):
            call.feed(data[start : start + 4096])
        call.feed(b"")
        if not call.is_over or (call.failure is None and len(call.messages) != 1):
            raise CaseError(f"no outcome of {method.name}: {list(call.messages)}")
        if call.failure is not None:
            _check_message(call.failure.message)


def _send_metadata(data: bytes) -> None:
    """Take a value of -H; a correct server must read the metadata that is sent."""
    text = data[:8192].decode("utf-8", "surrogateescape")  # servers have a limit
    name, _, value = text.partition(":")
    options = make_options(headers=[(name, value)])
    headers = make_headers(parse_target("grpc://localhost:1"), options)
    call = Call(CHECK, [(":path", "/"), *headers], b"")
    server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    server.initiate_connection()
    events = server.receive_data(call.bytes_to_send())
    seen = [event.headers for event in events if isinstance(event, RequestReceived)]
    if [(str(key), str(text)) for key, text in seen[0]] != [(":path", "/"), *headers]:
        raise CaseError(f"{headers} arrived as {seen}")


def _read_escapes(data: bytes) -> None:
    parse_escapes(data.decode("latin-1"))


def _read_resolv_conf(data: bytes) -> None:
    for name in parse_resolv_conf(data.decode("latin-1")).candidates("a.example"):
        is_name(name)


def _read_json_path(data: bytes) -> None:
    expect_json("expect_json", data.decode("latin-1")).problem(
        {"a": [1, {"b": None}]}, lambda: None
    )


def _read_json(data: bytes) -> None:
    read_json(data)
    json.loads(data, parse_int=str, parse_float=str)  # Python must agree that it is JSON


def _search(data: bytes) -> None:
    text = data[:4096].decode("utf-8", "surrogateescape")  # from the user, not from a peer
    Pattern(text).found_in("status: UP\n" * 20, bool)


def _read_content(data: bytes) -> None:
    for coding in ("gzip", "deflate"):
        for is_whole in (True, False):
            if len(decode(coding, data, 1000, is_whole=is_whole).data) > 1000:
                raise CaseError("decoded more than the limit")


_PARSERS: tuple[
    tuple[
        str,
        Callable[[bytes], object],
        type[Exception] | tuple[()],  # its error, if any
        Sequence[bytes],
        Sequence[bytes],
    ],
    ...,
] = (
    ("call", _feed_call, (), GRPC, GRPC_WORDS),
    (
        "gRPC metadata",
        _send_metadata,
        BadArgumentError,
        [b"X-Token: a, b", b"Trace-Bin: AP+A", b"Host: [::1]:81", b"user-agent:", b"te: x"],
        [b":", b"-bin", b"%00", b"\xff", b"\xc3\x9f", b"=", b"\r\n", b"grpc-"],
    ),
    ("frames", _read_frames, CodecError, GRPC, GRPC_WORDS),
    ("messages", _read_messages, CodecError, [encode_message(SERVING) * 3], GRPC_WORDS),
    ("check response", decode_check_response, CodecError, [SERVING, LISTED], [b"\x80", b"\xff"]),
    ("list response", decode_list_response, CodecError, [LISTED * 3], [b"\x80", SERVING, LISTED]),
    ("check request", decode_check_response, CodecError, [encode_check_request("db")], [b"\x0a"]),
    ("DNS message", parse_dns, DnsMessageError, DNS, [b"\xc0\x0c", b"\xff", b"\0\0"]),
    (
        "resolv.conf",
        _read_resolv_conf,
        (),
        [b"nameserver ::1\nsearch a b.\noptions ndots:3 timeout:1\n"],
        [b"\n", b":", b"9" * 9, b"\0"],
    ),
    ("JSON path", _read_json_path, BadArgumentError, JSON_PATHS, [b".", b"=", b"[", b"-", b'"']),
    ("JSON", _read_json, JsonError, [JSON_BODY, b"[[1.5e3, -0], null]", *NESTED], JSON_WORDS),
    *((name, parse, CodecError, REPLIES[scheme], REPLY_WORDS) for name, scheme, parse in DECODERS),
    ("process id", parse_pid, ProbeFailure, [b"123\n", b"4194304"], [b"0", b" ", b"-", b"9" * 9]),
    ("pattern", _search, ValueError, PATTERNS, [b"(", b")*", b"{9}", b"[^", b"\\", b"|", b"(?i)"]),
    ("escapes", _read_escapes, ValueError, [rb"PING\r\n\x00\\"], [b"\\", rb"\x", b"\xff"]),
    ("content", _read_content, ContentError, CODED, [b"\x1f\x8b\x08", b"\x78\x9c", b"\0\0"]),
)


# The run


def fuzz(
    cases: int,
    seed: int,
    report: Callable[[str], object],
    only: int | None = None,
    *,
    only_tls: bool = False,
) -> bool:
    """Run the cases; report failures and a summary, and return whether all passed."""
    failures = 0
    reasons: Counter[str] = Counter()
    files, threads = open_files(), threading.active_count()
    warm_kib = 0
    start = shown = time.monotonic()
    numbers = range(cases) if only is None else (only,)
    name = f"@healthchecker-fuzz-{os.getpid()}"
    reply = _Reply()
    with Peer(reply, unix_socket=name) as peer:
        run = Run(seed, name, reply, reasons, only_tls)
        for number in numbers:
            faulthandler.dump_traceback_later(HANG, exit=True)
            try:
                run.case(number)
            except Exception as error:  # noqa: BLE001 - any error is a failure
                failures += 1
                report(f"case {number}: {type(error).__name__}: {error}")
                tls = " --tls" if only_tls else ""
                report(f"  to repeat it: scripts/fuzz --seed {seed} --only {number}{tls}")
                if failures == _MAX_FAILURES:
                    break
            if time.monotonic() > shown + 1:
                shown = time.monotonic()
                report(f"case {number} of {cases}, {failures} failures")
            peer.connected_at.clear()  # this memory is not that of the program
            if number == int(cases * _WARM_UP):
                warm_kib = _resident_kib()
    faulthandler.cancel_dump_traceback_later()
    growth = _resident_kib() - warm_kib if warm_kib else 0
    left = len(open_files() - files)
    for wrong, problem in (
        (growth > MAX_GROWTH_KIB, f"memory grew by {growth} KiB"),
        (left > 0, f"{left} files are left open"),
        (threading.active_count() > threads, "threads are left running"),
    ):
        if wrong:
            failures += 1
            report(problem)
    report(
        f"seed {seed}: {sum(reasons.values())} cases in {time.monotonic() - start:.1f} s, "
        f"{failures} failures, memory growth {growth} KiB, peak {_peak_kib()} KiB"
    )
    report(", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))
    return failures == 0


def _resident_kib() -> int:
    """Return the memory of this process, without freed memory that the C library keeps.

    While 16 MiB are in use, glibc keeps 10 to 19 MiB more: it depends on the seed.
    """
    gc.collect()
    if ctypes is not None and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--cases", type=int, default=30_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, help="repeat a run (default: a new seed)")
    parser.add_argument("--only", type=int, metavar="N", help="repeat this case of the seed")
    parser.add_argument("--tls", action="store_true", help="only broken TLS handshakes")
    arguments = parser.parse_args()
    seed = arguments.seed
    if seed is None:
        seed = int.from_bytes(os.urandom(4))
    sys.stdout.write(f"seed {seed}\n")

    def report(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    passed = fuzz(arguments.cases, seed, report, arguments.only, only_tls=arguments.tls)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(_main())
