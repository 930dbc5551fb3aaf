"""The behaviours of hostile peers, for every protocol, and the reasons that a check may report.

`OPENINGS` needs the shortest healthy replies of each new scheme.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from healthchecker import Reason
from healthchecker._protocols.registry import SCHEMES
from tests.servers import grpc
from tests.servers.peers import (
    Behaviour,
    Connection,
    blurt,
    close,
    drip,
    flood,
    half_close,
    hold,
    reset,
)

SHORT = 0.2
"""Seconds of `--timeout` if the timeout may end the check."""
LONG = 2.0
"""The same if the check must detect the fault itself."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The shortest replies of a healthy server."""

    turns: tuple[bytes, ...]
    """The replies, with a message of the client before each next one."""
    client_first: bool = True
    """Whether the client sends before the first of them."""
    is_enough: bool = True
    """Whether a check is healthy with it; not if the server has to prove something."""

    @property
    def last(self) -> bytes:
        return self.turns[-1]

    def begin(self, behaviour: Behaviour) -> Behaviour:
        """Send all turns but the last, and do something else instead of that."""

        def behave(connection: Connection) -> None:
            if self.client_first:
                connection.hear()
            for turn in self.turns[:-1]:
                connection.send(turn)
                connection.hear()
            behaviour(connection)

        return behave


