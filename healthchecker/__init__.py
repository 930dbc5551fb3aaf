"""Is this service healthy? Checks of many protocols, each inside one total time limit.

`check` asks once, `check_all` asks several, `watch` goes on asking; `acheck`, `acheck_all` and
`awatch` do so for asyncio. `HealthServer` and `Heartbeat` let a program tell of its own health.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from healthchecker._version import VERSION

if TYPE_CHECKING:
    from healthchecker._run.acheck import acheck, acheck_all
    from healthchecker._run.check import check, check_all
    from healthchecker._server.heartbeat import Heartbeat
    from healthchecker._server.server import HealthServer, ServerCheck, ServerStartError
    from healthchecker._values.options import OptionValues
    from healthchecker._values.result import (
        BadArgumentError,
        CheckResult,
        Phase,
        Reason,
        UnhealthyError,
    )
    from healthchecker._watch.awatch import AsyncWatch, awatch
    from healthchecker._watch.rule import Observation
    from healthchecker._watch.watch import Watch, watch

__all__ = [
    "AsyncWatch",
    "BadArgumentError",
    "CheckResult",
    "HealthServer",
    "Heartbeat",
    "Observation",
    "OptionValues",
    "Phase",
    "Reason",
    "ServerCheck",
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

# Each is imported when it is first asked for: nobody needs all of them, and the program, of which
# this is the package, has something to do before OpenSSL is loaded (see `_cli.openssl`).
_PLACES = {
    "AsyncWatch": "_watch.awatch",
    "BadArgumentError": "_values.result",
    "CheckResult": "_values.result",
    "HealthServer": "_server.server",
    "Heartbeat": "_server.heartbeat",
    "Observation": "_watch.rule",
    "OptionValues": "_values.options",
    "Phase": "_values.result",
    "Reason": "_values.result",
    "ServerCheck": "_server.server",
    "ServerStartError": "_server.server",
    "UnhealthyError": "_values.result",
    "Watch": "_watch.watch",
    "acheck": "_run.acheck",
    "acheck_all": "_run.acheck",
    "awatch": "_watch.awatch",
    "check": "_run.check",
    "check_all": "_run.check",
    "watch": "_watch.watch",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_PLACES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        # The extra is not installed: whoever makes a server is told.
        module = import_module(f"{__name__}._server.missing")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
