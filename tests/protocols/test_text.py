"""Text protocols: rows of text.py against bytes and against real servers."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._protocols import text
from healthchecker._protocols.reply import CodecError
from healthchecker._protocols.text import decode_line
from tests.servers.daemons import free_port, program, running_daemon
from tests.servers.peers import Connection, Peer, blurt, hold
from tests.support import poll

DIALOGUES = {one.name: one for one in text.DIALOGUES}


# Real servers


def test_memcached() -> None:
    port = free_port()
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port)]
    url = f"memcached://127.0.0.1:{port}"
    assert check(url).reason is Reason.CONNECTION_REFUSED
    with running_daemon("nobody", *command, port=port) as server:
        found = check(url)
        assert (found.reason, found.detail[:8]) == (Reason.OK, "VERSION ")
        server.pause()
        assert check(url, timeout=0.3).reason is Reason.TIMEOUT
        server.resume()
        assert check(url)
    assert check(url).reason is Reason.CONNECTION_REFUSED


def test_memcached_with_tls_and_a_password() -> None:
    port = free_port()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    files = {
        "pem": certificate.private_key_and_cert_chain_pem.bytes(),
        "users": b"checker:s3cret\n",
    }
    options = [
        "-Z",
        "-o",
        "ssl_chain_cert={directory}/pem,ssl_key={directory}/pem",
        "-Y",
        "{directory}/users",
    ]
    command = [program("memcached"), "-l", "localhost", "-p", str(port), *options]
    with running_daemon("nobody", *command, port=port, files=files):
        found = check(f"memcacheds://localhost:{port}", insecure=True)
        assert (found.reason, found.detail) == (Reason.OK, "CLIENT_ERROR unauthenticated")
        assert check(f"memcacheds://localhost:{port}").reason is Reason.TLS_FAILURE
        assert not check(f"memcached://localhost:{port}", timeout=0.5)


def test_memcached_without_free_connections() -> None:
    port = free_port()
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port), "-c", "20", "-t", "1"]
    with running_daemon("nobody", *command, "-o", "maxconns_fast", port=port):
        found = set()
        with ExitStack() as taken:

            def is_full() -> bool:
                connection = socket.create_connection(("127.0.0.1", port))
                taken.enter_context(closing(connection))
                result = check(f"memcached://127.0.0.1:{port}")
                found.add((result.reason, result.detail.partition(" 1")[0]))
                return not result

            poll(is_full, timeout=10, what="no connection is left")
    full = (Reason.NOT_SERVING, "ERROR Too many open connections")
    assert found <= {(Reason.OK, "VERSION"), full}


# Decoding

LINES = [
    ("memcached", b"VERSION 1.6.18\r\n", b"VERSION 1.6.18"),
    ("memcached", b"CLIENT_ERROR unauthenticated\r\n", b"CLIENT_ERROR unauthenticated"),
]


@pytest.mark.parametrize(("name", "data", "line"), LINES)
def test_lines(name: str, data: bytes, line: bytes) -> None:
    assert decode_line(DIALOGUES[name], data) == line
    assert decode_line(DIALOGUES[name], data + b"more\n") == line
    assert all(decode_line(DIALOGUES[name], data[:end]) is None for end in range(len(data)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("memcached", b"ERROR\r\n"),
        ("memcached", b"V "),
        ("memcached", b"\r\n"),
        ("memcached", b"\x15\x03\x03\0\2"),
    ],
)
def test_other_lines(name: str, data: bytes) -> None:
    with pytest.raises(CodecError, match=f"not an? {name} reply"):
        decode_line(DIALOGUES[name], data)


def test_endless_line() -> None:
    with Peer(blurt(b"VERSION " + b"x" * 70_000, hold)) as peer:
        found = check(f"memcached://{peer.address}")
    assert found.reason is Reason.INVALID_RESPONSE
    assert found.detail == "response: reply longer than 65536 bytes"


def test_goodbye_is_sent() -> None:
    heard: list[bytes] = []

    def behave(connection: Connection) -> None:
        heard.append(connection.hear())
        connection.send(b"VERSION 1\r\n")
        heard.append(connection.hear())

    with Peer(behave) as peer:
        assert check(f"memcached://{peer.address}")
    assert heard == [b"version\r\n", b"quit\r\n"]
