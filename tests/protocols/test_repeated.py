"""A peer that repeats the secrets that it got: they are in no result."""

from __future__ import annotations

import base64
import tracemalloc
from typing import Any
from urllib.parse import quote

import pytest

from healthchecker import CheckResult, Phase, Reason, check
from healthchecker._cli.expansion import expand_target
from healthchecker._protocols.base import Prober
from healthchecker._protocols.registry import make_probers, parse_target
from healthchecker._protocols.repeated import without_repeated
from healthchecker._values.options import make_options
from tests.servers.peers import Connection, Peer

SECRET = "s3cret/Zk9"
BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()
SPELLINGS = (SECRET, quote(SECRET), quote(SECRET, safe=""), BASIC)
LIMIT = 20.0


def credentials_of(request: bytes) -> str:
    lines = request.decode().split("\r\n")
    return next((line for line in lines if SECRET in line or BASIC in line), lines[0])


def redirect(connection: Connection) -> None:
    place = quote(credentials_of(connection.read_request()), safe="/?=&")
    connection.send(
        f"HTTP/1.1 302 Found\r\nLocation: /login?{place}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    connection.close()


def echo_as_json(connection: Connection) -> None:
    body = b'{"status": "%s"}' % credentials_of(connection.read_request()).encode()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()


def shows_secret(result: CheckResult) -> bool:
    return any(one in str(result.to_dict()) for one in SPELLINGS)


def options_with(kind: str) -> dict[str, Any]:
    if kind == "basic":
        return {"basic_auth": ("me", SECRET)}
    name, before = ("X-Key", "") if kind == "header" else ("Authorization", "Bearer ")
    return {"headers": {name: before + SECRET}}


@pytest.mark.parametrize("kind", ["header", "bearer", "basic"])
def test_a_redirect_that_repeats_a_secret(kind: str) -> None:
    with Peer(redirect) as peer:
        result = check(peer.url(), timeout=LIMIT, **options_with(kind))
    assert result.reason is Reason.REDIRECT
    assert "/login?" in result.detail
    assert not shows_secret(result)


@pytest.mark.parametrize("kind", ["header", "bearer", "basic"])
def test_a_value_in_json_that_repeats_a_secret(kind: str) -> None:
    with Peer(echo_as_json) as peer:
        result = check(peer.url(), timeout=LIMIT, expect_json="status=UP", **options_with(kind))
    assert result.reason is Reason.UNEXPECTED_BODY
    assert "expected UP" in result.detail
    assert not shows_secret(result)


def prober_of(text: str) -> Prober:
    options = make_options()
    (prober,) = make_probers([parse_target(expand_target(text))], options)
    return prober


def test_a_redirect_that_repeats_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", SECRET)
    with Peer(redirect) as peer:
        result = prober_of(f"http://127.0.0.1:{peer.port}/?a=b&key=${{KEY}}").probe(LIMIT)
    assert result.reason is Reason.REDIRECT
    assert not shows_secret(result)


def test_a_redirect_that_repeats_the_query_of_a_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(redirect) as peer:
        monkeypatch.setenv("URL", f"http://127.0.0.1:{peer.port}/?a=b&key={SECRET}")
        result = prober_of("${URL}").probe(LIMIT)
    assert result.reason is Reason.REDIRECT
    assert not shows_secret(result)


@pytest.mark.parametrize("kind", ["header", "bearer", "basic"])
def test_a_body_that_repeats_the_request(kind: str) -> None:
    def send(connection: Connection) -> None:
        body = credentials_of(connection.read_request()).encode()
        # the excerpt ends in the middle of the secret
        body = b"-" * (204 - len(body)) + body
        connection.send(b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        connection.close()

    with Peer(send) as peer:
        result = check(peer.url(), timeout=LIMIT, **options_with(kind))
    assert result.reason is Reason.UNEXPECTED_STATUS
    assert result.excerpt.startswith("----")
    assert not any(one[:5] in result.excerpt for one in SPELLINGS)


def test_a_body_that_repeats_the_data() -> None:
    with Peer(echo_data) as peer:
        result = check(peer.url(), timeout=LIMIT, data=f"token={SECRET}")
    assert result.reason is Reason.UNEXPECTED_STATUS
    assert result.excerpt.startswith("bad ")
    assert not shows_secret(result)


def echo_data(connection: Connection) -> None:
    request = b""
    while SECRET.encode() not in request:
        request += connection.hear()
    body = b"bad " + request.partition(b"\r\n\r\n")[2]
    connection.send(b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()


def test_long_secrets_take_little_memory() -> None:
    """Quoting them, or a pattern of them, would take seconds and fifty times their size."""
    options = make_options(headers=[(f"X-{number}", "x" * 120_000) for number in range(2)])
    failure, reason = "response: Connection reset by peer", Reason.CONNECTION_RESET
    result = CheckResult("http://a/", False, reason, failure, None, 0.1, Phase.RESPONSE)
    tracemalloc.start()
    try:
        shown = without_repeated(result, parse_target("http://a/"), options)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert shown.detail == failure
