"""Is this service healthy? Checks of many protocols, each within one total timeout.

`check` checks a target once, `check_all` checks several, and `watch` probes one repeatedly;
`acheck`, `acheck_all` and `awatch` do so in asyncio. `HealthServer` and `Heartbeat` let a program
report its own health.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from healthchecker._version import VERSION

if TYPE_CHECKING:
    from healthchecker._run.acheck import acheck, acheck_all
    from healthchecker._run.check import check, check_all
    from healthchecker._server.checks import ServerCheck
    from healthchecker._server.heartbeat import Heartbeat
    from healthchecker._server.listen import ServerStartError
    from healthchecker._server.report import CheckOutcome, HealthReport, HealthState
    from healthchecker._server.server import HealthServer
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
    "CheckOutcome",
    "CheckResult",
    "HealthReport",
    "HealthServer",
    "HealthState",
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

# Each is imported when it is first used: no program needs all of them, and the command line must
# run first when OpenSSL is loaded (see `_cli.openssl`).
_PLACES = {
    "AsyncWatch": "_watch.awatch",
    "BadArgumentError": "_values.result",
    "CheckOutcome": "_server.report",
    "CheckResult": "_values.result",
    "HealthReport": "_server.report",
    "HealthServer": "_server.server",
    "HealthState": "_server.report",
    "Heartbeat": "_server.heartbeat",
    "Observation": "_watch.rule",
    "OptionValues": "_values.options",
    "Phase": "_values.result",
    "Reason": "_values.result",
    "ServerCheck": "_server.checks",
    "ServerStartError": "_server.listen",
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
    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
