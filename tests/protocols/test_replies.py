"""tcp:// and unix: targets, with and without --send and --expect-reply: real servers and peers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from healthchecker import BadArgumentError, Reason, check
from healthchecker._values.text import parse_escapes
from tests.servers.daemons import free_port, program, running_daemon
from tests.servers.peers import Behaviour, Connection, Peer, blurt, close, drip, flood, hold, reset
from tests.servers.redis import running_redis
from tests.support import poll, require
from tests.support.forms import Form, run

_AIOSMTPD = "/usr/bin/aiosmtpd"


def listens(path: Path) -> bool:
    """Return whether a Unix socket has a listener; it exists before."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def reply_of(form: Form, target: str, *args: str) -> tuple[str, str]:
    """Return the reason and the detail of the program."""
    found = run(form, [target, "--output=json", *args]).check
    return found["reason"], found["detail"]


# Real servers


def test_memcached(form: Form) -> None:
    port = free_port()
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port)]
    with running_daemon("nobody", *command, port=port):
        url = f"tcp://127.0.0.1:{port}"
        version = (r"--send=version\r\n", "--expect-reply=VERSION ")
        assert reply_of(form, url, *version)[0] == "ok"
        reason, detail = reply_of(
            form, url, r"--send=what\r\n", "--expect-reply=VERSION ", "--timeout=4s"
        )
        assert reason == "unexpected_reply"
        assert detail == r"no 'VERSION ' in the reply 'ERROR\r\n'; timed out after 4000 ms"


def test_memcached_on_a_unix_socket(form: Form) -> None:
    with running_daemon("nobody", program("memcached"), "-s", "{directory}/socket") as server:
        path = server.directory / "socket"
        poll(lambda: listens(path), timeout=10, what="memcached listens")
        url = f"unix://{path}"
        assert reply_of(form, url, r"--send=version\r\n", "--expect-reply=VERSION ")[0] == "ok"


def test_redis(form: Form) -> None:
    ping = (r"--send=PING\r\n", r"--expect-reply=+PONG\r\n")
    with running_redis() as server:
        assert reply_of(form, f"tcp://127.0.0.1:{server.port}", *ping)[0] == "ok"
        assert reply_of(form, f"unix://{server.socket}", *ping)[0] == "ok"
        server.execute("CONFIG", "SET", "requirepass", "s3cret")
        reason, detail = reply_of(form, f"unix://{server.socket}", *ping, "--timeout=3s")
        assert reason == "unexpected_reply"
        assert "NOAUTH" in detail


def test_smtp(form: Form) -> None:
    require(Path(_AIOSMTPD).exists(), "aiosmtpd is not installed")
    port = free_port()
    with running_daemon("nobody", _AIOSMTPD, "-n", "-l", f"127.0.0.1:{port}", port=port):
        url = f"tcp://127.0.0.1:{port}"
        assert reply_of(form, url, "--expect-reply=220 ")[0] == "ok"
        assert reply_of(form, url, r"--send=EHLO me\r\n", "--expect-reply=250 HELP")[0] == "ok"


def test_netcat(form: Form) -> None:
    port = free_port()
    with running_daemon("nobody", program("nc"), "-lk", "127.0.0.1", str(port), port=port):
        url = f"tcp://127.0.0.1:{port}"
        assert reply_of(form, url)[0] == "ok"
        assert reply_of(form, url, "--send=x", "--timeout=200ms")[0] == "timeout"


# Unix sockets


def test_connecting_is_enough(form: Form, open_directory: Path) -> None:
    path = open_directory / "a socket ü"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert reply_of(form, f"unix://{path}") == ("ok", "connected")
        assert reply_of(form, f"unix:{path}") == ("ok", "connected")
    assert reply_of(form, f"unix://{path}")[0] == "connection_refused"
    path.unlink()
    assert reply_of(form, f"unix://{path}")[0] == "connection_failed"
    path.touch()
    assert reply_of(form, f"unix://{path}")[0] == "connection_refused"


