"""The gRPC probes against real servers: grpcio's, and peers that send any frames they like."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock
from uuid import uuid4

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from healthchecker import BadArgumentError, CheckResult, Reason, check
from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.grpc import watch as module
from healthchecker._protocols.grpc.check import GrpcProber
from healthchecker._protocols.grpc.client import service_of
from healthchecker._protocols.grpc.codec import MAX_SERVICES, encode_message
from healthchecker._protocols.grpc.list import list_services
from healthchecker._protocols.grpc.metadata import make_headers
from healthchecker._protocols.grpc.watch import watch_service
from healthchecker._protocols.h2_connection import ClientConnection
from healthchecker._protocols.registry import parse_target
from healthchecker._values.options import OptionValues, make_options
from tests.servers.grpc import (
    HEALTHY,
    SERVING,
    AliveWatch,
    FailingServicer,
    ListingServicer,
    RecordingCall,
    RecordingServicer,
    data,
    goaway,
    grpc_server,
    headers,
    headers_in_pieces,
    ping,
    respond_to_call,
    settings,
    settings_ack,
)
from tests.servers.peers import (
    Behaviour,
    Connection,
    Peer,
    blurt,
    close,
    hold,
    refusing_port,
    reset,
)
from tests.support import poll

LIMIT = 0.4
GRACE = 0.15
LONG = 10.0

OPTIONS = make_options()
STATUS = health_pb2.HealthCheckResponse


@pytest.fixture(scope="module")
def servicer() -> RecordingServicer:
    servicer = RecordingServicer()
    servicer.set("good", STATUS.SERVING)
    servicer.set("bad", STATUS.NOT_SERVING)
    servicer.set("unsure", STATUS.UNKNOWN)
    servicer.set("größe", STATUS.SERVING)
    return servicer


@pytest.fixture(scope="module")
def server(servicer: RecordingServicer) -> Iterator[str]:
    with grpc_server(servicer) as port:
        yield f"grpc://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ca.pem, and with client.pem and client.key for mutual TLS."""
    folder = tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    client = authority.issue_cert("client@example.org")
    client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    return folder


def credentials(authority: trustme.CA, *, mutual: bool = False) -> grpc.ServerCredentials:
    own = authority.issue_cert("localhost", "127.0.0.1")
    return grpc.ssl_server_credentials(
        [(own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())],
        root_certificates=authority.cert_pem.bytes() if mutual else None,
        require_client_auth=mutual,
    )


def check_peer(behaviour: Behaviour, timeout: float = LONG) -> CheckResult:
    """Check a peer once; whatever it does, there is a result within the timeout."""
    with Peer(behaviour) as peer:
        start = time.monotonic()
        result = check(f"grpc://127.0.0.1:{peer.port}", timeout=timeout)
        assert time.monotonic() - start < timeout + GRACE
    return result


# Statuses


@pytest.mark.parametrize("service", ["", "/", "/good", "/gr%C3%B6%C3%9Fe"])
def test_serving_is_healthy(server: str, service: str) -> None:
    result = check(server + service)
    assert result.healthy
    assert (result.reason, result.status) == (Reason.OK, "SERVING")
    assert 0 < result.elapsed < LONG


@pytest.mark.parametrize(
    ("service", "reason", "status"),
    [
        ("bad", Reason.NOT_SERVING, "NOT_SERVING"),
        ("unsure", Reason.NOT_SERVING, "UNKNOWN"),
        ("nobody", Reason.UNKNOWN_SERVICE, "NOT_FOUND"),
    ],
)
def test_every_other_status_is_not(server: str, service: str, reason: Reason, status: str) -> None:
    result = check(f"{server}/{service}")
    assert not result.healthy
    assert (result.reason, result.status) == (reason, status)
    assert status in result.detail


