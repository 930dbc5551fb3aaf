"""nats:// targets: real NATS servers in several states, and the lines of the protocol."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._protocols.nats import PING, decode_info, decode_pong
from healthchecker._protocols.reply import CodecError
from tests.servers.daemons import Daemon, free_port, program, running_daemon
from tests.servers.peers import Connection, Peer, hold
from tests.support import poll


@contextmanager
def nats_server(port: int, settings: str = "", **files: bytes) -> Iterator[Daemon]:
    config = f"listen: 127.0.0.1:{port}\n{settings}\n".encode()
    command = [program("nats-server", folder="/usr/sbin"), "-c", "{directory}/config"]
    with running_daemon("nobody", *command, port=port, files={"config": config, **files}) as server:
        yield server


def test_states() -> None:
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    assert check(url).reason is Reason.CONNECTION_REFUSED
    with nats_server(port) as server:
        result = check(url)
        assert (result.reason, result.detail) == (Reason.OK, "PONG")
        server.pause()
        assert check(url, timeout=0.3).reason is Reason.TIMEOUT
        server.resume()
        assert check(url)
        assert "ERR" not in server.log
    assert check(url).reason is Reason.CONNECTION_REFUSED


def test_login_is_required() -> None:
    port = free_port()
    with nats_server(port, "authorization { user: app, password: s3cret }"):
        result = check(f"nats://127.0.0.1:{port}")
        assert (result.reason, result.detail) == (Reason.OK, "alive, authentication required")
        assert result.status == "-ERR 'Authorization Violation'"


def test_too_many_connections() -> None:
    port = free_port()
    with nats_server(port, "max_connections: 2"), ExitStack() as taken:
        for _ in range(2):
            client = taken.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
            client.sendall(PING)
            heard = b""
            while b"PONG" not in heard:  # so it counts as a client
                heard += client.recv(4096)
        reasons = set()

        def is_refused() -> bool:
            reasons.add(check(f"nats://127.0.0.1:{port}").reason)
            return Reason.NOT_SERVING in reasons

        poll(
            is_refused, timeout=10, what="it sends the reason"
        )  # it often closes the connection first
        assert Reason.OK not in reasons


def test_tls_after_info(tmp_path: Path) -> None:
    port = free_port()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    soon = datetime.now(UTC) + timedelta(hours=1)
    certificate = authority.issue_cert("127.0.0.1", not_after=soon).private_key_and_cert_chain_pem
    settings = "tls { cert_file: {directory}/pem, key_file: {directory}/pem }"
    with nats_server(port, settings, pem=certificate.bytes()):
        url = f"nats://127.0.0.1:{port}"
        result = check(url)
        assert result.reason is Reason.TLS_FAILURE
        assert result.detail.startswith("tls: ")
        assert check(url, cacert=tmp_path / "ca.pem")
        assert check(url, insecure=True)
        expires = check(url, cacert=tmp_path / "ca.pem", cert_lifetime=7200)
        assert expires.reason is Reason.CERTIFICATE_EXPIRES


# Peers


def in_order(*lines: bytes) -> tuple[list[bytes], Peer]:
    """Return what a peer hears, and the peer, which sends a line before each time it listens."""
    heard: list[bytes] = []

    def behave(connection: Connection) -> None:
        for line in lines:
            connection.send(line)
            heard.append(connection.hear())

    return heard, Peer(behave)


@pytest.mark.parametrize(
    ("reply", "reason", "status"),
    [
        (b"+OK\r\nPING\r\nINFO {}\r\nPONG\r\n", Reason.OK, None),
        (b"-ERR 'maximum connections exceeded'\r\n", Reason.NOT_SERVING, "same"),
        (b"-ERR 'Authorization Violation'\r\n", Reason.OK, "same"),
        (b"-ERR 'Authentication Timeout'\r\n", Reason.OK, "same"),
        (b"PONK\r\n", Reason.INVALID_RESPONSE, None),
    ],
)
def test_replies(reply: bytes, reason: Reason, status: str | None) -> None:
    heard, peer = in_order(b"INFO {}\r\n", reply)
    with peer:
        result = check(f"nats://{peer.address}")
    assert result.reason is reason
    assert result.status == (reply.decode().strip() if status else None)
    assert heard[0] == PING


def test_lame_duck() -> None:
    _, peer = in_order(b'INFO {"ldm": true}\r\n')
    with peer:
        result = check(f"nats://{peer.address}")
    assert (result.reason, result.detail) == (
        Reason.NOT_SERVING,
        "the server is in lame duck mode",
    )


def test_tls_first() -> None:
    with Peer(hold) as peer:  # the server waits for a handshake before it sends INFO
        result = check(f"nats://{peer.address}", timeout=0.3)
    assert (result.reason, result.detail) == (
        Reason.TIMEOUT,
        "timed out after 300 ms (response)",
    )


# Decoding


def test_info() -> None:
    line = b'INFO {"tls_required":true}\r\n'
    assert decode_info(line) == b'{"tls_required":true}'
    assert all(decode_info(line[:end]) is None for end in range(len(line) - 1))


@pytest.mark.parametrize("data", [b"X", b"INFX", b"\x15\x03\x03", b"HTTP/1.1 400\r\n", b"\r\n"])
def test_other_greetings(data: bytes) -> None:
    with pytest.raises(CodecError, match="not a NATS server"):
        decode_info(data)


def test_pong() -> None:
    assert decode_pong(b"PONG\r\n") == b"PONG"
    assert decode_pong(b"-ERR 'x'\r\nPONG\r\n") == b"-ERR 'x'"
    assert decode_pong(b"PING\r\nPON") is None
    assert decode_pong(b"") is None
    with pytest.raises(CodecError, match="not a NATS reply"):
        decode_pong(b"MSG\r\n")
