"""ws:// and wss:// targets: a real server, and responses to the handshake."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._protocols.reply import CodecError
from healthchecker._protocols.websocket import accept_of, decode_response
from tests.servers.daemons import free_port, running_daemon
from tests.servers.peers import Behaviour, Connection, Peer
from tests.servers.tls import server_context
from tests.support import poll

SAMPLE = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3


def accepting(heard: list[bytes]) -> Behaviour:
    def behave(connection: Connection) -> None:
        request = connection.hear()
        heard.append(request)
        key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUPGRADE: websocket\r\n"
            b"sec-websocket-accept: " + accept_of(key) + b"\r\n\r\n\x81\x02hi"
        )
        heard.append(connection.hear())

    return behave


APP = b"""
async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    if scope["path"] == "/closed":
        await send({"type": "websocket.close"})
    else:
        await send({"type": "websocket.accept"})
        print("left with", (await receive())["code"], flush=True)
"""


@pytest.mark.parametrize("library", ["websockets-sansio", "wsproto"])
def test_uvicorn(library: str) -> None:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", "{directory}"]
    command += ["--port", str(port), "--ws", library, "--lifespan", "off"]
    url = f"ws://127.0.0.1:{port}"
    assert check(url).reason is Reason.CONNECTION_REFUSED
    with running_daemon("root", *command, port=port, files={"app.py": APP}) as server:
        result = check(url, timeout=20)
        assert (result.reason, result.status) == (Reason.OK, 101)
        poll(lambda: "left with 1000" in server.log, timeout=10, what="the goodbye is understood")
        closed = check(f"{url}/closed", timeout=20)
        assert (closed.reason, closed.status) == (Reason.UNEXPECTED_STATUS, 403)
        assert "Traceback" not in server.log
        server.pause()
        assert check(url, timeout=0.3).reason is Reason.TIMEOUT
        server.resume()
        assert check(url, timeout=20)
    assert check(url).reason is Reason.CONNECTION_REFUSED


def test_handshake() -> None:
    heard: list[bytes] = []
    with Peer(accepting(heard)) as peer:
        result = check(
            f"ws://user:pass@{peer.address}/chat?a=b",
            headers={"Host": "example", "Sec-WebSocket-Protocol": "binary"},
        )
    assert (result.reason, result.status) == (Reason.OK, 101)
    assert result.detail == "WebSocket handshake accepted"
    request, close = heard
    assert request.startswith(b"GET /chat?a=b HTTP/1.1\r\n")
    lines = request.split(b"\r\n")
    assert [line for line in lines if line.startswith(b"Host")] == [b"Host: example"]
    assert b"Authorization: Basic dXNlcjpwYXNz" in lines
    assert b"Sec-WebSocket-Protocol: binary" in lines
    assert close[:2] == b"\x88\x82"
    assert (close[2] ^ close[6], close[3] ^ close[7]) == (0x03, 0xE8)


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Peer(accepting([]), context=server_context(authority, "127.0.0.1")) as peer:
        assert check(f"wss://{peer.address}", cacert=tmp_path / "ca.pem")
        assert check(f"wss://{peer.address}").reason is Reason.TLS_FAILURE


@pytest.mark.parametrize(
    ("response", "reason", "status"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Reason.UNEXPECTED_STATUS, 404),
        (b"HTTP/1.1 426\r\n\r\n", Reason.UNEXPECTED_STATUS, 426),
        (b"HTTP/1.1 101 S\r\n\r\n", Reason.INVALID_RESPONSE, 101),
        (
            b"HTTP/1.1 101 S\r\nSec-WebSocket-Accept: x\r\n\r\n",
            Reason.INVALID_RESPONSE,
            101,
        ),
        (b"HTTP/1.1 101 S\r\nX: " + b"x" * 70_000, Reason.INVALID_RESPONSE, None),
    ],
)
def test_responses(response: bytes, reason: Reason, status: int | None) -> None:
    def behave(connection: Connection) -> None:
        connection.hear()
        connection.send(response)
        connection.hold()

    with Peer(behave) as peer:
        result = check(f"ws://{peer.address}")
    assert (result.reason, result.status) == (reason, status)


def test_accept() -> None:
    assert accept_of(SAMPLE) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_decoding() -> None:
    data = b"HTTP/1.1 101 X\r\nA: b\r\nSec-WebSocket-Accept: \t abc= \r\n\r\n"
    assert decode_response(data) == (101, b"abc=")
    assert all(decode_response(data[:end]) is None for end in range(len(data)))
    assert decode_response(b"HTTP/1.1 200\n\nSec-WebSocket-Accept: x\n") == (200, b"")
    for other in (b"HTTP/2", b"HTTP/1.1 1\r\n", b"HTTP/1.1 101X\r\n", b"\x15\x03"):
        with pytest.raises(CodecError, match="not an HTTP/1 response"):
            decode_response(other)
