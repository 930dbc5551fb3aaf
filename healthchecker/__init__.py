"""Is this service healthy? Checks over HTTP, TCP and gRPC, each inside one total time limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from healthchecker._check import check
from healthchecker._result import BadArgumentError, CheckResult, Reason
from healthchecker._watch.watch import Watch, watch

if TYPE_CHECKING:
    from healthchecker._server import HealthServer, ServerStartError
    from healthchecker._watch.awatch import AsyncWatch, awatch

__all__ = [
    "AsyncWatch",
    "BadArgumentError",
    "CheckResult",
    "HealthServer",
    "Reason",
    "ServerStartError",
    "Watch",
    "awatch",
    "check",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Import what a check does not need, and what needs an extra, when it is first asked for."""
    if name in ("AsyncWatch", "awatch"):
        from healthchecker._watch import awatch  # noqa: PLC0415

        return getattr(awatch, name)
    if name in ("HealthServer", "ServerStartError"):
        try:
            from healthchecker import _server  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{name} needs {error.name}: install healthchecker[server]", name=error.name
            ) from error
        return getattr(_server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
