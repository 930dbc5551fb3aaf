"""Stands in for `server` where the extra that it needs is not installed."""

from __future__ import annotations

from typing import NoReturn

from healthchecker._server.checks import ServerCheck
from healthchecker._server.listen import ServerStartError

__all__ = ["HealthServer", "ServerCheck", "ServerStartError"]


class HealthServer:
    """Dapr's health server. Needs Starlette and uvicorn: install healthchecker-static[server]."""

    def __init__(self, *_arguments: object, **_options: object) -> NoReturn:
        raise ImportError(
            "HealthServer needs Starlette and uvicorn: install healthchecker-static[server]"
        )