HTTP = Opening((b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234567890",))
GRPC = Opening((grpc.HEALTHY,))
POSTGRESQL = Opening((b"R\0\0\0\x08\0\0\0\0",))
_MYSQL_GREETING = b"\x0a5.7.44\0" + bytes(13) + b"\x00\x82\x2d\x02" + bytes(27)
MYSQL = Opening(
    (b"\x34\0\0\0" + _MYSQL_GREETING, b"\x07\0\0\x02" + b"\0\0\0\x02\0\0\0"),
    client_first=False,
)
REDIS = Opening((b"+PONG\r\n",))
AMQP = Opening((b"\x01\0\0\0\0\0\x12\0\x0a\0\x0a\0\x09" + bytes(12) + b"\xce",))
NATS = Opening((b'INFO {"version":"2.9.10"}\r\n', b"PONG\r\n"), client_first=False)
MQTT = Opening((b"\x20\x02\0\0",))
KAFKA = Opening((b"\0\0\0\x10hckr\0\0\0\0\0\x01\0\x12\0\0\0\x03",))
CASSANDRA = Opening((b"\x84\0\0\x01\x06\0\0\0\x02\0\0",))
MSSQL = Opening((b"\x04\x01\0\x13\0\0\x01\0" + b"\0\0\x06\0\x04\xff" + b"\x10\0\x03\xe8\0",))
_HELLO = b"\x01ok\0" + bytes(6) + b"\xf0\x3f" + b"\x08isWritablePrimary\0\x01" + b"\0"
MONGODB = Opening(
    (
        (25 + len(_HELLO)).to_bytes(4, "little") + b"\x07\0\0\0\x01\0\0\0\xdd\x07\0\0" + bytes(5)
        + (4 + len(_HELLO)).to_bytes(4, "little") + _HELLO,
    )
)  # fmt: skip
MEMCACHED = Opening((b"VERSION 1.6.18\r\n",))
ZOOKEEPER = Opening((b"Zookeeper version: 3.8.0\nMode: standalone\n",))
SMTP = Opening((b"220 mail.example ESMTP\r\n",), client_first=False)
IMAP = Opening((b"* OK [CAPABILITY IMAP4rev1] ready\r\n",), client_first=False)
POP3 = Opening((b"+OK ready\r\n",), client_first=False)
SSH = Opening((b"SSH-2.0-OpenSSH_9.2p1\r\n",), client_first=False)
FTP = Opening((b"220 (vsFTPd 3.0.3)\r\n",), client_first=False)
LDAP = Opening((b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0",))
_PAGE = b"Content-Type: text/plain\r\n\r\npong"
FASTCGI = Opening((b"\1\6\0\1\0\x20\1\0" + _PAGE + b"\0" + b"\1\3\0\1\0\x08\0\0" + bytes(8),))
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
WEBSOCKET = Opening(
    (_SWITCH + b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",), is_enough=False
)
NOTHING = Opening((b"",), client_first=False)
"""For targets that are healthy once they keep a connection."""

OPENINGS = {
    "http": HTTP,
    "https": HTTP,
    "tcp": NOTHING,
    "grpc": GRPC,
    "grpcs": GRPC,
    "postgresql": POSTGRESQL,
    "mysql": MYSQL,
    "redis": REDIS,
    "rediss": REDIS,
    "amqp": AMQP,
    "amqps": AMQP,
    "memcached": MEMCACHED,
    "memcacheds": MEMCACHED,
    "zookeeper": ZOOKEEPER,
    "zookeepers": ZOOKEEPER,
    "smtp": SMTP,
    "smtps": SMTP,
    "imap": IMAP,
    "imaps": IMAP,
    "pop3": POP3,
    "pop3s": POP3,
    "ssh": SSH,
    "ftp": FTP,
    "nats": NATS,
    "mqtt": MQTT,
    "mqtts": MQTT,
    "kafka": KAFKA,
    "kafkas": KAFKA,
    "cassandra": CASSANDRA,
    "cassandras": CASSANDRA,
    "mssql": MSSQL,
    "mongodb": MONGODB,
    "mongodbs": MONGODB,
    "ldap": LDAP,
    "ldaps": LDAP,
    "fastcgi": FASTCGI,
    "ws": WEBSOCKET,
    "wss": WEBSOCKET,
    "tls": NOTHING,
}
"""By URL scheme, for all that connect to a host; one of two names for the same is enough."""

DATAGRAMS = ("dns", "udp")
"""Schemes without connections, so without an opening."""

_REPLIES = {
    name: OPENINGS[name].turns[0] for name in ("http", "mysql", "redis", "amqp", "smtp", "mqtt")
}
_WITH_TLS_OF_THEIR_OWN = ("https", "grpcs", "rediss")
"""Other schemes with TLS share it with one of these, and are tried in a few ways only."""
_FEW = (
    "silence",
    "close directly",
    "half, then close",
    "all, then silence",
    "all, then half close",
)
_SERVER_HELLO = Opening((b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(64),))
"""The first message of a TLS server; too little for a handshake."""

_NOISE = random.Random(1).randbytes(2000)
OTHERS = {
    "SSH": SSH.last,
    "a TLS alert": b"\x15\x03\x03\x00\x02\x02\x46",
    "a terminal's commands": b"\x1b]0;owned\x07\x1b[2J\r\n\r\n",
    "zeros": bytes(2000),
    "ones": b"\xff" * 2000,
    "empty lines": b"\r\n" * 1000,
}


@dataclass(frozen=True, slots=True)
class HostileBehaviour:
    """A behaviour, and the reasons that a check of a scheme may report."""

    target_scheme: str
    name: str
    behaviour: Behaviour
    reasons: frozenset[Reason]
    tls: bool
    """Whether the peer really does TLS first."""
    args: tuple[str, ...] = ()

    @property
    def timeout(self) -> float:
        return SHORT if Reason.TIMEOUT in self.reasons else LONG

    def allows(self, reason: Reason, _detail: str) -> bool:
        return reason in self.reasons

    def __str__(self) -> str:
        return f"{self.target_scheme} {self.name}"


_Row = tuple[str, Behaviour, set[Reason]]
_LATE = {Reason.TIMEOUT}
_LOST = {Reason.CONNECTION_RESET}
_WRONG = {Reason.INVALID_RESPONSE}
_FINE = {Reason.OK}
_ALIKE = {Reason.OK, Reason.UNEXPECTED_STATUS}
_WRONG_IF_FINE = {Reason.OK: Reason.INVALID_RESPONSE}


def _instead(opening: Opening) -> Iterator[_Row]:
    """Yield rows for any protocol, TLS included, that end before `opening` is complete."""
    reply, begin = opening.last, opening.begin
    half = reply[: len(reply) // 2]
    yield "silence", hold, _LATE
    # Two bytes arrive within the limit: a limit on each read would not bound the whole.
    yield "drip", begin(drip(reply or b"\0", SHORT * 0.4)), _LATE
    yield "reset directly", reset, _LOST
    yield "reset instead of a reply", begin(reset), _LOST
    yield "close directly", close, _WRONG
    yield "close instead of a reply", begin(close), _WRONG
    yield "half, then silence", begin(blurt(half, hold)), _LATE
    yield "half, then close", begin(blurt(half, close)), _WRONG
    yield "half, then reset", begin(blurt(half, reset)), _LOST
    yield "garbage, then silence", begin(blurt(_NOISE, hold)), _WRONG | _LATE
    yield "garbage, then close", begin(blurt(_NOISE, close)), _WRONG
    yield "garbage without end", begin(flood(_NOISE * 30)), _WRONG | _LATE


def _with_reply(opening: Opening) -> Iterator[_Row]:
    """Yield further rows for a protocol that waits for a reply."""
    reply, begin = opening.last, opening.begin
    half = reply[: len(reply) // 2]
    yield "a byte, then close", begin(blurt(reply[:1], close)), _WRONG
    yield "all but a byte, then close", begin(blurt(reply[:-1], close)), _WRONG
    yield "half, then half close", begin(blurt(half, half_close)), _WRONG
    # If a length precedes, any bytes that fill it are a reply.
    flooding = begin(blurt(half, flood(b"\xff" * 65536)))
    yield "half, then flood", flooding, _WRONG | _LATE | _FINE
    for name, other in (OTHERS | _REPLIES).items():
        if other not in opening.turns:
            # The greetings of some protocols are alike.
            alike = _ALIKE if other[:4] == reply[:4] else set()
            yield f"{name} instead", begin(blurt(other, close)), _WRONG | alike
    yield "all, then silence", begin(blurt(reply, hold)), _FINE
    yield "all, then close", begin(blurt(reply, close)), _FINE
    yield "all, then half close", begin(blurt(reply, half_close)), _FINE
    yield "all, then reset", begin(blurt(reply, reset)), _FINE | _LOST
    yield "all, then flood", begin(blurt(reply, flood(b"\xff" * 65536))), _FINE | _WRONG


def _of_connections(scheme: str) -> Iterator[HostileBehaviour]:
    """Yield the rows of a scheme whose targets need not send anything."""
    tls = SCHEMES[scheme].tls
    for name, behaviour, reasons in _instead(NOTHING):
        # On a busy machine, the end may come after the check has looked for it.
        closes = reasons == _WRONG and "garbage" not in name
        found = frozenset(_FINE | (_LOST if closes else reasons & _LOST))
        if tls and found & _LOST:
            found |= {Reason.TLS_FAILURE}
        yield HostileBehaviour(scheme, name, behaviour, found, tls)


def _of_scheme(scheme: str, opening: Opening) -> Iterator[HostileBehaviour]:
    tls = SCHEMES[scheme].tls
    if opening is NOTHING:
        yield from _of_connections(scheme)
        return
    is_short = tls and scheme not in _WITH_TLS_OF_THEIR_OWN
    for name, behaviour, known in (*_instead(opening), *_with_reply(opening)):
        reasons = known if opening.is_enough else {_WRONG_IF_FINE.get(one, one) for one in known}
        if is_short and name not in _FEW:
            continue
        # Without the end of TLS, the reply is cut off; and by a reset some servers with TLS 1.3
        # refuse a client that has no certificate.
        cut = tls and ("half close" in name or reasons & _LOST)
        found = frozenset(reasons | {Reason.TLS_FAILURE} if cut else reasons)
        yield HostileBehaviour(scheme, name, behaviour, found, tls)
    if is_short:
        return
    for turn in range(1, len(opening.turns)):
        sooner = replace(opening, turns=opening.turns[:turn])
        for name, behaviour, reasons in _instead(sooner):
            found = frozenset(reasons)
            yield HostileBehaviour(scheme, f"{name} in turn {turn}", behaviour, found, tls)
    if tls:
        for name, behaviour, reasons in _instead(_SERVER_HELLO):
            found = frozenset(map(_in_tls, reasons))
            yield HostileBehaviour(scheme, f"{name} in TLS", behaviour, found, tls=False)


def _in_tls(reason: Reason) -> Reason:
    return Reason.TLS_FAILURE if reason is Reason.INVALID_RESPONSE else reason


HOSTILE_BEHAVIOURS = tuple(
    row for scheme, opening in OPENINGS.items() for row in _of_scheme(scheme, opening)
)