def test_a_prober_asks_anew_each_time(server: str, servicer: RecordingServicer) -> None:
    prober = GrpcProber(parse_target(f"{server}/moody"), OPTIONS)
    servicer.set("moody", STATUS.SERVING)
    assert prober.probe(LONG).healthy
    servicer.set("moody", STATUS.NOT_SERVING)
    assert not prober.probe(LONG).healthy
    servicer.set("moody", STATUS.SERVING)
    assert prober.probe(LONG).healthy


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.NOT_FOUND, Reason.UNKNOWN_SERVICE),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.UNIMPLEMENTED),
        (grpc.StatusCode.UNAVAILABLE, Reason.NOT_SERVING),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.TIMEOUT),
        (grpc.StatusCode.UNAUTHENTICATED, Reason.UNEXPECTED_STATUS),
        (grpc.StatusCode.INTERNAL, Reason.UNEXPECTED_STATUS),
    ],
)
def test_each_code_has_its_reason(code: grpc.StatusCode, reason: Reason) -> None:
    with grpc_server(FailingServicer(code, "größer als 100 %")) as port:
        result = check(f"grpc://127.0.0.1:{port}", timeout=LONG)
    assert (result.healthy, result.reason, result.status) == (False, reason, code.name)
    assert result.detail == f"gRPC status {code.name}: größer als 100 %"


def test_a_server_without_the_health_service_is_unimplemented() -> None:
    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        result = check(f"grpc://127.0.0.1:{port}", timeout=LONG)
        server.stop(None).wait()
    assert (result.reason, result.status) == (Reason.UNIMPLEMENTED, "UNIMPLEMENTED")


# Transports


def test_nobody_listens() -> None:
    with refusing_port() as port:
        assert check(f"grpc://127.0.0.1:{port}").reason is Reason.CONNECTION_REFUSED


def test_tls_is_verified(authority: trustme.CA, files: Path) -> None:
    with grpc_server(health.HealthServicer(), credentials=credentials(authority)) as port:
        target = f"grpcs://localhost:{port}"
        assert check(target, cacert=str(files / "ca.pem"), timeout=LONG).healthy
        unknown = check(target, timeout=LONG)
        assert unknown.reason is Reason.TLS_FAILURE
        assert "certificate verification failed" in unknown.detail
        named = check(
            target, cacert=str(files / "ca.pem"), server_name="other.example", timeout=LONG
        )
        assert named.reason is Reason.TLS_FAILURE
        assert check(target, insecure=True, timeout=LONG).healthy
        assert not check(f"grpc://localhost:{port}", timeout=LIMIT).healthy


def test_tls_without_a_peer_that_speaks_it(server: str) -> None:
    result = check(server.replace("grpc:", "grpcs:"), timeout=LONG)
    assert result.reason is Reason.TLS_FAILURE


def test_mutual_tls(authority: trustme.CA, files: Path) -> None:
    with grpc_server(
        health.HealthServicer(), credentials=credentials(authority, mutual=True)
    ) as port:
        target = f"grpcs://localhost:{port}"
        cacert, cert, key = (str(files / name) for name in ("ca.pem", "client.pem", "client.key"))
        assert check(target, cacert=cacert, cert=cert, key=key, timeout=LONG).healthy
        missing = check(target, cacert=cacert, timeout=LONG)
        assert missing.reason is Reason.TLS_FAILURE
        assert "client certificate" in missing.detail


def test_a_tls_server_that_chooses_no_protocol_is_asked_all_the_same(
    authority: trustme.CA, files: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Peer(respond_to_call(HEALTHY), context=context) as peer:
        result = check(f"grpcs://localhost:{peer.port}", cacert=str(files / "ca.pem"), timeout=LONG)
    assert result.healthy


def test_unix_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "health.sock")
    with grpc_server(health.HealthServicer(), f"unix:{path}"):
        result = check("grpc://localhost", unix_socket=path, timeout=LONG)
        assert result.healthy
        assert path in result.target
    name = f"healthchecker-{uuid4().hex}"  # abstract names are the whole machine's
    with grpc_server(health.HealthServicer(), f"unix-abstract:{name}"):
        assert check("grpc://localhost", unix_socket=f"@{name}", timeout=LONG).healthy


def test_ipv6() -> None:
    with grpc_server(health.HealthServicer(), "[::1]:0") as port:
        assert check(f"grpc://[::1]:{port}", timeout=LONG).healthy


# What is sent


def test_metadata_reaches_the_server(server: str, servicer: RecordingServicer) -> None:
    result = check(
        server,
        headers=[("X-Token", "a, b"), ("x-token", "c"), ("Trace-Bin", "AP+A"), ("x-bin", "AA==")],
        basic_auth=("me", "secret"),
        timeout=LONG,
    )
    assert result.healthy
    seen = servicer.metadata
    assert [value for name, value in seen if name == "x-token"] == ["a, b", "c"]
    assert ("trace-bin", b"\x00\xff\x80") in seen
    assert ("x-bin", b"\x00") in seen
    assert ("authorization", "Basic bWU6c2VjcmV0") in seen
    assert [value for name, value in seen if name == "user-agent"] == ["healthchecker"]


