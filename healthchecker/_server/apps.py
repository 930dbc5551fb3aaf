"""The ASGI and the WSGI app of a health server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, MutableMapping
from typing import Any, NoReturn

from healthchecker._server.background import background
from healthchecker._server.responses import Request, Response, unavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiCallable = Callable[[Scope, Receive, Send], Awaitable[None]]
StartResponse = Callable[..., object]

Respond = Callable[..., Coroutine[Any, Any, Response]]
"""Returns the response to a request; `on_asyncio` is false if the program uses another loop."""


class AsgiApp:
    """The endpoints as an ASGI app, to mount or to serve.

    Under asyncio checks run on the program's loop; under trio they run on a thread.
    """

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    def __getattr__(self, name: str) -> NoReturn:
        # FastAPI's include_router() and Starlette's routes look for the parts of a router here.
        raise AttributeError(
            f"HealthServer.app has no attribute {name!r}: it is an ASGI app, not a router;"
            " mount it, as in app.mount('/internal', server.app)"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            await _send_response(await self._response(_read_scope(scope)), send)

    async def _response(self, request: Request) -> Response:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # trio
            import anyio.to_thread  # noqa: PLC0415 - only trio needs it

            try:
                running = background.run(self._respond(request, on_asyncio=False))
            except RuntimeError:  # no thread can be started
                return unavailable(request)
            return await anyio.to_thread.run_sync(running.result, abandon_on_cancel=True)
        return await self._respond(request)


class WsgiApp:
    """The endpoints as a WSGI app, to mount or to serve. Checks run on a thread of their own."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    def __call__(
        self, environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        request = Request(
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", ""),
            environ.get("QUERY_STRING", ""),
            environ.get("HTTP_ACCEPT", ""),
        )
        try:
            response = background.run(self._respond(request)).result()
        except RuntimeError:  # no thread can be started
            response = unavailable(request)
        status = f"{response.status.value} {response.status.phrase}"
        start_response(status, list(response.headers))
        return [response.body] if response.body else []


async def _live(receive: Receive, send: Send) -> None:
    """Complete the events of the lifespan protocol: there is nothing to start or to stop."""
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})


def _read_scope(scope: Scope) -> Request:
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    if root and path.startswith(root + "/"):
        path = path[len(root) :]
    accept = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")
    query = scope.get("query_string", b"").decode("latin-1")
    return Request(scope["method"], path, query, accept.decode("latin-1"))


async def _send_response(response: Response, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
