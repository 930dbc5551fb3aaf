"""HTTP/2 with a real server: with prior knowledge, and with ALPN over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from healthchecker import Reason, check
from tests.servers.http import http_service
from tests.servers.http2 import http2_service
from tests.servers.peers import Peer, blurt
from tests.support.forms import Form, run


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    authority, directory = trustme.CA(), tmp_path_factory.mktemp("ca")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return authority, directory


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with http2_service() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def tls(ca: tuple[trustme.CA, Path]) -> Iterator[str]:
    with http2_service(*ca) as port:
        yield f"https://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("args", "path", "reason"),
    [
        (["--expect-body=HTTP/2 GET"], "/health", "ok"),
        (["--expect-header=X-State: fine"], "/health", "ok"),
        (["--data=hello", "--expect-body=HTTP/2 POST hello"], "/health", "ok"),
        (["--data=" + "x" * 100_000, "--method=PUT"], "/health", "ok"),
        (["--follow-redirects", "--expect-body=HTTP/2"], "/moved", "ok"),
        ([], "/moved", "redirect"),
        ([], "/missing", "unexpected_status"),
        (["--status=404"], "/missing", "ok"),
        (["-H", "Host: elsewhere.example"], "/health", "ok"),
    ],
)
def test_a_real_server(form: Form, args: list[str], path: str, reason: str, plain: str) -> None:
    outcome = run(form, ["--output=json", "--http2", *args, plain + path])
    assert outcome.check["reason"] == reason, outcome.check


def test_tls(form: Form, tls: str, ca: tuple[trustme.CA, Path]) -> None:
    trusted = f"--cacert={ca[1] / 'ca.pem'}"
    args = [trusted, "--http2", "--expect-body=HTTP/2 GET", f"{tls}/health", "--output=json"]
    assert run(form, args).check["reason"] == "ok"
    assert run(form, args[1:]).check["reason"] == "tls_failure"


def test_a_peer_that_has_only_http1(form: Form) -> None:
    with Peer(blurt(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as peer, http_service() as old:
        urls = [f"http://127.0.0.1:{port}/" for port in (peer.port, old)]
        outcomes = [run(form, ["--output=json", "--http2", url]) for url in urls]
    assert [one.check["reason"] for one in outcomes] == ["invalid_response"] * 2
    assert [one.check["detail"] for one in outcomes] == [
        "response: the peer speaks HTTP/1, not HTTP/2",
        "response: the peer does not speak HTTP/2",  # HTTP/0.9, to a version not known
    ]


def test_a_tls_peer_that_has_only_http1(
    form: Form, ca: tuple[trustme.CA, Path], tmp_path: Path
) -> None:
    authority, directory = ca
    with http2_service(authority, tmp_path, http1_only=True) as port:
        args = [f"--cacert={directory / 'ca.pem'}", "--http2", f"https://127.0.0.1:{port}/health"]
        outcome = run(form, [*args, "--output=json"])
    assert outcome.check["reason"] in ("invalid_response", "tls_failure")
    assert "HTTP/2" in outcome.check["detail"] or "ALPN" in outcome.check["detail"].upper()


def test_it_does_not_apply_to_other_targets() -> None:
    with pytest.raises(ValueError, match=r"only applies to http\[s\]:// targets"):
        check("tcp://127.0.0.1:1", http2=True)


def test_the_library(plain: str) -> None:
    result = check(f"{plain}/health", http2=True)
    assert result.reason is Reason.OK
