"""The endpoints of a health server, and their responses. Pure: no I/O, no framework.

The endpoints are those of the Kubernetes API server (`/livez`, `/readyz`, `/readyz/NAME`,
`?verbose`, `?exclude=NAME`) and of daprd (`/v1.0/healthz`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from urllib.parse import parse_qs

from healthchecker._server.accept import preferred
from healthchecker._server.report import CheckOutcome, HealthReport, HealthState
from healthchecker._values.result import BadArgumentError

READY = "ready"
"""The name under which the state that the program set itself is reported."""
ALIVE = "ping"
"""The check of liveness that always passes: the server responds."""

_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_TEXT = "text/plain"


class Kind(Enum):
    """What an endpoint reports."""

    LIVE = "/livez"
    READY = "/readyz"
    STARTED = "/startupz"


@dataclass(frozen=True, slots=True)
class Request:
    """The part of an HTTP request that matters here."""

    method: str
    path: str
    """Relative to where the app is mounted."""
    query: str = ""
    accept: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. A response to `HEAD` has the headers of `GET`, and no body."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Question:
    """The report that a request needs."""

    kind: Kind
    endpoint: str
    """The name of the endpoint, such as `readyz`."""
    only: str | None = None
    """The name of the single check, or None for all."""
    exclude: frozenset[str] = frozenset()
    like_daprd: bool = False


class Endpoints:
    """The endpoints of one server, and the form of their responses."""

    def __init__(self, path: str, *, daprd: bool, response_format: str, details: bool) -> None:
        self._kinds = {f"{kind.value}": kind for kind in Kind} | {path: Kind.READY}
        self._daprd_path = path if daprd else None
        self._details = details
        types = list(_FORMATS)
        types.sort(key=lambda media_type: media_type != _MEDIA_TYPES[response_format])
        self._types = types

    def read(self, request: Request) -> Question | Response:
        """Return the question of the request, or the response if it needs no report."""
        path = request.path
        if len(path) > 1 and path.endswith("/"):
            path = path[:-1]  # Litestar adds one
        kind, only = self._kinds.get(path), None
        if kind is None:
            path, _, only = path.rpartition("/")
            kind = self._kinds.get(path)
        like_daprd = path == self._daprd_path
        if kind is None or (only is not None and like_daprd):
            return not_found(request)
        if request.method not in ("GET", "HEAD"):
            return _response(
                request, HTTPStatus.METHOD_NOT_ALLOWED, b"", _TEXT, ("Allow", "GET, HEAD")
            )
        query = parse_qs(request.query, keep_blank_values=True)
        exclude = frozenset(query.get("exclude", ())) - {""}
        return Question(kind, path.rpartition("/")[2], only, exclude, like_daprd)

    def respond(self, request: Request, question: Question, report: HealthReport) -> Response:
        """Return the response that carries the report."""
        if question.like_daprd:
            return _daprd_response(request, report)
        if not self._details:
            report = _without_details(report)
        status = HTTPStatus.OK if report else HTTPStatus.SERVICE_UNAVAILABLE
        media_type = preferred(request.accept, self._types)
        if media_type != _TEXT:
            body = json.dumps(_FORMATS[media_type](report)).encode()
        elif "verbose" in parse_qs(request.query, keep_blank_values=True):
            body = _to_text(question, report, withheld=not self._details).encode()
        else:
            body = b""
        return _response(request, status, body, media_type)


def check_path(path: object, *, daprd: bool) -> str:
    """Return the path of the main endpoint, or the default; raise `BadArgumentError`."""
    if path is None:
        return "/v1.0/healthz" if daprd else "/healthz"
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise BadArgumentError("path", path, "must be a plain path such as /healthz")
    for kind in Kind:
        if path == kind.value or path.startswith(kind.value + "/"):
            raise BadArgumentError("path", path, "is served already; choose another path")
    return path


def check_response_format(value: object) -> str:
    """Return the name of a format; raise `BadArgumentError`."""
    if not isinstance(value, str) or value not in _MEDIA_TYPES:
        names = ", ".join(_MEDIA_TYPES)
        raise BadArgumentError("response_format", value, f"must be one of {names}")
    return value


def not_found(request: Request) -> Response:
    """Return the response for a path or a check that does not exist."""
    return _response(request, HTTPStatus.NOT_FOUND, b"", _TEXT)


def unavailable(request: Request) -> Response:
    """Return the response if the checks cannot run at all."""
    return _response(request, HTTPStatus.SERVICE_UNAVAILABLE, b"", _TEXT)


def _response(
    request: Request,
    status: HTTPStatus,
    body: bytes,
    media_type: str,
    *headers: tuple[str, str],
) -> Response:
    if status is not HTTPStatus.NO_CONTENT:
        charset = "; charset=utf-8" if media_type == _TEXT else ""
        length = ("Content-Length", str(len(body)))
        headers = (("Content-Type", media_type + charset), length, *headers)
    headers = (*headers, ("Cache-Control", "no-store"), ("Vary", "Accept"))
    return Response(status, headers, b"" if request.method == "HEAD" else body)


def _daprd_response(request: Request, report: HealthReport) -> Response:
    """Respond as daprd's `/v1.0/healthz` does."""
    if report:
        return _response(request, HTTPStatus.NO_CONTENT, b"", _TEXT)
    failed = [name for name, one in report.checks.items() if one.critical and not one.healthy]
    error = {"errorCode": "ERR_HEALTH_NOT_READY", "message": f"not ready: {', '.join(failed)}"}
    body = json.dumps(error).encode()
    return _response(request, HTTPStatus.INTERNAL_SERVER_ERROR, body, "application/json")


