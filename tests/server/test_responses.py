"""The responses of a health server, without a server: endpoints, formats and the Accept header."""

from __future__ import annotations

import json
from typing import Any

import pytest

from healthchecker import CheckOutcome, HealthReport, HealthState
from healthchecker._server.accept import preferred
from healthchecker._server.responses import Endpoints, Kind, Question, Request, Response

JSON = "application/json"
HEALTH = "application/health+json"
ACTUATOR = "application/vnd.spring-boot.actuator.v3+json"
TYPES = ("text/plain", JSON, HEALTH, ACTUATOR)

READY = HealthReport({"ready": CheckOutcome(True), "db": CheckOutcome(True, elapsed=0.0012)})
DEGRADED = HealthReport(
    {"ready": CheckOutcome(True), "cache": CheckOutcome(False, "timeout: x", critical=False)}
)
DOWN = HealthReport({"ready": CheckOutcome(True), "db": CheckOutcome(False, "raised OSError")})
NOT_READY = HealthReport({"ready": CheckOutcome(False, "not ready"), "db": CheckOutcome(True)})


def endpoints(path: str = "/healthz", **options: Any) -> Endpoints:
    defaults: dict[str, Any] = {"daprd": False, "response_format": "text", "details": True}
    return Endpoints(path, **{**defaults, **options})


def respond(
    report: HealthReport, accept: str = "", query: str = "", method: str = "GET", **options: Any
) -> Response:
    served = endpoints(**options)
    request = Request(method, "/healthz", query, accept)
    question = served.read(request)
    assert isinstance(question, Question)
    return served.respond(request, question, report)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        (JSON, JSON),
        ("Application/JSON", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/json;Q=0.5", JSON),
        ("application/json, */*", JSON),
        ("application/*", JSON),
        ("text/html, application/json;q=0.9", JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain"),
        ("application/json;q=0", "text/plain"),
        ("application/json;q=0, */*", "text/plain"),
        ("application/json;q=0.0, application/*", HEALTH),
        ("application/json;q=0.4, application/health+json;q=0.5", HEALTH),
        ("application/json;q=0.5, application/health+json;q=0.4", JSON),
        (ACTUATOR, ACTUATOR),
        ("*/*;q=0", "text/plain"),
        ("image/png", "text/plain"),
        ("application/json;q=2", "text/plain"),
        ("application/json;q=x", "text/plain"),
        ("rubbish, application/json", JSON),
        (", ,", "text/plain"),
        ("text/plain, application/json", "text/plain"),
    ],
)
def test_accept_is_read_as_the_rfc_says(accept: str, chosen: str) -> None:
    assert preferred(accept, TYPES) == chosen


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/healthz", Question(Kind.READY, "healthz")),
        ("/healthz/", Question(Kind.READY, "healthz")),
        ("/readyz", Question(Kind.READY, "readyz")),
        ("/readyz/db", Question(Kind.READY, "readyz", "db")),
        ("/healthz/db/", Question(Kind.READY, "healthz", "db")),
        ("/livez", Question(Kind.LIVE, "livez")),
        ("/livez/ping", Question(Kind.LIVE, "livez", "ping")),
        ("/startupz", Question(Kind.STARTED, "startupz")),
        ("/", None),
        ("", None),
        ("/health", None),
        ("/readyz/a/b", None),
        ("//readyz", None),
        ("/Readyz", None),
    ],
)
def test_endpoints(path: str, expected: Question | None) -> None:
    read = endpoints().read(Request("GET", path))
    if expected is None:
        assert isinstance(read, Response)
        assert read.status == 404
    else:
        assert read == expected


def test_excluded_names_are_read_from_the_query() -> None:
    read = endpoints().read(Request("GET", "/readyz", "verbose&exclude=db&exclude=cache&exclude="))
    assert read == Question(Kind.READY, "readyz", exclude=frozenset({"db", "cache"}))


