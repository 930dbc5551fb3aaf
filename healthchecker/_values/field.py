"""A field of options: its default, its verification and its documentation in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any, TypeVar

T = TypeVar("T")


def option(
    default: T,
    verify: Callable[[str, object], T],
    meaning: str,
    *,
    unit: str = "",
    for_every_target: bool = False,
    shown: str = "",
) -> T:
    """Declare a field of a dataclass of options.

    `verify(name, value)` returns the value to use or raises `BadArgumentError`. `meaning` and
    `unit` are its documentation; `shown` is the default there if it differs from `repr(default)`.
    """
    metadata = {
        "verify": verify,
        "meaning": meaning,
        "unit": unit,
        "for_every_target": for_every_target,
        "shown": shown or repr(default),
    }
    made: Any = field(default=default, metadata=metadata)
    accepted: T = made
    return accepted
