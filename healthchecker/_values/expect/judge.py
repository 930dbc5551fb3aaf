"""What an answer must be: expectations, and answers measured by them. Pure functions, no I/O.

A response that is not as expected is an `UnexpectedResponse`; an invalid expectation is a
`BadArgumentError`, when it is made.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from healthchecker._values.expect.regex import Pattern
from healthchecker._values.result import BadArgumentError, Reason, UnexpectedResponse

MAX_BODY_BYTES = 256 * 1024  # read as JSON, it may need thirty times the memory
"""So much of a body is looked at where something is expected of it."""

MAX_JSON_NESTING = 128
"""Arrays and objects inside each other. Python's parser recurses in C, and the stacks of threads
are small; a depth that is checked beforehand is also the same in every version of Python."""

_STATUS_RANGE = re.compile(r"([1-9]\d\d)(?:-([1-9]\d\d))?|([1-9])xx", re.ASCII | re.IGNORECASE)
_FIRST_FINAL_STATUS = 200
SWITCHING_PROTOCOLS = 101


# Statuses


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
            raise BadArgumentError("status", text, "not a list such as 200, 200,204, 2xx, 200-399")
        low, high, hundreds = match.groups()
        if hundreds:
            first, last = int(hundreds) * 100, int(hundreds) * 100 + 99
        else:
            first, last = int(low), int(high or low)
        if first > last:
            raise BadArgumentError(
                "status", text, "a range that ends before it begins; write 200-299"
            )
        if last < _FIRST_FINAL_STATUS and (first, last) != (SWITCHING_PROTOCOLS,) * 2:
            raise BadArgumentError(
                "status", text, "no answer ends with a status below 200; write 200-599"
            )
        ranges.append((first, last))
    return StatusSet(tuple(ranges), text)


def judge_status(expected: StatusSet, status: int) -> None:
    """Demand one of the statuses."""
    if status not in expected:
        raise UnexpectedResponse(
            Reason.UNEXPECTED_STATUS, f"HTTP status {status}, expected {expected.text}", status
        )


# Headers


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


# Bodies


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


def encode(text: str) -> bytes:
    """Return the bytes that a text of the command line or of the library stands for.

    What is not UTF-8 on a command line comes as lone surrogates, which stand for its bytes.
    """
    return text.encode("utf-8", "surrogateescape")


def _unexpected_body(message: str, status: int) -> UnexpectedResponse:
    return UnexpectedResponse(Reason.UNEXPECTED_BODY, message, status)


# JSON


class JsonError(ValueError):
    """What is not JSON, or cannot be looked at; completes a sentence that begins "it is"."""


@dataclass(frozen=True, slots=True)
class _LongNumber:
    """A number that no number of Python can be made of at once: it equals its own spelling."""

    text: str


_LONGEST_INTEGER = 300
"""Digits; about as many as a float can have. Python itself refuses more than 4,300."""


def _integer(text: str) -> object:
    return int(text) if len(text) <= _LONGEST_INTEGER else _LongNumber(text)


def _float(text: str) -> object:
    number = float(text)
    return number if math.isfinite(number) else _LongNumber(text)


def _constant(text: str) -> object:
    raise ValueError(f"{text} is Python's")  # NaN and Infinity


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant)
_STRUCTURE = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def read_json(data: bytes | str) -> object:
    """Read a document in UTF-8, UTF-16 or UTF-32; raise `JsonError` where it is none."""
    try:
        text = data if isinstance(data, str) else data.decode(json.detect_encoding(data))
        too_deep = _nesting(text) > MAX_JSON_NESTING
        document: object = None if too_deep else _DECODER.decode(text)
    except ValueError as error:
        raise JsonError("not JSON") from error
    if too_deep:
        raise JsonError(
            f"nested deeper than {MAX_JSON_NESTING} levels, too deep to be read as JSON"
        )
    return document


def _nesting(text: str) -> int:
    """Return how deep a parser could get, in linear time and without any recursion."""
    deepest = depth = 0
    in_string = False
    for part in _STRUCTURE.findall(text):
        if part == '"':
            in_string = not in_string
        elif in_string:
            continue
        elif part in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


_STEP = re.compile(r'"((?:[^"\\]|\\.)*)"|([^.="][^.=]*|)', re.DOTALL)
_MAX_INDEX_DIGITS = 9
_QUOTED = 'checks.0."a=b.c"'  # for those who need to know how


@dataclass(frozen=True, slots=True)
class _Step:
    key: str
    index: int | None
    """The place in an array that it may mean as well."""


@dataclass(frozen=True, slots=True)
class JsonExpectation:
    """A value at a dotted path of a JSON document, or that there is any."""

    path: str
    demand: str
    """What is to be said where it does not hold."""
    steps: tuple[_Step, ...]
    values: tuple[object, ...] | None
    """Those that will do; None where any does."""

    def holds(self, document: object) -> bool:
        """Tell whether the document is as expected."""
        found = document
        for step in self.steps:
            if isinstance(found, dict) and step.key in found:
                found = found[step.key]
            elif isinstance(found, list) and step.index is not None and step.index < len(found):
                found = found[step.index]
            else:
                return False
        return self.values is None or any(_are_equal(found, value) for value in self.values)


def expect_json(argument: str, text: str) -> JsonExpectation:
    """Read `PATH=VALUE` or `PATH`. Steps of a path that have dots in them are put in quotes.

    A string of the document is compared with the text of VALUE, anything else with the text read
    as JSON.
    """
    steps, end = _read_path(argument, text)
    path = text[:end]
    if end == len(text):
        return JsonExpectation(path, f"no {path}", steps, None)
    return JsonExpectation(path, *_demand_text(path, text[end + 1 :], steps))


def expect_json_at(argument: str, path: str, value: object) -> JsonExpectation:
    """Return the expectation of a value of Python at a path; a text is read as `expect_json` does.

    `...` (Ellipsis) stands for any value.
    """
    steps, end = _read_path(argument, path)
    if end < len(path):
        raise BadArgumentError(
            argument, path, f"a step with = in it must be quoted, as in {_QUOTED}"
        )
    if value is ...:
        return JsonExpectation(path, f"no {path}", steps, None)
    if isinstance(value, str):
        return JsonExpectation(path, *_demand_text(path, value, steps))
    try:
        text = json.dumps(value, allow_nan=False)
        document = read_json(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArgumentError(
            argument, path, "its value is nothing that JSON has; give text, numbers, lists"
        ) from error
    return JsonExpectation(path, f"{path} is not {text}", steps, (document,))


def _demand_text(
    path: str, text: str, steps: tuple[_Step, ...]
) -> tuple[str, tuple[_Step, ...], tuple[object, ...]]:
    try:
        document = read_json(text)
    except JsonError:
        document = text
    values = (text,) if isinstance(document, str) else (text, document)
    return f"{path} is not {text}", steps, values


def _read_path(argument: str, text: str) -> tuple[tuple[_Step, ...], int]:
    """Return the steps at the start of a text, and where they end: at a `=` or with the text."""
    steps = []
    end = -1
    while end < 0 or text[end : end + 1] == ".":
        match = _STEP.match(text, end + 1)
        if match is None:
            break
        end = match.end()
        quoted, bare = match.groups()
        if quoted is None:
            key = bare.strip()
            is_index = key.isascii() and key.isdigit() and len(key) <= _MAX_INDEX_DIGITS
            steps.append(_Step(key, int(key) if is_index else None))
        else:
            try:
                steps.append(_Step(json.loads(match[0]), None))
            except ValueError:
                break
    else:
        if text[end : end + 1] in ("", "="):
            return tuple(steps), end
    raise BadArgumentError(
        argument, text, f"not steps between dots, each bare or in quotes, as in {_QUOTED}"
    )


def _are_equal(found: object, expected: object) -> bool:
    """Compare as JSON does: 3 is 3.0, and true is not 1. Without recursion, however deep."""
    pairs = [(found, expected)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            pairs += [(value, other[key]) for key, value in one.items()]
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            pairs += zip(one, other, strict=True)
        elif isinstance(one, _NO_NUMBERS) or isinstance(other, _NO_NUMBERS):
            if one is not other:
                return False
        elif one != other:
            return False
    return True


_NO_NUMBERS = (bool, dict, list)
