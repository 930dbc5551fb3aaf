"""Values at paths of a JSON document. Pure functions, no I/O.

A document that cannot be read is a `JsonError`; an invalid expectation is a `BadArgumentError`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from healthchecker._values.result import BadArgumentError
from healthchecker._values.validate import pairs

MAX_JSON_NESTING = 128
"""Arrays and objects inside each other. Python's parser recurses in C, and the stacks of threads
are small; a depth that is checked beforehand is also the same in every version of Python."""


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


def json_expectations(argument: str, value: object) -> tuple[JsonExpectation, ...]:
    """Accept texts such as `status=UP`, as on the command line, or paths with their values."""
    texts: list[str] = []
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        given = list(value)
        texts = [one for one in given if isinstance(one, str)]
        value = [one for one in given if not isinstance(one, str)]
    return (
        *(expect_json(argument, text) for text in texts),
        *(expect_json_at(argument, path, wanted) for path, wanted in pairs(argument, value)),
    )
