"""fastcgi:// targets: a real php-fpm, and records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from healthchecker import Reason, check
from healthchecker._protocols.fastcgi import Response, encode_request
from healthchecker._protocols.reply import CodecError
from healthchecker._values.expect.body import MAX_BODY_BYTES
from tests.servers.daemons import Daemon, data_directory, free_port
from tests.servers.peers import Behaviour, Connection, Peer
from tests.support import poll, require
from tests.support.forms import Form, run


@contextmanager
def php_fpm(port: int, listen: str = "") -> Iterator[tuple[Daemon, Path]]:
    found = max(Path("/usr/sbin").glob("php-fpm*"), default=None)
    require(found, "php-fpm is not installed")
    with data_directory("nobody") as directory:
        (directory / "index.php").write_text(
            "<?php header('X-Seen: ' . $_SERVER['HTTP_X_TOKEN']); echo $_SERVER['QUERY_STRING'];"
        )
        (directory / "broken.php").write_text("<?php http_response_code(503); echo 'down';")
        (directory / "config").write_text(
            f"[global]\ndaemonize = no\nerror_log = {directory}/errors\n[www]\n"
            f"listen = {listen.format(directory=directory) or f'127.0.0.1:{port}'}\n"
            "pm = static\npm.max_children = 1\nping.path = /ping\npm.status_path = /status\n"
        )
        server = Daemon([str(found), "-y", str(directory / "config"), "-F", "-n"], directory)
        server.start()
        try:
            if listen:
                poll((directory / "socket").exists, timeout=20, what="php-fpm listens")
            else:
                server.await_port(port)
            yield server, directory
        finally:
            server.stop()


def test_php_fpm(form: Form) -> None:
    port = free_port()
    url = f"fastcgi://127.0.0.1:{port}"
    with php_fpm(port) as (server, directory):
        assert run(form, [f"{url}/ping", "--expect-body=pong"]).code == 0
        assert run(form, [f"{url}/status?json", "--expect-json=pool=www"]).code == 0
        script = f"{url}{directory}/index.php?a=b"
        options = ["--expect-body=a=b", "-H", "X-Token: t", "--expect-header=X-Seen: t"]
        assert run(form, [script, *options]).code == 0
        named = ["-H", f"SCRIPT_FILENAME: {directory}/index.php", "--expect-body=q"]
        assert run(form, [f"{url}/any?q", *named]).code == 0
        found = run(form, [f"{url}{directory}/broken.php", "--output=json"]).check
        assert (found["reason"], found["status"], found["body"]) == (
            "unexpected_status",
            503,
            "down",
        )
        assert run(form, [f"{url}{directory}/broken.php", "--status=503"]).code == 0
        missing = check(f"{url}/nothing")
        assert (missing.reason, missing.status) == (Reason.UNEXPECTED_STATUS, 404)
        assert check(f"{url}/ping", expect_body="nothing").reason is Reason.UNEXPECTED_BODY
        server.pause()
        assert check(f"{url}/ping", timeout=20)  # by its worker
        server.resume()
    assert check(f"{url}/ping").reason is Reason.CONNECTION_REFUSED


def test_unix_socket() -> None:
    with php_fpm(0, "{directory}/socket") as (_, directory):
        assert check("fastcgi://localhost/ping", unix_socket=directory / "socket")


# Records


def record(kind: int, content: bytes = b"", padding: int = 0) -> bytes:
    head = bytes([1, kind, 0, 1]) + len(content).to_bytes(2) + bytes([padding, 0])
    return head + content + bytes(padding)


END = record(3, bytes(8))


def decoded(data: bytes) -> Response:
    response = Response()
    for byte in data:
        response.feed(bytes([byte]))
    assert response.is_complete
    return response


def test_response() -> None:
    page = b"Status: 404 Not Found\r\nX-A: 1\r\nX-A: 2\r\n\r\nbo"
    data = record(6, page, 3) + record(7, b"warning") + record(6, b"dy") + END
    status, headers, body = decoded(data).decode()
    assert (status, headers["x-a"], body.data, body.is_whole) == (404, ["1", "2"], b"body", True)


def test_long_body_is_cut() -> None:
    response = Response()
    response.feed(record(6, b"A: b\r\n\r\n"))
    for _ in range(20):
        response.feed(record(6, b"x" * 65_000))
    response.feed(END)
    _, _, body = response.decode()
    assert (len(body.data), body.is_whole) == (MAX_BODY_BYTES, False)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400", b"\x02", record(1), record(11), END + b"x", b"\x15\x03\x03" * 5]
)
def test_other_records(data: bytes) -> None:
    with pytest.raises(CodecError):
        Response().feed(data)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"no end",
        b"no colon\r\n\r\n",
        b"Status: x\r\n\r\n",
        b"A:" * 20_000,
        b"Status: 2000\r\n\r\n",
        b"Status: 200OK\r\n\r\n",
        b"Status:\r\n\r\n",
        b"Content-Length: 10\r\n\r\nshort",
    ],
)
def test_malformed_pages(page: bytes) -> None:
    with pytest.raises(CodecError):
        decoded(record(6, page) + END).decode()


def test_overloaded() -> None:
    with Peer(answer_with(record(3, bytes(4) + b"\2" + bytes(3)))) as peer:
        result = check(f"fastcgi://{peer.address}/")
    assert (result.reason, result.detail) == (Reason.NOT_SERVING, "overloaded")


def answer_with(data: bytes) -> Behaviour:
    def behave(connection: Connection) -> None:
        connection.hear()
        connection.send(data)
        connection.hold()

    return behave


def test_parameters() -> None:
    request = encode_request({"A": "b", "LONG": "x" * 200})
    assert request[:16] == record(1, b"\0\1" + bytes(6))
    assert b"\1\1Ab\4\x80\0\0\xc8LONGxxx" in request
    assert request.endswith(record(4) + record(5))
