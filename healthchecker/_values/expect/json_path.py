"""Values at paths of a JSON document. Pure functions, no I/O.

A document that cannot be read is a `JsonError`; an invalid expectation is a `BadArgumentError`.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from healthchecker._values.result import BadArgumentError
from healthchecker._values.validate import pairs, pattern

if TYPE_CHECKING:
    from healthchecker._values.expect.regex import Pattern

MAX_JSON_NESTING = 128
"""Arrays and objects inside each other. Python's parser recurses in C, and the stacks of threads
are small; a depth that is checked beforehand is also the same in every version of Python."""


class JsonError(ValueError):
    """Not JSON, or JSON beyond our limits. The message completes "the body is"."""


@dataclass(frozen=True, slots=True)
class _LongNumber:
    """A number too large to convert cheaply; compared by its literal spelling."""

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
    """Read a document in UTF-8, UTF-16 or UTF-32; raise `JsonError` if it is not JSON."""
    try:
        text = data if isinstance(data, str) else data.decode(json.detect_encoding(data))
        too_deep = _nesting(text) > MAX_JSON_NESTING
        document: object = None if too_deep else _DECODER.decode(text)
    except ValueError as error:
        raise JsonError("not JSON") from error
    if too_deep:
        raise JsonError(f"JSON nested more than {MAX_JSON_NESTING} levels deep")
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


_STEP = re.compile(r'"((?:[^"\\]|\\.)*)"|(?!")((?:[^.=<>~!\[\]]|!(?!=))*)', re.DOTALL)
_INDEX = re.compile(r"\[(\d{1,9})\]", re.ASCII)
_OPERATOR = re.compile(r"!=|<=|>=|[=<>~]")
_MAX_INDEX_DIGITS = 9
_MAX_SHOWN = 80  # characters of a value that was found
_EXAMPLE = 'checks[0]."a=b.c"'
_BARE = re.compile(r"[A-Za-z][\w.:/+-]*( [\w.:/+-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Step:
    key: str | None
    index: int | None
    """The place in an array; with a key, the one that the key may also mean."""


@dataclass(frozen=True, slots=True)
class JsonExpectation:
    """A demand on the value at a path of a JSON document."""

    path: str
    steps: tuple[_Step, ...]
    demand: _Demand | None
    """None if any value is accepted."""

    def problem(self, document: object, tick: Callable[[], object]) -> str | None:
        """Return how the document differs from the expectation; None if it does not.

        An exception from `tick` ends a long search.
        """
        found = document
        for step in self.steps:
            if isinstance(found, dict) and step.key in found:
                found = found[step.key]
            elif isinstance(found, list) and step.index is not None and step.index < len(found):
                found = found[step.index]
            else:
                return f"{self.path} is missing"
        if self.demand is None or self.demand.accepts(found, tick):
            return None
        return f"{self.path} is {_shown(found)}, expected {self.demand.text}"


@dataclass(frozen=True, slots=True)
class _Demand:
    text: str
    """The expected value, for messages."""
    accepts: Callable[[object, Callable[[], object]], bool]


def expect_json(argument: str, text: str) -> JsonExpectation:
    """Read `PATH` or `PATH OPERATOR VALUE`; the operators are = != < <= > >= and ~ (a match).

    Steps of a path are separated by dots, or are `[INDEX]`; those with other characters of the
    syntax are quoted. A string of the document is compared with the text of VALUE, anything else
    with the text read as JSON.
    """
    steps, end = _read_path(argument, text)
    symbol = _OPERATOR.match(text, end)
    if symbol is None:
        return JsonExpectation(text, steps, None)
    demand = _demand(argument, text, symbol[0], text[symbol.end() :])
    return JsonExpectation(text[:end], steps, demand)


def expect_json_at(argument: str, path: str, value: object) -> JsonExpectation:
    """Return the expectation of a value of Python at a path; a text is read as `expect_json` does.

    `...` (Ellipsis) stands for any value.
    """
    steps, end = _read_path(argument, path)
    if end < len(path):
        problem = f"quote a path step that contains {path[end]}, as in {_EXAMPLE}"
        raise BadArgumentError(argument, path, problem)
    if value is ...:
        return JsonExpectation(path, steps, None)
    if isinstance(value, str):
        return JsonExpectation(path, steps, _demand(argument, path, "=", value))
    try:
        text = json.dumps(value, allow_nan=False)
        document = read_json(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArgumentError(argument, path, "value cannot be represented in JSON") from error
    return JsonExpectation(path, steps, _Demand(text, _equal_to((document,))))


def _demand(argument: str, expectation: str, symbol: str, text: str) -> _Demand:
    if symbol == "~":
        matching = pattern(argument, text)
        return _Demand(f"a match of {text!r}", lambda found, tick: _matches(matching, found, tick))
    if symbol in _ORDERED:
        try:
            limit = read_json(text)
        except JsonError:
            limit = None
        if not _is_number(limit):
            problem = f"expected a number after {symbol}"
            raise BadArgumentError(argument, expectation, problem)
        compare = _ORDERED[symbol]
        return _Demand(
            f"a number {symbol} {text.strip()}",
            lambda found, _: _is_number(found) and compare(found, limit),
        )
    try:
        document = read_json(text)
    except JsonError:
        document = text
    equal = _equal_to((text,) if isinstance(document, str) else (text, document))
    if symbol == "=":
        return _Demand(text, equal)
    return _Demand(f"anything but {text}", lambda found, tick: not equal(found, tick))


_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _equal_to(values: tuple[object, ...]) -> Callable[[object, Callable[[], object]], bool]:
    return lambda found, _: any(are_equal(found, value) for value in values)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _matches(wanted: Pattern, found: object, tick: Callable[[], object]) -> bool:
    if isinstance(found, (dict, list)):
        return False
    return wanted.found_in(found if isinstance(found, str) else _json_text(found), tick)


def _shown(found: object) -> str:
    """Return a value as messages show it: strings are quoted if they could be anything else."""
    if isinstance(found, dict):
        return "an object"
    if isinstance(found, list):
        return "an array"
    text = _json_text(found)
    if isinstance(found, str) and _BARE.fullmatch(found) and found not in _CONSTANTS:
        text = found
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


_CONSTANTS = ("true", "false", "null")


def _json_text(value: object) -> str:
    if isinstance(value, _LongNumber):
        return value.text
    return json.dumps(value, ensure_ascii=False)


def _read_path(argument: str, text: str) -> tuple[tuple[_Step, ...], int]:
    """Return the steps at the start of a text, and where they end: at an operator or its end."""
    if not text:
        raise BadArgumentError(argument, text, f"empty; expected a path such as {_EXAMPLE}")
    steps: list[_Step] = []
    end = 0
    wants_step = not text.startswith("[")  # of a document that is an array
    while True:
        if wants_step:
            step, end = _read_step(argument, text, end)
        elif index := _INDEX.match(text, end):
            step, end = _Step(None, int(index[1])), index.end()
        else:
            break
        steps.append(step)
        wants_step = text.startswith(".", end)
        end += wants_step
    if end < len(text) and not _OPERATOR.match(text, end):
        raise _no_path(argument, text)
    return tuple(steps), end


def _read_step(argument: str, text: str, start: int) -> tuple[_Step, int]:
    match = _STEP.match(text, start)
    if match is None:
        raise _no_path(argument, text)
    quoted, bare = match.groups()
    if quoted is None:
        key = bare.strip()
        is_index = key.isascii() and key.isdigit() and len(key) <= _MAX_INDEX_DIGITS
        return _Step(key, int(key) if is_index else None), match.end()
    try:
        return _Step(json.loads(match[0]), None), match.end()
    except ValueError as error:
        raise _no_path(argument, text) from error


def _no_path(argument: str, text: str) -> BadArgumentError:
    return BadArgumentError(argument, text, f"not a dotted path such as {_EXAMPLE}")


def are_equal(found: object, expected: object) -> bool:
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
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        given = list(value)
        texts = [one for one in given if isinstance(one, str)]
        value = [one for one in given if not isinstance(one, str)]
    return (
        *(expect_json(argument, text) for text in texts),
        *(expect_json_at(argument, path, wanted) for path, wanted in pairs(argument, value)),
    )