def test_another_method_is_told_which_are_allowed() -> None:
    read = endpoints().read(Request("POST", "/readyz"))
    assert isinstance(read, Response)
    assert read.status == 405
    assert dict(read.headers)["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("report", [READY, DEGRADED, DOWN, NOT_READY])
@pytest.mark.parametrize("accept", ["", JSON, HEALTH, ACTUATOR])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_response_may_be_stored(report: HealthReport, accept: str, method: str) -> None:
    response = respond(report, accept, method=method)
    headers = dict(response.headers)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Vary"] == "Accept"
    assert response.status == (200 if report else 503)
    got = respond(report, accept)
    assert headers["Content-Length"] == str(len(got.body))
    assert response.body == (got.body if method == "GET" else b"")


def test_states() -> None:
    states = [report.state for report in (READY, DEGRADED, DOWN, NOT_READY)]
    assert states == [
        *(HealthState.HEALTHY, HealthState.DEGRADED),
        *(HealthState.UNHEALTHY, HealthState.UNHEALTHY),
    ]
    assert [bool(report) for report in (READY, DEGRADED, DOWN, NOT_READY)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("report", "lines"),
    [
        (READY, ["[+]ready ok", "[+]db ok", "healthz check passed"]),
        (
            DEGRADED,
            [
                "[+]ready ok",
                "[-]cache failed, not critical: timeout: x",
                "healthz check passed, degraded",
            ],
        ),
        (DOWN, ["[+]ready ok", "[-]db failed: raised OSError", "healthz check failed"]),
    ],
)
def test_verbose_text(report: HealthReport, lines: list[str]) -> None:
    response = respond(report, query="verbose")
    assert response.body.decode().splitlines() == lines
    assert dict(response.headers)["Content-Type"] == "text/plain; charset=utf-8"


def test_verbose_text_names_what_was_excluded() -> None:
    body = respond(READY, query="verbose&exclude=cache").body.decode()
    assert "[+]cache excluded: ok\n" in body


@pytest.mark.parametrize(
    ("report", "status", "checks"),
    [
        (READY, "pass", {"ready": "pass", "db": "pass"}),
        (DEGRADED, "warn", {"ready": "pass", "cache": "warn"}),
        (DOWN, "fail", {"ready": "pass", "db": "fail"}),
        (NOT_READY, "fail", {"ready": "fail", "db": "pass"}),
    ],
)
def test_health_json(report: HealthReport, status: str, checks: dict[str, str]) -> None:
    response = respond(report, HEALTH)
    assert dict(response.headers)["Content-Type"] == HEALTH
    shown = json.loads(response.body)
    assert shown["status"] == status
    assert {name: one["status"] for name, (one,) in shown["checks"].items()} == checks
    if report is DOWN:
        assert shown["checks"]["db"][0]["output"] == "raised OSError"
    if report is READY:
        assert shown["checks"]["db"][0] == {
            "status": "pass",
            "observedValue": 1.2,
            "observedUnit": "ms",
        }


@pytest.mark.parametrize(
    ("report", "status", "components"),
    [
        (READY, "UP", {"ready": "UP", "db": "UP"}),
        (DEGRADED, "UP", {"ready": "UP", "cache": "DOWN"}),
        (DOWN, "DOWN", {"ready": "UP", "db": "DOWN"}),
        (NOT_READY, "OUT_OF_SERVICE", {"ready": "OUT_OF_SERVICE", "db": "UP"}),
    ],
)
def test_actuator(report: HealthReport, status: str, components: dict[str, str]) -> None:
    shown = json.loads(respond(report, ACTUATOR).body)
    assert shown["status"] == status
    assert {name: one["status"] for name, one in shown["components"].items()} == components


@pytest.mark.parametrize(
    ("response_format", "media_type"),
    [("json", JSON), ("health+json", HEALTH), ("actuator", ACTUATOR)],
)
@pytest.mark.parametrize("accept", ["", "*/*"])
def test_the_default_format(response_format: str, media_type: str, accept: str) -> None:
    response = respond(DOWN, accept, response_format=response_format)
    assert dict(response.headers)["Content-Type"] == media_type
    assert respond(DOWN, "text/plain", response_format=response_format).body == b""


@pytest.mark.parametrize("report", [DEGRADED, DOWN, NOT_READY])
@pytest.mark.parametrize("accept", ["text/plain", JSON, HEALTH, ACTUATOR])
def test_without_details_no_response_says_why(report: HealthReport, accept: str) -> None:
    body = respond(report, accept, query="verbose", details=False).body.decode()
    for one in report.checks.values():
        assert not one.detail or one.detail not in body
    if accept == "text/plain":
        assert ": reason withheld\n" in body


def test_like_daprd() -> None:
    served = endpoints("/v1.0/healthz", daprd=True)
    request = Request("GET", "/v1.0/healthz", "verbose", JSON)
    question = served.read(request)
    assert isinstance(question, Question)
    assert question.like_daprd
    good = served.respond(request, question, DEGRADED)
    assert (good.status, good.body, "Content-Length" in dict(good.headers)) == (204, b"", False)
    bad = served.respond(request, question, DOWN)
    assert bad.status == 500
    assert json.loads(bad.body) == {
        "errorCode": "ERR_HEALTH_NOT_READY",
        "message": "not ready: db",
    }