def test_abstract_name(form: Form, open_directory: Path) -> None:
    name = f"@healthchecker/{open_directory.name}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name[1:])
        listener.listen()
        assert reply_of(form, f"unix:{name}") == ("ok", "connected")
    result = run(form, [f"unix:{name}"])
    assert result.stderr.startswith(f"unhealthy: unix:{name}: connection_refused: ")


@pytest.mark.parametrize(
    "target",
    [
        "unix://host/path",
        "unix:path",
        "unix:@",
        "unix://@name",
        "unix:///" + "x" * 107,
        "unix:@" + "ü" * 54,
        "unix:///path?query",
        "unix:///path#fragment",
        "unix:///a%00b",
    ],
)
def test_unusable_targets(target: str) -> None:
    with pytest.raises(BadArgumentError, match="target"):
        check(target)


@pytest.mark.parametrize("target", ["unix:///path", "file:///path", "tcp://127.0.0.1:1"])
def test_not_over_another_unix_socket(target: str) -> None:
    with pytest.raises(BadArgumentError):
        check(target, unix_socket="/path")


# What a peer may do


@pytest.mark.parametrize("behaviour", [close, reset])
def test_closed_immediately(form: Form, behaviour: Behaviour) -> None:
    with Peer(behaviour) as peer:
        url = f"tcp://{peer.address}"
        # On a busy machine the peer may be late.
        detail = poll(
            lambda: (found := reply_of(form, url))[0] == "connection_reset" and found[1],
            timeout=10,
            what="closed while the check looks",
        )
    if behaviour is close:
        assert detail == "response: the peer closed the connection immediately"


def test_closed_immediately_on_a_unix_socket(open_directory: Path) -> None:
    path = str(open_directory / "socket")
    with Peer(close, unix_socket=path):
        poll(
            lambda: check(f"unix://{path}").reason is Reason.CONNECTION_RESET,
            timeout=10,
            what="closed while the check looks",
        )


def test_closed_after_a_greeting() -> None:
    with Peer(blurt(b"12:00\r\n", close)) as peer:
        assert check_peer(peer) == (Reason.OK, "connected")


@pytest.mark.timing
def test_look_at_a_silent_peer_is_short() -> None:
    with Peer(hold) as peer:
        assert min(check(f"tcp://{peer.address}").elapsed for _ in range(5)) < 0.1
        assert check(f"tcp://{peer.address}", timeout=0.02)


def check_peer(peer: Peer, timeout: float = 2, **options: str | bytes) -> tuple[Reason, str]:
    result = check(f"tcp://{peer.address}", timeout=timeout, **options)  # type: ignore[arg-type]
    return result.reason, result.detail


def test_any_reply_is_one() -> None:
    with Peer(blurt(b"\0\x1b[2J", hold)) as peer:
        assert check_peer(peer, send="x") == (Reason.OK, r"reply '\x00\x1b[2J'")


def test_bytes_are_shown_as_escapes() -> None:
    with Peer(blurt(b"\x81\x82\xc3\xbc\\\r\n", close)) as peer:
        assert check_peer(peer, send="x", expect_reply=b"\xff\0") == (
            Reason.UNEXPECTED_REPLY,
            r"no '\xff\x00' in the reply '\x81\x82\xc3\xbc\\\r\n'",
        )


@pytest.mark.parametrize(
    ("sent", "reply", "shown"),
    [
        (b"AUTH s3cret\r\n", b"AUTH s3cret\r\n", r"... ...\r\n"),
        (b"AUTH s3cret\r\n", b"-ERR unknown: <s3cret>\r\n", r"-ERR unknown: <...>\r\n"),
        (b"AUTH s3cret\r\n", b"-ERR unknown: s3cre", "-ERR unknown: ..."),
        (b"AUTH s3cret\r\n", b"x" * 195 + b"s3cret", "x" * 195 + "..."),
        (b"PING\r\n", b"+PONG\r\n", r"+PONG\r\n"),
        (bytes(8), bytes(8) + b"abc", r"\x00" * 8 + "abc"),
    ],
)
def test_sent_text_is_left_out(sent: bytes, reply: bytes, shown: str) -> None:
    with Peer(blurt(reply, hold)) as peer:
        found = check(f"tcp://{peer.address}", send=sent)
    assert found.detail[len("reply '") : -1] == shown


