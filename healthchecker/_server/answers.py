"""The routes of a health server, and what they answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

from healthchecker._server.checks import Outcome

Ask = Callable[[], Awaitable[dict[str, Outcome]]]
Endpoint = Callable[[Request], Awaitable[Response]]

_OK = 200
_NO_CONTENT = 204
_SERVER_ERROR = 500
_UNAVAILABLE = 503


def make_router(path: str, alive: Ask, ready: Ask, *, daprd: bool) -> Router:
    """Return the app: `path` and /readyz for readiness, /livez for liveness."""
    return Router(
        [
            Route(path, _daprd(ready) if daprd else _kubernetes(ready)),
            Route("/readyz", _kubernetes(ready)),
            Route("/livez", _kubernetes(alive)),
        ],
        redirect_slashes=False,
    )


def _kubernetes(ask: Ask) -> Endpoint:
    """Answer as the endpoints of Kubernetes' API server do; without `?verbose`, with no body."""

    async def answer(request: Request) -> Response:
        outcomes = await ask()
        healthy = all(outcome.healthy for outcome in outcomes.values())
        status = _OK if healthy else _UNAVAILABLE
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(_to_json(outcomes, healthy), status)
        if "verbose" in request.query_params:
            name = request.url.path.rpartition("/")[2]
            return PlainTextResponse(_to_text(name, outcomes, healthy), status)
        return Response(status_code=status)

    return answer


def _daprd(ask: Ask) -> Endpoint:
    """Answer as daprd's `/v1.0/healthz` does."""

    async def answer(_request: Request) -> Response:
        failed = [name for name, outcome in (await ask()).items() if not outcome.healthy]
        if not failed:
            return Response(status_code=_NO_CONTENT)
        error = {"errorCode": "ERR_HEALTH_NOT_READY", "message": f"not ready: {', '.join(failed)}"}
        return JSONResponse(error, _SERVER_ERROR)

    return answer


def _to_json(outcomes: dict[str, Outcome], healthy: bool) -> dict[str, object]:
    checks = [
        {
            "name": name,
            "healthy": outcome.healthy,
            "detail": outcome.detail,
            "elapsed_ms": round(outcome.elapsed * 1000, 1),
        }
        for name, outcome in outcomes.items()
    ]
    return {"healthy": healthy, "checks": checks}


def _to_text(endpoint: str, outcomes: dict[str, Outcome], healthy: bool) -> str:
    lines = [
        f"[+]{name} ok" if outcome.healthy else f"[-]{name} failed: {outcome.detail}"
        for name, outcome in outcomes.items()
    ]
    return "\n".join([*lines, f"{endpoint} check {'passed' if healthy else 'failed'}\n"])
