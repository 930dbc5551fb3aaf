"""Which headers a response must have. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from healthchecker._values.result import Reason, UnexpectedResponse


def judge_headers(
    expected: Iterable[tuple[str, str | None]], found: Mapping[str, Sequence[str]], status: int
) -> None:
    """Demand that each header is there, and with exactly this value where one is given.

    `found` has lower-case names.
    """
    for name, value in expected:
        values = found.get(name.lower(), ())
        if not values or value not in (None, *values):
            problem = f"no header {name}" + ("" if value is None else " with the expected value")
            raise UnexpectedResponse(Reason.UNEXPECTED_HEADER, problem, status)