def test_a_header_takes_the_place_of_our_own(server: str, servicer: RecordingServicer) -> None:
    given = {"User-Agent": "probe/1", "Authorization": "Bearer abc"}
    assert check(server, headers=given, basic_auth=("me", "secret"), timeout=LONG).healthy
    assert [value for name, value in servicer.metadata if name == "user-agent"] == ["probe/1"]
    assert [value for name, value in servicer.metadata if name == "authorization"] == ["Bearer abc"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"user-agent": "healthchecker", "authorization": "Basic bWU6c2VjcmV0"}),
        ({"User-Agent": ""}, {"authorization": "Basic bWU6c2VjcmV0"}),
        ({"Authorization": "", "x-empty": ""}, {"user-agent": "healthchecker", "x-empty": ""}),
    ],
)
def test_a_header_without_a_value_leaves_our_own_out(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    options = make_options(headers=given, basic_auth=("me", "secret"))
    fields = dict(make_headers(parse_target("grpc://h:1"), options))
    always = ("te", "content-type", "grpc-accept-encoding")
    assert {name: fields[name] for name in fields if name[0] != ":" and name not in always} == (
        expected
    )


def test_the_server_is_told_how_long_we_wait(server: str, servicer: RecordingServicer) -> None:
    assert check(server, timeout=LONG).healthy
    assert servicer.time_remaining is not None
    assert LONG / 2 < servicer.time_remaining <= LONG


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        ("grpc://127.0.0.1:81", {}, "127.0.0.1:81"),
        ("grpc://localhost:81", {}, "localhost:81"),
        ("grpc://localhost:82", {"headers": {"Host": "api.example:81"}}, "api.example:81"),
        ("grpc://localhost:82", {"headers": {"host": "[::1]"}}, "[::1]"),
        ("grpc://[::1]:81", {}, "[::1]:81"),
        ("grpc://[::1%lo]:81", {}, "[::1]:81"),
        ("grpc://example.org:81", {"unix_socket": "/run/health.sock"}, "localhost"),
    ],
)
def test_the_authority(target: str, options: OptionValues, expected: str) -> None:
    made = make_options(**options)
    fields = make_headers(parse_target(target, made.unix_socket), made)
    assert [value for name, value in fields if name == ":authority"] == [expected]
    assert "host" not in dict(fields)


def test_binary_metadata_is_sent_without_padding() -> None:
    fields = make_headers(parse_target("grpc://h:1"), make_options(headers={"X-Bin": "AA=="}))
    assert dict(fields)["x-bin"] == "AA"


def test_what_the_protocol_wants_is_sent() -> None:
    call = RecordingCall()
    with Peer(call) as peer:
        assert check(f"grpc://127.0.0.1:{peer.port}/some.Service", timeout=LONG).healthy
    assert call.headers[":path"] == "/grpc.health.v1.Health/Check"
    assert call.headers[":method"] == "POST"
    assert call.headers[":scheme"] == "http"
    assert call.headers[":authority"] == f"127.0.0.1:{peer.port}"
    assert call.headers["te"] == "trailers"
    assert call.headers["content-type"] == "application/grpc"
    assert call.headers["grpc-accept-encoding"] == "identity"
    assert call.headers["grpc-timeout"].endswith("m")


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"method": "POST"}, "method"),
        ({"status": "2xx"}, "status"),
        ({"expect_json": {"status": "UP"}}, "expect_json"),
        ({"expect_body": "UP"}, "expect_body"),
        ({"expect_header": {"a": "b"}}, "expect_header"),
        ({"follow_redirects": True}, "follow_redirects"),
        ({"headers": {"grpc-timeout": "1S"}}, "header"),
        ({"headers": {"Connection": "close"}}, "header"),
        ({"headers": {"TE": "gzip"}}, "header"),
        ({"headers": {"content-type": "text/plain"}}, "header"),
        ({"headers": {"a!b": "c"}}, "header"),
        ({"headers": {"name": "größe"}}, "header"),
        ({"headers": {"name": "a\tb"}}, "header"),
        ({"headers": {"name-bin": "no base64"}}, "header"),
        ({"headers": {"name-bin": "A"}}, "header"),
        ({"headers": {"host": "a b"}}, "header"),
        ({"headers": {"host": "user@example"}}, "header"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: OptionValues, argument: str) -> None:
    with pytest.raises(BadArgumentError) as caught:
        check("grpc://127.0.0.1:1", **options)
    assert caught.value.argument == argument


