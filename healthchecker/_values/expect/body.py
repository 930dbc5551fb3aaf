"""What a body must contain: texts, matches of regular expressions, values in JSON. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from healthchecker._values.expect.json_path import JsonError, JsonExpectation, read_json
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.text import encode

if TYPE_CHECKING:
    from healthchecker._values.expect.regex import Pattern

MAX_BODY_BYTES = 256 * 1024
"""A body with expectations is searched up to here: read as JSON it may need thirty times this."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body, or the start of one that is longer than `MAX_BODY_BYTES`."""

    data: bytes
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class BodyExpectations:
    """What a body must contain; nothing by default."""

    texts: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    values: tuple[JsonExpectation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.texts or self.patterns or self.values)


def judge_body(
    expected: BodyExpectations, body: Body, status: int, tick: Callable[[], object]
) -> None:
    """Require texts and matches of patterns in the body, and values in its JSON.

    An exception from `tick` ends a long search.
    """
    place = "the body" if body.is_whole else f"the first {MAX_BODY_BYTES} bytes of the body"
    for text in expected.texts:
        if encode(text) not in body.data:
            raise _unexpected_body(f"{text!r} not found in {place}", status)
    if expected.patterns:
        found = body.data.decode("utf-8", "replace")
        for pattern in expected.patterns:
            if not pattern.found_in(found, tick):
                raise _unexpected_body(f"{pattern.text!r} does not match {place}", status)
    if expected.values:
        _judge_json(expected.values, body, status, tick)


def _judge_json(
    values: Iterable[JsonExpectation], body: Body, status: int, tick: Callable[[], object]
) -> None:
    if not body.is_whole:
        problem = f"body too large to parse as JSON (more than {MAX_BODY_BYTES} bytes)"
        raise _unexpected_body(problem, status)
    try:
        document = read_json(body.data)
    except JsonError as error:
        raise _unexpected_body(f"the body is {error}", status) from error
    for value in values:
        difference = value.problem(document, tick)
        if difference is not None:
            raise _unexpected_body(f"JSON body: {difference}", status)


def _unexpected_body(message: str, status: int) -> UnexpectedResponse:
    return UnexpectedResponse(Reason.UNEXPECTED_BODY, message, status)