def test_reply_in_pieces() -> None:
    def behave(connection: Connection) -> None:
        for piece in (b"+PO", b"N", b"G"):
            connection.send(piece)
        connection.hold()

    with Peer(behave) as peer:
        assert check_peer(peer, expect_reply="PONG")[0] is Reason.OK


def test_bytes_are_sent_as_they_are() -> None:
    heard: list[bytes] = []

    def behave(connection: Connection) -> None:
        heard.append(connection.sock.recv(64))
        connection.send(b"\xff\xfe")
        connection.hold()

    with Peer(behave) as peer:
        assert check_peer(peer, send=b"\x00\xff", expect_reply=b"\xfe")[0] is Reason.OK
    assert heard == [b"\x00\xff"]


HOSTILE = {
    "silence": (hold, Reason.TIMEOUT),
    "reset": (reset, Reason.CONNECTION_RESET),
    "close": (close, Reason.UNEXPECTED_REPLY),
    "another reply, then close": (blurt(b"ERROR", close), Reason.UNEXPECTED_REPLY),
    "another reply, then silence": (blurt(b"ERROR", hold), Reason.UNEXPECTED_REPLY),
    "another reply, then reset": (blurt(b"ERROR", reset), Reason.CONNECTION_RESET),
    "drip": (drip(b"x"), Reason.UNEXPECTED_REPLY),
    "flood": (flood(b"x" * 5000), Reason.UNEXPECTED_REPLY),
    "terminal's commands": (blurt(b"\x1b]0;x\x07\x1b[2J" * 99, close), Reason.UNEXPECTED_REPLY),
}


ENDLESS = ("silence", "another reply, then silence", "drip")
"""What is ended by the limit, so that time is what is measured."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[pytest.mark.timing] * (one in ENDLESS)) for one in HOSTILE],
)
def test_hostile_peer(form: Form, name: str) -> None:
    behaviour, reason = HOSTILE[name]
    limit_ms = 300 if name in ENDLESS else 10_000
    with Peer(behaviour) as peer:
        arguments = [f"tcp://{peer.address}", r"--expect-reply=PONG\r", f"--timeout={limit_ms}ms"]
        outcome = run(form, [*arguments, "--output=json"])
        text = run(form, arguments)
    assert outcome.check["reason"] == reason
    assert outcome.check["elapsed_ms"] < limit_ms + 150
    assert outcome.max_rss_kib <= form.max_rss_kib
    assert text.stderr.isascii()
    assert text.stderr.removesuffix("\n").isprintable()


# The escapes


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (r"PING\r\n", b"PING\r\n"),
        (r"\x00\xFf\0\t", b"\x00\xff\0\t"),
        (r"\\r", b"\\r"),
        ("ü\n", b"\xc3\xbc\n"),
        ("\udcff", b"\xff"),
        ("", b""),
    ],
)
def test_escapes(text: str, data: bytes) -> None:
    assert parse_escapes(text) == data


@pytest.mark.parametrize("text", ["\\", r"\q", r"\x4", r"\xg0", r"\u00e9", "s3cret\\", "\\\n"])
def test_no_escapes(form: Form, text: str) -> None:
    with pytest.raises(ValueError, match="is not an escape"):
        parse_escapes(text)
    outcome = run(form, ["tcp://127.0.0.1:1", "--send", text])
    assert outcome.code == 1
    assert "usage_error" in outcome.stderr
    assert "s3cret" not in outcome.stderr


@pytest.mark.parametrize("value", [1, "\ud800", ["s3cret"]])
def test_not_to_be_sent(value: object) -> None:
    with pytest.raises(BadArgumentError, match="send") as raised:
        check("tcp://127.0.0.1:1", send=value)  # type: ignore[arg-type]
    assert "s3cret" not in str(raised.value)