def test_the_value_of_a_header_is_not_shown() -> None:
    with pytest.raises(BadArgumentError) as caught:
        check("grpc://127.0.0.1:1", headers={"token-bin": "my secret"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("target", ["grpc://127.0.0.1:1/a?b=c", "grpc://127.0.0.1:1/" + "x" * 9000])
def test_targets_that_cannot_be_used_are_refused(target: str) -> None:
    with pytest.raises(BadArgumentError):
        check(target)


def test_the_service_of_a_target() -> None:
    assert service_of(parse_target("grpc://h:1/pkg.Service")) == "pkg.Service"
    assert service_of(parse_target("grpc://h:1/")) == ""
    assert service_of(parse_target("grpc://h:1")) == ""


def test_only_grpc_targets_are_listed_and_watched() -> None:
    target = parse_target("http://127.0.0.1:1")
    with pytest.raises(BadArgumentError):
        list_services(target, OPTIONS, LIMIT)
    with pytest.raises(BadArgumentError):
        watch_service(target, OPTIONS, LIMIT)
    with pytest.raises(BadArgumentError):
        list_services(parse_target("grpc://127.0.0.1:1/service"), OPTIONS, LIMIT)


# What the connection does


@pytest.mark.parametrize("then", [hold, close, reset])
def test_an_answer_is_enough_whatever_becomes_of_the_connection(then: Behaviour) -> None:
    assert check_peer(respond_to_call(HEALTHY, then)).healthy


def test_an_answer_to_a_request_that_was_not_read() -> None:
    assert check_peer(blurt(HEALTHY, hold)).healthy


@pytest.mark.parametrize(
    "frames",
    [b"", settings(), settings() + headers(), settings() + headers() + data(SERVING)],
    ids=["immediately", "after SETTINGS", "after headers", "after the message"],
)
def test_a_reset_before_the_end_is_one(frames: bytes) -> None:
    assert check_peer(respond_to_call(frames, reset)).reason is Reason.CONNECTION_RESET


@pytest.mark.timing
def test_silence_ends_by_the_limit() -> None:
    result = check_peer(respond_to_call(settings() + headers() + data(SERVING)), timeout=LIMIT)
    assert result.reason is Reason.TIMEOUT
    assert result.detail == "timed out after 400 ms (response)"


@pytest.mark.timing
def test_silence_in_the_tls_handshake_ends_by_the_limit() -> None:
    with Peer(hold) as peer:
        result = check(f"grpcs://127.0.0.1:{peer.port}", timeout=LIMIT)
    assert result.reason is Reason.TIMEOUT
    assert LIMIT <= result.elapsed < LIMIT + GRACE


@pytest.mark.parametrize(
    ("before", "dripped"),
    [
        (settings(), ping()),
        (settings() + headers(), data(encode_message(b"\x08\x01" * 1000))),
    ],
    ids=["PING", "message"],
)
@pytest.mark.timing
def test_dripping_ends_by_the_limit(before: bytes, dripped: bytes) -> None:
    def drip(connection: Connection) -> None:
        connection.drip(dripped)

    result = check_peer(respond_to_call(before, drip), timeout=LIMIT)
    assert not result.healthy
    assert result.reason in (Reason.TIMEOUT, Reason.INVALID_RESPONSE), result
    assert result.elapsed < LIMIT + GRACE


@pytest.mark.parametrize(
    "frames",
    [
        ping(),
        settings(),
        headers([(":status", "103")]),
        headers([(":status", "103"), *((("x", "y"),) * 1500)]),
        headers_in_pieces([("x", "y" * 900)], 10),
        goaway(1),
        b"\x00\x00\x00\xfa\x00\x00\x00\x00\x00",
        b"\x00",
        b"\xff",
    ],
    ids=[
        "PING",
        "SETTINGS",
        "103",
        "long 103",
        "CONTINUATION",
        "GOAWAY",
        "unknown",
        "zeros",
        "ones",
    ],
)
@pytest.mark.timing
def test_a_flood_ends_by_the_limit(frames: bytes) -> None:
    def flood(connection: Connection) -> None:
        connection.flood(frames * 1000)

    result = check_peer(respond_to_call(settings(), flood), timeout=LIMIT)
    assert result.reason in (Reason.TIMEOUT, Reason.INVALID_RESPONSE), result
    assert result.elapsed < LIMIT + GRACE


# List


def test_list_tells_every_service() -> None:
    statuses = {"b": 2, "": 1, "a": 1, "größe": 0}
    with grpc_server(ListingServicer(statuses)) as port:
        result = list_services(parse_target(f"grpc://127.0.0.1:{port}"), OPTIONS, LONG)
    assert result.statuses == {
        "": "SERVING",
        "a": "SERVING",
        "b": "NOT_SERVING",
        "größe": "UNKNOWN",
    }
    assert list(result.statuses) == sorted(statuses)
    assert (result.check.healthy, result.check.reason) == (False, Reason.NOT_SERVING)
    assert result.check.status == "NOT_SERVING"
    assert result.check.detail == "service b is NOT_SERVING, and 1 more are not SERVING"


def test_list_is_healthy_when_all_are_serving() -> None:
    statuses = {f"{number:04}" * 50: 1 for number in range(MAX_SERVICES)}  # more than a window
    with grpc_server(ListingServicer(statuses)) as port:
        result = list_services(parse_target(f"grpc://127.0.0.1:{port}/"), OPTIONS, LONG)
    assert result.check.healthy
    assert result.statuses == dict.fromkeys(statuses, "SERVING")


def test_an_empty_list_is_not_healthy() -> None:
    with grpc_server(ListingServicer({})) as port:
        result = list_services(parse_target(f"grpc://127.0.0.1:{port}"), OPTIONS, LONG)
    assert (result.check.healthy, result.statuses) == (False, {})
    assert result.check.reason is Reason.UNKNOWN_SERVICE


def test_list_of_a_server_that_has_none(server: str) -> None:
    result = list_services(parse_target(server), OPTIONS, LONG)
    assert (result.check.reason, result.statuses) == (Reason.UNIMPLEMENTED, {})


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ({str(number): 1 for number in range(MAX_SERVICES + 1)}, "services"),
        ({str(number) + "x" * 1000: 1 for number in range(300)}, "bytes"),
    ],
)
def test_a_list_that_is_too_long_is_refused(statuses: dict[str, int], words: str) -> None:
    with grpc_server(ListingServicer(statuses)) as port:
        result = list_services(parse_target(f"grpc://127.0.0.1:{port}"), OPTIONS, LONG)
    assert result.check.reason is Reason.INVALID_RESPONSE
    assert words in result.check.detail


