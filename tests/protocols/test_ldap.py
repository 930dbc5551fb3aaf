"""ldap:// and ldaps:// targets: a real slapd, and BER."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._protocols.ldap import BIND, decode_bind_response
from healthchecker._protocols.reply import CodecError
from tests.servers.daemons import Daemon, free_port, program, running_daemon
from tests.servers.peers import Connection, Peer
from tests.support import poll


@contextmanager
def slapd(*urls: str, port: int, settings: str = "", pem: bytes = b"") -> Iterator[Daemon]:
    config = (
        "modulepath /usr/lib/ldap\nmoduleload back_mdb\ninclude /etc/ldap/schema/core.schema\n"
        f"{settings}\ndatabase mdb\nsuffix dc=test\ndirectory {{directory}}\n"
    )
    command = [program("slapd", folder="/usr/sbin"), "-f", "{directory}/config", "-d", "256"]
    command += ["-h", " ".join(urls)]
    files = {"config": config.encode(), "pem": pem}
    with running_daemon("nobody", *command, port=port, files=files) as server:
        yield server


def test_states() -> None:
    port = free_port()
    url = f"ldap://127.0.0.1:{port}"
    assert check(url).reason is Reason.CONNECTION_REFUSED
    with slapd(url, port=port) as server:
        # The connection that found the port open.
        poll(lambda: "closed" in server.log, timeout=10, what="the first connection is noted")
        before = len(server.log)
        result = check(f"{url}/dc=test")
        assert (result.reason, result.detail) == (Reason.OK, "anonymous bind accepted")
        poll(lambda: "UNBIND" in server.log[before:], timeout=10, what="the session is ended")
        connection = server.log[before:].partition("BIND")[2]
        assert "connection lost" not in connection
        server.pause()
        assert check(url, timeout=0.3).reason is Reason.TIMEOUT
        server.resume()
        assert check(url)


def test_anonymous_bind_is_disallowed() -> None:
    port = free_port()
    url = f"ldap://127.0.0.1:{port}"
    with slapd(url, port=port, settings="disallow bind_anon"):
        result = check(url)
    assert (result.reason, result.status) == (Reason.OK, 48)


def test_tls_and_unix_socket(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes()
    port = free_port()
    settings = "TLSCertificateFile {directory}/pem\nTLSCertificateKeyFile {directory}/pem"
    url = f"ldaps://127.0.0.1:{port}"
    urls = (url, f"ldapi://{quote(str(tmp_path / 'socket'), safe='')}")
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(0o755)
    with slapd(*urls, port=port, settings=settings, pem=pem):
        assert check(url, cacert=tmp_path / "ca.pem")
        assert check(url).reason is Reason.TLS_FAILURE
        assert not check(f"ldap://127.0.0.1:{port}", timeout=0.5)
        assert check("ldap://localhost", unix_socket=tmp_path / "socket")


def response(code: int, *, number: int = 1, tag: int = 0x61, more: bytes = b"") -> bytes:
    result = bytes([0x0A, 1, code]) + b"\4\0\4\0" + more
    operation = b"\2\1" + bytes([number, tag, len(result)]) + result
    return bytes([0x30, len(operation)]) + operation


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        *((code, Reason.OK) for code in (0, 8, 13, 48, 49, 53)),
        *((code, Reason.NOT_SERVING) for code in (51, 52)),
        *((code, Reason.UNEXPECTED_REPLY) for code in (1, 2, 80)),
    ],
)
def test_result_codes(code: int, reason: Reason) -> None:
    heard: list[bytes] = []

    def behave(connection: Connection) -> None:
        heard.append(connection.hear())
        connection.send(response(code))
        heard.append(connection.hear())

    with Peer(behave) as peer:
        assert check(f"ldap://{peer.address}").reason is reason
    unbind = bytes.fromhex("30050201024200")
    assert heard == [BIND, unbind if reason is Reason.OK else b""]


# Decoding


def test_lengths() -> None:
    data = response(0)
    assert decode_bind_response(data) == 0
    long = b"\x30\x84\0\0\0" + data[1:]
    assert decode_bind_response(long) == 0
    assert all(decode_bind_response(long[:end]) is None for end in range(len(long)))
    assert decode_bind_response(response(52, number=0, tag=0x78)) == 52  # a notice


@pytest.mark.parametrize(
    "data",
    [
        b"\x31",
        b"\x30\x80",
        b"\x30\x85",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x00",
        b"\x30\x03\2\1\1",
        response(0, tag=0x64),
        response(0, number=7),
        b"\x30\x05\2\1\1\x61\x7f",
        b"\x15\x03\x03\0\2",
    ],
)
def test_other_responses(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_bind_response(data)


def test_starttls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes()
    port = free_port()
    url = f"ldap://127.0.0.1:{port}"
    settings = "TLSCertificateFile {directory}/pem\nTLSCertificateKeyFile {directory}/pem"
    with slapd(url, port=port, settings=settings, pem=pem):
        result = check(url, starttls=True, cacert=tmp_path / "ca.pem")
        assert (result.reason, result.detail) == (Reason.OK, "anonymous bind accepted")
        assert check(url, starttls=True).reason is Reason.TLS_FAILURE
    with slapd(url, port=port):
        refused = check(url, starttls=True)
    assert (refused.reason, refused.detail[:43]) == (
        Reason.TLS_FAILURE,
        "response: the peer does not start TLS: resu",
    )
