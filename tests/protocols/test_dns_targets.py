"""dns:// and udp:// targets: real name servers, and peers that do not reply as they should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from healthchecker import BadArgumentError, CheckResult, Reason, check
from healthchecker._protocols.dns import decode_tcp
from healthchecker._protocols.reply import CodecError
from tests.servers.daemons import free_port, program, running_daemon
from tests.support import poll
from tests.support.forms import Form, run

ZONE = b"""$TTL 60
@ SOA ns admin 1 60 60 60 60
@ NS ns
ns A 127.0.0.1
@ TXT "x"
long TXT "%s" "%s" "%s" "%s" "%s"
""" % tuple(bytes([letter]) * 250 for letter in b"abcde")


def await_healthy(url: str) -> None:
    poll(lambda: check(url, timeout=0.5), timeout=30, what=f"{url} is healthy")


def test_bind() -> None:
    port = free_port()
    config = (
        b'options { directory "{directory}"; listen-on port %d { 127.0.0.1; };'
        b" listen-on-v6 { none; };"
        b' pid-file none; recursion no; session-keyfile "{directory}/key"; };\n'
        b'zone "example" { type primary; file "zone"; };\ncontrols { };\n' % port
    )
    command = [program("named", folder="/usr/sbin"), "-g", "-c", "{directory}/config"]
    server = f"127.0.0.1:{port}"
    with running_daemon("bind", *command, files={"config": config, "zone": ZONE}) as named:
        await_healthy(f"dns://{server}/ns.example")
        found = check(f"dns://{server}/ns.example?type=a")
        assert (found.healthy, found.detail) == (True, "NOERROR, 1 A records")
        assert check(f"dns://{server}/nothing.example").status == "NXDOMAIN"
        absent = check(f"dns://{server}/ns.example?type=AAAA")
        assert (absent.reason, absent.detail) == (
            Reason.UNEXPECTED_REPLY,
            "NOERROR: no AAAA record",
        )
        nowhere = check(f"dns://{server}/nothing.example?type=A")
        assert (nowhere.reason, nowhere.status) == (Reason.UNEXPECTED_REPLY, "NXDOMAIN")
        refused = check(f"dns://{server}/elsewhere.test")
        assert (refused.reason, refused.detail) == (
            Reason.UNEXPECTED_REPLY,
            "expected NOERROR, got REFUSED",
        )
        assert check(f"dns://{server}/long.example?type=TXT").detail == "NOERROR, 1 TXT records"
        named.pause()
        assert check(f"dns://{server}/ns.example", timeout=0.3).reason is Reason.TIMEOUT
        named.resume()
    down = check(f"dns://{server}/ns.example")
    assert (down.reason, down.detail) == (
        Reason.CONNECTION_REFUSED,
        f"response: {server}: Connection refused",
    )


def test_unbound() -> None:
    port = free_port()
    config = (
        b'server:\n interface: 127.0.0.1\n port: %d\n username: ""\n chroot: ""\n pidfile: ""\n'
        b' use-syslog: no\n do-daemonize: no\n directory: "{directory}"\n'
        b' module-config: "iterator"\n' % port
    )
    command = [program("unbound", folder="/usr/sbin"), "-d", "-c", "{directory}/config"]
    with running_daemon("nobody", *command, files={"config": config}):
        await_healthy(f"dns://127.0.0.1:{port}/localhost?type=A")


def test_dnsmasq() -> None:
    port = free_port()
    command = [
        *(program("dnsmasq", folder="/usr/sbin"), "--keep-in-foreground", "--conf-file=/dev/null"),
        *("--no-resolv", "--no-hosts", "--address=/pi.hole/192.0.2.1", f"--port={port}"),
        *("--listen-address=127.0.0.1", "--bind-interfaces", "--user=nobody", "--pid-file="),
    ]
    with running_daemon("nobody", *command):
        await_healthy(f"dns://127.0.0.1:{port}/pi.hole?type=A")


# Peers

Reply = Callable[[bytes], list[bytes]]


@contextmanager
def udp_peer(reply: Reply) -> Iterator[int]:
    """Reply to each datagram with others; yield the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

        def serve() -> None:
            while True:
                data, sender = sock.recvfrom(65_535)
                if not data:
                    return
                for answer in reply(data):
                    sock.sendto(answer, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", ("127.0.0.1", port))
            thread.join()


def check_peer(reply: Reply, timeout: float = 0.4) -> CheckResult:
    with udp_peer(reply) as port:
        return check(f"dns://127.0.0.1:{port}/a.test", timeout=timeout)


def answer(query: bytes, flags: bytes = b"\x81\x80") -> bytes:
    return query[:2] + flags + query[4:]


@pytest.mark.parametrize(
    ("reply", "reason", "detail"),
    [
        (lambda query: [answer(query)], Reason.OK, "NOERROR, 0 A records"),
        (
            lambda query: [b"", b"x", b"\0\0" + answer(query)[2:], answer(query)],
            Reason.OK,
            "NOERROR, 0 A records",
        ),
        (
            lambda query: [answer(query, b"\x81\x82")],
            Reason.NOT_SERVING,
            "expected NOERROR, got SERVFAIL",
        ),
        (lambda _query: [], Reason.TIMEOUT, "timed out after 400 ms (response)"),
        (
            lambda query: [query],
            Reason.INVALID_RESPONSE,
            "response: not a DNS response to one question",
        ),
        (
            lambda query: [query[:2] + b"\x81\x80"],
            Reason.INVALID_RESPONSE,
            "response: truncated DNS message",
        ),
        (
            lambda query: [answer(query).replace(b"\x01a", b"\x01b")],
            Reason.INVALID_RESPONSE,
            "response: the response is to another question",
        ),
        # Truncated, and there is no listener for TCP.
        (lambda query: [answer(query, b"\x83\x80")], Reason.CONNECTION_REFUSED, ""),
        (lambda query: [query[:2] + b"\xff" * 60_000], Reason.CONNECTION_REFUSED, ""),
    ],
)
def test_replies(reply: Reply, reason: Reason, detail: str) -> None:
    result = check_peer(reply)
    assert result.reason is reason
    assert detail in result.detail


def test_lost_datagram() -> None:
    heard: list[bytes] = []

    def reply(query: bytes) -> list[bytes]:
        heard.append(query)
        return [answer(query)] if len(heard) > 1 else []

    assert check_peer(reply, timeout=10)
    assert heard[0] == heard[1]


@pytest.mark.parametrize(
    "target",
    [
        "dns://127.0.0.1",
        "dns://127.0.0.1/",
        "dns://127.0.0.1/a..b",
        "dns://127.0.0.1/" + "a" * 64,
        "dns://127.0.0.1/a?type=NONE",
        "dns://127.0.0.1/a?kind=A",
        "udp://127.0.0.1:53",
        "udp://127.0.0.1",
    ],
)
def test_unusable_targets(target: str) -> None:
    with pytest.raises(BadArgumentError, match="target"):
        check(target)


def test_tcp_messages() -> None:
    assert decode_tcp(b"\0\2ab") == b"ab"
    assert [decode_tcp(b"\0\2ab"[:end]) for end in range(4)] == [None] * 4
    with pytest.raises(CodecError):
        decode_tcp(b"\0\0")


# udp://


def test_udp(form: Form) -> None:
    with udp_peer(lambda data: [b"noise", b"re: " + data]) as port:
        target = f"udp://127.0.0.1:{port}"
        found = run(form, [target, "--send=ping", "--expect-reply=re", "--output=json"]).check
        assert (found["reason"], found["detail"]) == ("ok", "reply 're: ...'")
        assert run(form, [target, "--send=ping"]).code == 0
        found = run(
            form,
            [target, "--send=x", "--expect-reply=pong", "--timeout=2s", "--output=json"],
        ).check
    assert (found["reason"], found["detail"]) == (
        "unexpected_reply",
        "no 'pong' in the reply 're: x'; timed out after 2000 ms",
    )
    found = run(form, [target, "--send=x", "--output=json"]).check
    assert found["reason"] == "connection_refused"


def test_udp_at_the_second_address() -> None:
    with udp_peer(lambda data: [data]) as port:  # on 127.0.0.1 only
        assert check(f"udp://localhost:{port}", send="x")


def test_udp_needs_a_request(form: Form) -> None:
    outcome = run(form, ["udp://127.0.0.1:53"])
    assert outcome.code == 1
    assert "needs --send" in outcome.stderr