# Watch


def watch(port: int, service: str = "", timeout: float = LONG) -> Iterator[CheckResult]:
    target = parse_target(f"grpc://127.0.0.1:{port}/{service}")
    return watch_service(target, OPTIONS, timeout)


def test_watch_tells_each_change() -> None:
    servicer = health.HealthServicer()
    with grpc_server(servicer) as port:
        results = watch(port, "accounts")
        first = next(results)
        assert (first.reason, first.status) == (Reason.UNKNOWN_SERVICE, "SERVICE_UNKNOWN")
        for status, reason in (
            (STATUS.SERVING, Reason.OK),
            (STATUS.NOT_SERVING, Reason.NOT_SERVING),
            (STATUS.UNKNOWN, Reason.NOT_SERVING),
            (STATUS.SERVING, Reason.OK),
        ):
            servicer.set("accounts", status)
            result = next(results)
            assert (result.reason, result.status) == (reason, STATUS.ServingStatus.Name(status))
    last = next(results)  # the server has stopped
    assert not last.healthy
    assert next(results, None) is None


def test_a_watch_does_not_keep_a_server_from_stopping() -> None:
    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool)
        add_HealthServicer_to_server(health.HealthServicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        results = watch(port)
        assert next(results).healthy
        stopped = server.stop(grace=LONG)
        last = next(results)
        assert (last.reason, "GOAWAY" in last.detail) == (Reason.CONNECTION_RESET, True)
        assert next(results, None) is None
        assert stopped.wait(LONG / 2)


def test_watch_of_a_server_that_has_none() -> None:
    code = grpc.StatusCode.UNIMPLEMENTED
    with grpc_server(FailingServicer(code, "no Watch")) as port:
        (result,) = watch(port)
    assert (result.reason, result.status) == (Reason.UNIMPLEMENTED, "UNIMPLEMENTED")


def test_watch_of_nobody() -> None:
    with refusing_port() as port:
        (result,) = watch(port)
    assert result.reason is Reason.CONNECTION_REFUSED


@pytest.mark.timing
def test_the_first_message_has_a_limit() -> None:
    with Peer(respond_to_call(settings() + headers())) as peer:
        (result,) = watch(peer.port, timeout=LIMIT)
    assert result.reason is Reason.TIMEOUT
    assert LIMIT <= result.elapsed < LIMIT + GRACE


@pytest.mark.timing
def test_cancel_ends_a_watch_at_once() -> None:
    with grpc_server(health.HealthServicer()) as port, Cancel() as cancel:
        target = parse_target(f"grpc://127.0.0.1:{port}")
        results = watch_service(target, OPTIONS, LONG, cancel)
        assert next(results).healthy
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(next, results)
            start = time.monotonic()
            cancel.set()
            with pytest.raises(Cancelled):
                waiting.result(timeout=LONG)
            assert time.monotonic() - start < GRACE


def test_cancel_ends_a_watch_that_is_never_quiet() -> None:
    def flood(connection: Connection) -> None:
        connection.flood(data(SERVING) * 100)

    with Peer(respond_to_call(settings() + headers(), flood)) as peer, Cancel() as cancel:
        target = parse_target(f"grpc://127.0.0.1:{peer.port}")
        results = watch_service(target, OPTIONS, LONG, cancel)
        assert next(results).healthy
        cancel.set()
        with pytest.raises(Cancelled):
            next(results)


def test_closing_the_iterator_closes_the_connection() -> None:
    gone = []

    def behave(connection: Connection) -> None:
        connection.hold()
        gone.append(True)

    with Peer(respond_to_call(settings() + headers() + data(SERVING), behave)) as peer:
        results = watch(peer.port)
        assert next(results).healthy
        assert not gone
        assert hasattr(results, "close")
        results.close()
        poll(lambda: gone, timeout=LONG, what="the end of the connection")


@pytest.mark.parametrize("first", [b"", settings_ack() * 3], ids=["right", "too many ACKs"])
def test_a_quiet_watch_asks_for_signs_of_life(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_INTERVAL", 0.02)
    behaviour = AliveWatch(first, settings_wanted=10)
    with Peer(behaviour) as peer:
        results = watch(peer.port)
        assert [next(results).status, next(results).status] == ["SERVING", "NOT_SERVING"]
        results.close()  # type: ignore[attr-defined]
    assert behaviour.pings_seen == 0


def test_a_grpcio_server_does_not_mind_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_INTERVAL", 0.02)
    request = mock.create_autospec(
        ClientConnection.request_sign_of_life, side_effect=ClientConnection.request_sign_of_life
    )
    monkeypatch.setattr(ClientConnection, "request_sign_of_life", request)
    servicer = health.HealthServicer()
    # If the test fails, the end of the server ends the wait.
    with ThreadPoolExecutor() as pool, grpc_server(servicer) as port:
        results = watch(port)
        assert next(results).healthy
        waiting = pool.submit(next, results)
        poll(lambda: request.call_count >= 10, timeout=LONG, what="ten signs of life")
        servicer.set("", STATUS.NOT_SERVING)
        assert waiting.result(timeout=LONG).status == "NOT_SERVING"
        results.close()  # type: ignore[attr-defined]


@pytest.mark.timing
def test_a_peer_that_gives_no_sign_of_life_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_INTERVAL", 0.1)
    with Peer(respond_to_call(settings() + settings_ack() + headers() + data(SERVING))) as peer:
        first, last = watch(peer.port, timeout=LIMIT)
    assert first.healthy
    assert last.reason is Reason.TIMEOUT
    assert "no keepalive response" in last.detail
    assert 0.1 + LIMIT <= last.elapsed < 0.1 + LIMIT + GRACE
