"""The PROXY protocol: its header, and a server that refuses connections without one."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from healthchecker import check
from healthchecker._protocols.proxy_protocol import UNKNOWN, encode_header
from tests.servers.grpc import HEALTHY
from tests.servers.peers import Connection, Peer
from tests.support.forms import Form, run

HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("local", "peer", "header"),
    [
        (("10.0.0.1", 40000), ("10.0.0.2", 80), b"PROXY TCP4 10.0.0.1 10.0.0.2 40000 80\r\n"),
        (("::1", 1), ("::1", 65535), b"PROXY TCP6 ::1 ::1 1 65535\r\n"),
        (("fe80::1%eth0", 1), ("fe80::2%eth0", 2), b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"),
    ],
)
def test_the_header(local: tuple[str, int], peer: tuple[str, int], header: bytes) -> None:
    assert encode_header(local, peer) == header


class Proxied:
    """Responds to a connection that begins with the header; any other one is closed immediately."""

    def __init__(self, response: bytes) -> None:
        self.response = response
        self.header = b""
        self.client: tuple[str, int] | None = None

    def __call__(self, connection: Connection) -> None:
        received = b""
        while b"PROXY ".startswith(received[:6]) and not received.endswith(b"\r\n"):
            more = connection.sock.recv(1)
            if not more:
                return
            received += more
        if received.startswith(b"PROXY "):
            if connection.sock.family != socket.AF_UNIX:
                self.client = connection.sock.getpeername()[:2]
            self.header = received
            connection.hear()
            connection.send(self.response)
        connection.close()


@pytest.mark.parametrize(
    ("scheme", "response"), [("http", HTTP), ("grpc", HEALTHY), ("tcp", b"+PONG")]
)
def test_a_server_that_requires_it(form: Form, scheme: str, response: bytes) -> None:
    server = Proxied(response)
    args = ["--send=PING", "--expect-reply=PONG"] if scheme == "tcp" else []
    with Peer(server) as peer:
        target = f"{scheme}://{peer.address}"
        assert run(form, [*args, target]).code == 1
        outcome = run(form, ["--proxy-protocol", "--output=json", *args, target])
    assert outcome.check["reason"] == "ok", outcome.check
    assert server.client is not None
    address, port = server.client
    expected = f"PROXY TCP4 {address} {peer.host} {port} {peer.port}\r\n"
    assert server.header == expected.encode()


def test_over_ipv6() -> None:
    server = Proxied(HTTP)
    with Peer(server, host="::1") as peer:
        assert check(peer.url(), proxy_protocol=True)
    assert re.fullmatch(rb"PROXY TCP6 ::1 ::1 \d+ %d\r\n" % peer.port, server.header)


def test_over_a_unix_socket(tmp_path: Path) -> None:
    server = Proxied(HTTP)
    path = str(tmp_path / "socket")
    with Peer(server, unix_socket=path):
        assert check("http://localhost/", proxy_protocol=True, unix_socket=path)
    assert server.header == UNKNOWN
