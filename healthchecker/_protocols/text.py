"""Protocols whose replies are lines of text, as rows of what to send and what to expect."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import (
    CodecError,
    read_reply,
    refused_tls,
    require_end,
    shown_text,
)
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_CODE = 3  # digits


class Shape(Enum):
    """Which line of a reply decides."""

    LINE = "the first one"
    CODE = "the first one, or the last of several: `220-` precedes it, and `220 ` begins it"
    TEXT = "the first one with a known beginning"


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One text protocol."""

    name: str
    """For messages."""
    schemes: dict[str, Scheme]
    healthy: tuple[bytes, ...]
    """How the line begins that decides for healthy."""
    not_serving: tuple[bytes, ...] = ()
    """How it begins if the server is alive, but refuses its service."""
    request: bytes = b""
    """Empty if the server sends first."""
    goodbye: bytes = b""
    starttls: tuple[tuple[bytes, bytes], ...] = ()
    """What to send to switch to TLS, and how the line begins that agrees."""
    shape: Shape = Shape.LINE


def _schemes(name: str, port: int, tls_port: int | None = None, *options: str) -> dict[str, Scheme]:
    """Return the schemes of a protocol, with and without TLS if it has a port for TLS.

    `options` are those of the scheme without TLS.
    """
    if tls_port is None:
        return {name: Scheme(f"{name}://HOST", port, has_path=False)}
    form = f"{name}[s]://HOST"
    return {
        name: Scheme(form, port, has_path=False, options=frozenset(options)),
        f"{name}s": Scheme(form, tls_port, tls=True, has_path=False),
    }


DIALOGUES = (
    Dialogue(  # RFC 5321, sections 3.1, 4.1.1.10 and 4.2
        "SMTP",
        _schemes("smtp", 25, 465, "starttls"),
        healthy=(b"220 ",),
        not_serving=(b"421 ", b"554 "),
        goodbye=b"QUIT\r\n",
        starttls=((b"EHLO [127.0.0.1]\r\n", b"250 "), (b"STARTTLS\r\n", b"220 ")),  # RFC 3207
        shape=Shape.CODE,
    ),
    Dialogue(  # RFC 9051, sections 6.1.3, 6.2.1 and 7.1
        "IMAP",
        _schemes("imap", 143, 993, "starttls"),
        healthy=(b"* OK", b"* PREAUTH"),
        not_serving=(b"* BYE",),
        goodbye=b"a LOGOUT\r\n",
        starttls=((b"a STARTTLS\r\n", b"a OK"),),
    ),
    Dialogue(  # RFC 1939, sections 3, 4 and 6
        "POP3",
        _schemes("pop3", 110, 995, "starttls"),
        healthy=(b"+OK",),
        not_serving=(b"-ERR",),
        goodbye=b"QUIT\r\n",
        starttls=((b"STLS\r\n", b"+OK"),),  # RFC 2595, section 4
    ),
    Dialogue(  # RFC 4253, section 4.2; the refusals are OpenSSH's
        "SSH",
        _schemes("ssh", 22),
        request=b"SSH-2.0-healthchecker\r\n",  # without it, OpenSSH logs an error
        healthy=(b"SSH-2.0-", b"SSH-1.99-"),
        not_serving=(b"Exceeded MaxStartups", b"Not allowed at this time"),
        shape=Shape.TEXT,
    ),
    Dialogue(  # RFC 959, sections 4.1.1 and 5.4
        "FTP",
        _schemes("ftp", 21),
        healthy=(b"220 ",),
        not_serving=(b"120 ", b"421 ", b"530 "),
        goodbye=b"QUIT\r\n",
        shape=Shape.CODE,
    ),
    Dialogue(  # ZooKeeper Administrator's Guide, "The Four Letter Words"
        "ZooKeeper",
        _schemes("zookeeper", 2181, 2181),
        request=b"srvr",
        healthy=(b"Mode: ", b"srvr is not executed because it is not in the whitelist."),
        not_serving=(b"This ZooKeeper instance is not currently serving requests",),
        shape=Shape.TEXT,
    ),
    Dialogue(  # protocol.txt of memcached
        "memcached",
        _schemes("memcached", 11211, 11211),
        request=b"version\r\n",
        healthy=(b"VERSION ", b"CLIENT_ERROR unauthenticated"),
        not_serving=(b"ERROR Too many open connections",),
        goodbye=b"quit\r\n",
    ),
)


class TextProber(StreamProber):
    """Sends the request, if there is one, and judges one line of the reply."""

    SCHEMES: ClassVar = {
        name: scheme for dialogue in DIALOGUES for name, scheme in dialogue.schemes.items()
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._greeting = Healthy(None, "")
        self._dialogue = next(one for one in DIALOGUES if target.scheme in one.schemes)

    def _start_tls(self, stream: Stream) -> None:
        self._greeting = self._greet(stream)
        for request, agreement in self._dialogue.starttls:
            stream.write(request)
            line = read_reply(stream, partial(decode_last_line, self._dialogue))
            if not line.startswith(agreement):
                raise refused_tls(shown_text(line))

    def _exchange(self, stream: Stream) -> Healthy:
        greeting = self._greeting if self._options.starttls else self._greet(stream)
        self._goodbye = self._dialogue.goodbye
        return greeting

    def _greet(self, stream: Stream) -> Healthy:
        dialogue = self._dialogue
        stream.write(dialogue.request)
        line = read_reply(stream, partial(decode_line, dialogue))
        if line == dialogue.request.rstrip():
            raise ProbeFailure(Reason.INVALID_RESPONSE, "the peer repeats what it gets")
        if line.startswith(dialogue.not_serving):
            code = line[:_CODE].decode("ascii") if dialogue.shape is Shape.CODE else None
            raise UnexpectedResponse(Reason.NOT_SERVING, shown_text(line), code)
        return Healthy(None, shown_text(line))


def decode_line(dialogue: Dialogue, data: bytes) -> bytes | None:
    """Return the line that decides, without its end; None if it is incomplete."""
    known = (*dialogue.healthy, *dialogue.not_serving)
    *lines, last = data.split(b"\n")
    first = lines[0] if lines else last
    if dialogue.shape is Shape.CODE and first[_CODE : _CODE + 1] == b"-":
        first = first[:_CODE] + b" "
    may_begin = first.startswith(known) or any(start.startswith(first) for start in known)
    if dialogue.shape is not Shape.TEXT and not may_begin:
        raise CodecError(f"not a valid {dialogue.name} reply")
    return next((line.removesuffix(b"\r") for line in lines if line.startswith(known)), None)


def decode_last_line(dialogue: Dialogue, data: bytes) -> bytes | None:
    """Return the last line of the reply to a command, which nothing follows; None if incomplete."""
    *lines, _ = data.split(b"\n")
    size = 0
    for line in lines:
        size += len(line) + 1
        continues = line[_CODE : _CODE + 1] == b"-"
        if dialogue.shape is Shape.CODE and continues:
            continue
        if line.startswith(b"* "):  # an untagged response of IMAP
            continue
        require_end(data, size)
        return line.removesuffix(b"\r")
    return None
