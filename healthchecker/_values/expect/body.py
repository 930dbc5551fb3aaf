"""What a body must contain: texts, matches of regular expressions, values in JSON. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from healthchecker._values.expect.json_path import JsonError, JsonExpectation, read_json
from healthchecker._values.result import BadArgumentError, Reason, UnexpectedResponse
from healthchecker._values.text import encode
from healthchecker._values.validate import texts

if TYPE_CHECKING:
    from healthchecker._values.expect.regex import Pattern

MAX_BODY_BYTES = 256 * 1024
"""A body with expectations is searched up to here: read as JSON it may need thirty times this."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body, or the start of one that is longer than what is looked at."""

    data: bytes
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class BodyExpectations:
    """What a body must be; nothing by default."""

    texts: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    values: tuple[JsonExpectation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.texts or self.patterns or self.values)


def judge_body(
    expected: BodyExpectations, body: Body, status: int, tick: Callable[[], object]
) -> None:
    """Demand that texts and patterns are found in the body, and values in the JSON that it is.

    What `tick` raises ends a long search.
    """
    place = "the body" if body.is_whole else f"the first {MAX_BODY_BYTES} bytes of the body"
    for text in expected.texts:
        if encode(text) not in body.data:
            raise _unexpected_body(f"no {text!r} in {place}", status)
    if expected.patterns:
        found = body.data.decode("utf-8", "replace")
        for pattern in expected.patterns:
            if not pattern.found_in(found, tick):
                raise _unexpected_body(f"no match of {pattern.text!r} in {place}", status)
    if expected.values:
        _judge_json(expected.values, body, status)


def _judge_json(values: Iterable[JsonExpectation], body: Body, status: int) -> None:
    if not body.is_whole:
        problem = f"the body is longer than {MAX_BODY_BYTES} bytes, too long to be read as JSON"
        raise _unexpected_body(problem, status)
    try:
        document = read_json(body.data)
    except JsonError as error:
        raise _unexpected_body(f"the body is {error}", status) from error
    for value in values:
        if not value.holds(document):
            raise _unexpected_body(f"{value.demand} in the JSON body", status)


def _unexpected_body(message: str, status: int) -> UnexpectedResponse:
    return UnexpectedResponse(Reason.UNEXPECTED_BODY, message, status)


def patterns(argument: str, value: object) -> tuple[Pattern, ...]:
    """Accept one regular expression or several."""
    # A private part of Python's `re` is needed for patterns only.
    from healthchecker._values.expect.regex import Pattern  # noqa: PLC0415

    accepted = []
    for text in texts(argument, value):
        try:
            accepted.append(Pattern(text))
        except ValueError as error:
            raise BadArgumentError(argument, text, str(error)) from error
    return tuple(accepted)