def _without_details(report: HealthReport) -> HealthReport:
    return HealthReport(
        {
            name: CheckOutcome(one.healthy, elapsed=one.elapsed, critical=one.critical)
            for name, one in report.checks.items()
        }
    )


def _to_text(question: Question, report: HealthReport, *, withheld: bool) -> str:
    lines = []
    for name, one in report.checks.items():
        if one.healthy:
            lines.append(f"[+]{name} ok")
        else:
            failed = "failed" if one.critical else "failed, not critical"
            detail = "reason withheld" if withheld else one.detail
            lines.append(f"[-]{name} {failed}: {detail}")
    lines += [f"[+]{name} excluded: ok" for name in sorted(question.exclude)]
    verdict = "passed" if report else "failed"
    if report.state is HealthState.DEGRADED:
        verdict += ", degraded"
    return "\n".join([*lines, f"{question.endpoint} check {verdict}\n"])


def _to_health_json(report: HealthReport) -> dict[str, object]:
    """Return the object of draft-inadarei-api-health-check-06."""
    statuses = {
        HealthState.HEALTHY: "pass",
        HealthState.DEGRADED: "warn",
        HealthState.UNHEALTHY: "fail",
    }
    checks: dict[str, object] = {}
    for name, one in report.checks.items():
        status = "pass" if one.healthy else "fail" if one.critical else "warn"
        checks[name] = [
            {
                "status": status,
                "observedValue": round(one.elapsed * 1000, 1),
                "observedUnit": "ms",
                **({"output": one.detail} if one.detail and not one.healthy else {}),
            }
        ]
    return {"status": statuses[report.state], "checks": checks}


def _to_actuator(report: HealthReport) -> dict[str, object]:
    """Return the object of Spring Boot's actuator, `/actuator/health`."""
    components = {
        name: {
            "status": "UP" if one.healthy else "OUT_OF_SERVICE" if name == READY else "DOWN",
            **({"details": {"detail": one.detail}} if one.detail else {}),
        }
        for name, one in report.checks.items()
    }
    is_down = any(
        name != READY and one.critical and not one.healthy for name, one in report.checks.items()
    )
    status = "UP" if report else "DOWN" if is_down else "OUT_OF_SERVICE"
    return {"status": status, "components": components}


_MEDIA_TYPES = {
    "text": _TEXT,
    "json": "application/json",
    "health+json": "application/health+json",
    "actuator": "application/vnd.spring-boot.actuator.v3+json",
}
_FORMATS: Mapping[str, Callable[[HealthReport], object]] = {
    _TEXT: HealthReport.to_dict,  # without ?verbose it has no body
    "application/json": HealthReport.to_dict,
    "application/health+json": _to_health_json,
    "application/vnd.spring-boot.actuator.v3+json": _to_actuator,
}
