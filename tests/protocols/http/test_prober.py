"""Redirects to the host that the header `Host` names."""

from __future__ import annotations

import pytest

from healthchecker import Reason, check
from tests.servers.peers import Connection, Peer

HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Redirecting:
    """Redirects the first request, and keeps the ones after it."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.requests: list[bytes] = []

    def __call__(self, connection: Connection) -> None:
        self.requests.append(connection.read_request())
        if len(self.requests) == 1:
            head = f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {self.location}\r\n\r\n"
            connection.send(head.encode())
        else:
            connection.send(HEALTHY)
        connection.close()


@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("app.example", "http://app.example/login"),
        ("APP.example", "http://App.Example:80/login"),
        ("app.example:8080", "http://app.example:8080/login"),
        ("app.example", "//app.example/login"),
        ("app.example", "/login"),
        ("[::1]:81", "http://[::1]:81/login"),
    ],
)
def test_the_host_named_by_a_header_is_the_same_host(host: str, location: str) -> None:
    server = Redirecting(location)
    with Peer(server) as peer:
        result = check(
            peer.url(), headers={"Host": host}, basic_auth=("me", "pw"), follow_redirects=True
        )
    assert result.reason is Reason.OK, result
    request = server.requests[1]
    assert request.startswith(b"GET /login HTTP/1.1\r\n")
    assert f"Host: {host}\r\n".encode() in request
    assert b"Authorization: Basic " in request  # the same origin


@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("app.example", "http://other.example/login"),
        ("app.example", "http://app.example.evil/login"),
        ("app.example", "http://evil@other.example/"),
        ("a b", "http://other.example/"),
        (None, "http://app.example/login"),
    ],
)
def test_any_other_host_is_another_host(host: str | None, location: str) -> None:
    with Peer(Redirecting(location)) as peer:
        headers = {"Host": host} if host else {}
        result = check(peer.url(), headers=headers, follow_redirects=True)
    assert result.reason is Reason.REDIRECT
    assert "another host" in result.detail


def test_another_port_is_another_port() -> None:
    server = Redirecting("")
    with Peer(server) as peer, Peer(lambda connection: connection.send(HEALTHY)) as other:
        server.location = f"http://app.example:{other.port}/"
        result = check(
            peer.url(),
            headers={"Host": "app.example"},
            basic_auth=("me", "pw"),
            follow_redirects=True,
        )
        assert result.reason is Reason.OK, result
        assert len(other.connected_at) == 1
