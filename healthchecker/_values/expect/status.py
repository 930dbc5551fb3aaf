"""Which HTTP status codes are healthy. Pure functions, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from healthchecker._values.result import BadArgumentError, Reason, UnexpectedResponse

_STATUS_RANGE = re.compile(r"([1-9]\d\d)(?:-([1-9]\d\d))?|([1-9])xx", re.ASCII | re.IGNORECASE)
_FIRST_FINAL_STATUS = 200
SWITCHING_PROTOCOLS = 101


@dataclass(frozen=True, slots=True)
class StatusSet:
    """The HTTP status codes that count as healthy."""

    ranges: tuple[tuple[int, int], ...]
    text: str

    def __contains__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)


def parse_status(text: str) -> StatusSet:
    """Read `200`, `200,204`, `2xx` or `200-399`."""
    ranges = []
    for part in text.split(","):
        match = _STATUS_RANGE.fullmatch(part.strip())
        if match is None:
            raise BadArgumentError(
                "status", text, "not a status list; expected e.g. 200 or 200,204 or 2xx or 200-399"
            )
        low, high, hundreds = match.groups()
        if hundreds:
            first, last = int(hundreds) * 100, int(hundreds) * 100 + 99
        else:
            first, last = int(low), int(high or low)
        if first > last:
            raise BadArgumentError("status", text, "the range ends before it begins; use 200-299")
        if last < _FIRST_FINAL_STATUS and (first, last) != (SWITCHING_PROTOCOLS,) * 2:
            raise BadArgumentError("status", text, "1xx statuses are never final; use 200-599")
        ranges.append((first, last))
    return StatusSet(tuple(ranges), text)


def judge_status(expected: StatusSet, status: int) -> None:
    """Require one of the statuses."""
    if status not in expected:
        raise UnexpectedResponse(
            Reason.UNEXPECTED_STATUS, f"HTTP status {status}, expected {expected.text}", status
        )


def status_set(argument: str, value: object) -> StatusSet:
    """Accept a status such as 200, "2xx" or [200, 204]."""
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            raise BadArgumentError(
                argument, value, "must be a status such as 200, '2xx' or [200, 204]"
            )
    return parse_status(",".join(str(part) for part in parts))
