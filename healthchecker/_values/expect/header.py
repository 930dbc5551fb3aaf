"""Which headers a response must have. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from healthchecker._values.result import Reason, UnexpectedResponse


def judge_headers(
    expected: Iterable[tuple[str, str | None]], found: Mapping[str, Sequence[str]], status: int
) -> None:
    """Require each header, with exactly this value if one is given.

    `found` has lower-case names.
    """
    for name, value in expected:
        values = found.get(name.lower(), ())
        if not values or value not in (None, *values):
            problem = (
                f"header {name} does not have the expected value"
                if values
                else f"missing header {name}"
            )
            raise UnexpectedResponse(Reason.UNEXPECTED_HEADER, problem, status)
