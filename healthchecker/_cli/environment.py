"""The environment as a source of defaults: which of its variables count."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

from healthchecker._protocols.registry import SCHEMES, applies, not_applicable
from healthchecker._values.options import OPTIONS
from healthchecker._values.target import Scheme

_PREFIX = "HEALTHCHECKER_"
_PREFIX_BYTES = _PREFIX.encode()

names_at_start: Sequence[bytes] | None = None
"""The names of our variables, if the start of the process has collected them: from a saved heap."""

# What Kubernetes sets in every container of a namespace for a Service whose name begins with
# `healthchecker`, in the form that Docker's links had.
_SERVICE_LINK = re.compile(
    r"HEALTHCHECKER_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_[A-Z]+(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_PORT = re.compile(r"(tcp|udp|sctp)://")

_WITHOUT_TARGET = ("http:",)  # what --host, --port and --path stand for


def variable_of(option: str) -> str:
    """Return the variable that gives the default of an option such as `--unix-socket`."""
    return _PREFIX + option.removeprefix("--").replace("-", "_").upper()


def variables() -> list[str]:
    """Return the names of our variables; empty ones count as unset."""
    names = names_at_start
    if names is None:
        # Compared as bytes, so that nothing is decoded in the common case of no match.
        names = [name for name in os.environb if name.startswith(_PREFIX_BYTES)]
    return [
        name
        for name in map(os.fsdecode, dict.fromkeys(names))  # one may be set twice
        if os.environ[name] and not is_service_link(name)
    ]


def unknown_variables(known: frozenset[str]) -> list[str]:
    """Return unknown variables, which may be misspelt."""
    return sorted(name for name in variables() if name not in known)


def is_service_link(name: str) -> bool:
    """Return whether Kubernetes has set a variable, for a Service with the same name."""
    return _SERVICE_LINK.fullmatch(name) is not None or (
        name.endswith("_PORT") and _SERVICE_LINK_PORT.match(os.environ.get(name, "")) is not None
    )


def can_use(option: str, targets: Sequence[str], given: Collection[str] = ()) -> bool:
    """Return whether one of the targets can use an option of the command line.

    `given` names other options that are set.
    """
    if option not in OPTIONS:
        return True
    schemes = _schemes(targets).values()
    return not schemes or applies(option, schemes, given)


def refuse_unusable(option: str, targets: Sequence[str], given: Collection[str]) -> None:
    """Raise `BadArgumentError` for an option that no target can use."""
    # A target that cannot be reached over a Unix socket is refused when it is read.
    if option != "unix_socket" and not can_use(option, targets, given):
        raise not_applicable(option, next(iter(_schemes(targets))))


def _schemes(targets: Sequence[str]) -> dict[str, Scheme]:
    """Return the schemes of the targets by name, in order, without those that are no schemes."""
    names = (target.partition(":")[0].lower() for target in targets or _WITHOUT_TARGET)
    return {name: SCHEMES[name] for name in names if name in SCHEMES}
