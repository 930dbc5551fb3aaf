"""The HTTP side: accounts, health, and the switch that makes the service unhealthy."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from accountservice.database import Database, DatabaseError
from accountservice.health import Health

# The boolean values that Go's strconv.ParseBool accepts.
_STATES = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def create_app(database: Database, health: Health, *, testability: bool) -> Starlette:
    """Make the ASGI app over this database and this health state."""

    def inaccessible() -> JSONResponse:
        return JSONResponse({"status": "Database unaccessible"}, status_code=503)

    async def get_account(request: Request) -> Response:
        try:
            account = await database.account(request.path_params["account_id"])
        except DatabaseError:
            return inaccessible()
        if account is None:
            raise HTTPException(404)
        return JSONResponse({"id": account.id, "name": account.name})

    async def get_health(_: Request) -> Response:
        return JSONResponse({"status": "UP"}) if await health.check() else inaccessible()

    async def set_healthy(request: Request) -> Response:
        state = _STATES.get(request.path_params["state"])
        if state is None:
            raise HTTPException(400, "the state must be true or false")
        await health.switch(state)
        return Response()

    routes = [
        Route("/accounts/{account_id}", get_account),
        Route("/health", get_health),
        *(Route(path, health.server.app) for path in ("/livez", "/readyz", "/healthz")),
    ]
    if testability:
        routes.append(Route("/testability/healthy/{state}", set_healthy))
    return Starlette(routes=routes)
