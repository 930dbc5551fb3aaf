"""Is this service healthy? Checks of many protocols, each inside one total time limit.

`check` asks once, `check_all` asks several, `watch` goes on asking; `acheck`, `acheck_all` and
`awatch` do so for asyncio. `HealthServer` and `Heartbeat` let a program tell of its own health.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from healthchecker._check import check, check_all
from healthchecker._result import BadArgumentError, CheckResult, Phase, Reason, UnhealthyError
from healthchecker._version import VERSION
from healthchecker._watch.rule import Observation
from healthchecker._watch.watch import Watch, watch

if TYPE_CHECKING:
    from healthchecker._acheck import acheck, acheck_all
    from healthchecker._heartbeat import Heartbeat
    from healthchecker._server import HealthServer, ServerStartError
    from healthchecker._watch.awatch import AsyncWatch, awatch

__all__ = [
    "AsyncWatch",
    "BadArgumentError",
    "CheckResult",
    "HealthServer",
    "Heartbeat",
    "Observation",
    "Phase",
    "Reason",
    "ServerStartError",
    "UnhealthyError",
    "Watch",
    "__version__",
    "acheck",
    "acheck_all",
    "awatch",
    "check",
    "check_all",
    "watch",
]

__version__ = VERSION

# What a check does not need is imported when it is first asked for.
_LATER = {
    "AsyncWatch": "_watch.awatch",
    "HealthServer": "_server",
    "Heartbeat": "_heartbeat",
    "ServerStartError": "_server",
    "acheck": "_acheck",
    "acheck_all": "_acheck",
    "awatch": "_watch.awatch",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name} needs {error.name}: install healthchecker[server]", name=error.name
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
