"""Regular expressions whose search takes time in proportion to the text, whatever the pattern.

Python's own `re` backtracks: `(a+)+$` on thirty letters runs for minutes, and as it holds the
interpreter during this time, no deadline can end it. Here a pattern, read by `re`'s own parser,
becomes a nondeterministic automaton whose states are followed side by side and remembered as
those of a deterministic one: Thompson's construction, as in RE2 and Go. Constructs that need
backtracking are refused: back-references, look-around, conditions, atomic groups and possessive
repeats.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

try:
    from re import _constants, _parser  # type: ignore[attr-defined]
except ImportError:  # private to CPython and PyPy
    _constants = _parser = None

MAX_STATES = 2000
"""How many states the automaton of a pattern may have; `x{5000}` has too many."""

_MAX_REMEMBERED = 20_000
_TICK = 4096  # characters between two looks at the clock

_UNKNOWN_RE = "this Python's re module has a parser that healthchecker does not know"
_TOO_LARGE = "regular expression too large; use smaller repeat counts"
_UNSUPPORTED = (
    "unsupported: back-references, look-around and other constructs that need backtracking"
)

_Accepts = Callable[[str], bool]
_Holds = Callable[[str, str, bool], bool]


@dataclass(slots=True, eq=False)
class _State:
    """A place in the pattern: a character to take, a condition to hold, or a fork."""

    then: list[_State] = field(default_factory=list)
    accepts: _Accepts | None = None
    holds: _Holds | None = None
    """Called with the characters before and after, and whether only a newline follows."""


@dataclass(frozen=True, slots=True)
class _Step:
    """The states that a character leads to."""

    states: frozenset[_State]
    found: bool


class Pattern:
    """A regular expression. Raises `ValueError` with a readable message if it is invalid."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._count = 0
        self._end = _State()
        if _parser is None:
            raise ValueError(_UNKNOWN_RE)
        try:
            with warnings.catch_warnings():
                # `[[` may mean something else to a later Python's own engine; this is not that one.
                warnings.simplefilter("ignore", FutureWarning)
                parsed = _parser.parse(text)
            self._first = self._sequence(parsed, parsed.state.flags, self._end)
        except re.error as error:
            problem = f"invalid regular expression: {error.msg} (use expect_body= for plain text)"
            raise ValueError(problem) from error
        except (OverflowError, RecursionError) as error:
            raise ValueError(_TOO_LARGE) from error
        except (AttributeError, TypeError, KeyError) as error:
            raise ValueError(_UNKNOWN_RE) from error
        self._steps: dict[tuple[frozenset[_State], str, str, bool], _Step] = {}

    def found_in(self, text: str, tick: Callable[[], object]) -> bool:
        """Return whether the pattern matches anywhere in `text`.

        `tick` is called now and then; an exception from it ends the search.
        """
        states: frozenset[_State] = frozenset()
        before = ""
        last = len(text) - 1
        for index, char in enumerate(text):
            if index % _TICK == 0:
                tick()
            key = (states, before, char, index == last and char == "\n")
            step = self._steps.get(key)
            if step is None:
                if len(self._steps) >= _MAX_REMEMBERED:
                    self._steps.clear()
                step = self._steps[key] = self._step(*key)
            if step.found:
                return True
            states, before = step.states, _kind(char)
        return self._end in self._closure(states, before, "", only_newline=True)

    def _step(self, states: frozenset[_State], before: str, char: str, only_newline: bool) -> _Step:
        reached = self._closure(states, before, char, only_newline=only_newline)
        following = (one.then[0] for one in reached if one.accepts and one.accepts(char))
        return _Step(frozenset(following), self._end in reached)

    def _closure(
        self, states: Iterable[_State], before: str, after: str, *, only_newline: bool
    ) -> set[_State]:
        """Return the states reachable without taking a character; a match may also begin here."""
        reached: set[_State] = set()
        waiting = [*states, self._first]
        while waiting:
            state = waiting.pop()
            if state not in reached:
                reached.add(state)
                if not state.accepts and (
                    state.holds is None or state.holds(before, after, only_newline)
                ):
                    waiting += state.then
        return reached

    # States are built from the end of the pattern to its start, so that each knows its successor.

    def _state(
        self, *then: _State, accepts: _Accepts | None = None, holds: _Holds | None = None
    ) -> _State:
        self._count += 1
        if self._count > MAX_STATES:
            raise ValueError(_TOO_LARGE)
        return _State(list(then), accepts, holds)

    def _sequence(self, parts: Any, flags: int, then: _State) -> _State:
        for operation, argument in reversed(list(parts)):
            then = self._part(operation, argument, flags, then)
        return then

    def _part(self, operation: Any, argument: Any, flags: int, then: _State) -> _State:
        if operation is _constants.SUBPATTERN:
            _, added, removed, parts = argument
            return self._sequence(parts, (flags | added) & ~removed, then)
        if operation is _constants.BRANCH:
            return self._state(*(self._sequence(parts, flags, then) for parts in argument[1]))
        if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            return self._repeat(argument, flags, then)
        if operation is _constants.AT:
            return self._state(then, holds=_condition(argument, flags))
        return self._state(then, accepts=_accepts(operation, argument, flags))

    def _repeat(self, argument: Any, flags: int, then: _State) -> _State:
        least, most, parts = argument
        first = then
        if most is _constants.MAXREPEAT:
            first = self._state(then)
            first.then.append(self._sequence(parts, flags, first))
        else:
            for _ in range(most - least):
                first = self._state(then, self._sequence(parts, flags, first))
        for _ in range(least):
            first = self._sequence(parts, flags, first)
        return first


def _kind(char: str) -> str:
    """Return a character that represents all those that conditions treat alike."""
    if char == "\n":
        return char
    if _is_word(char):
        return "a" if char.isascii() else "\u00e4"
    return "."


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _condition(at: Any, flags: int) -> _Holds:
    """Return the test of a place between two characters."""
    starts = ("", "\n") if flags & re.MULTILINE else ("",)

    def at_end(_before: str, after: str, only_newline: bool) -> bool:
        return after in starts if flags & re.MULTILINE else only_newline

    def boundary(before: str, after: str, _only_newline: bool) -> bool:
        sides = [_is_word(c) and (c.isascii() or not flags & re.ASCII) for c in (before, after)]
        return sides[0] is not sides[1]

    conditions: dict[Any, _Holds] = {
        _constants.AT_BEGINNING_STRING: lambda before, _after, _only_newline: before == "",
        _constants.AT_BEGINNING: lambda before, _after, _only_newline: before in starts,
        _constants.AT_END_STRING: lambda _before, after, _only_newline: after == "",
        _constants.AT_END: at_end,
        _constants.AT_BOUNDARY: boundary,
        _constants.AT_NON_BOUNDARY: lambda *place: not boundary(*place),
    }
    return conditions[at]


def _accepts(operation: Any, argument: Any, flags: int) -> _Accepts:
    """Return the test of a character for a part of a pattern that takes one."""
    if operation is _constants.ANY:
        return (lambda _: True) if flags & re.DOTALL else (lambda char: char != "\n")
    if operation is _constants.IN:
        return _in_set(argument, flags)
    if operation is _constants.LITERAL:
        wanted = chr(argument)
        return _in_any_case(lambda char: char == wanted, flags)
    if operation is _constants.NOT_LITERAL:
        return _not(_accepts(_constants.LITERAL, argument, flags))
    raise ValueError(_UNSUPPORTED)


def _in_set(members: Any, flags: int) -> _Accepts:
    tests: list[_Accepts] = []
    negated = False
    for operation, argument in members:
        if operation is _constants.NEGATE:
            negated = True
        elif operation is _constants.RANGE:
            tests.append(_in_any_case(_range(*argument), flags))
        elif operation is _constants.CATEGORY:
            tests.append(_category(argument, flags))
        else:
            tests.append(_accepts(operation, argument, flags))

    def any_of(char: str) -> bool:
        return any(test(char) for test in tests)

    return _not(any_of) if negated else any_of


def _range(low: int, high: int) -> _Accepts:
    return lambda char: low <= ord(char) <= high


def _category(category: Any, flags: int) -> _Accepts:
    # By the constants themselves: what str() makes of them differs between Pythons.
    test, negated = {
        _constants.CATEGORY_DIGIT: (str.isdecimal, False),
        _constants.CATEGORY_NOT_DIGIT: (str.isdecimal, True),
        _constants.CATEGORY_SPACE: (str.isspace, False),
        _constants.CATEGORY_NOT_SPACE: (str.isspace, True),
        _constants.CATEGORY_WORD: (_is_word, False),
        _constants.CATEGORY_NOT_WORD: (_is_word, True),
    }[category]

    def accepts(char: str) -> bool:
        return test(char) and (char.isascii() or not flags & re.ASCII)

    return _not(accepts) if negated else accepts


def _in_any_case(accepts: _Accepts, flags: int) -> _Accepts:
    if not flags & re.IGNORECASE:
        return accepts

    def accepts_either(char: str) -> bool:
        if not char.isascii() and flags & re.ASCII:
            return accepts(char)
        return accepts(char) or accepts(char.lower()) or accepts(char.upper())

    return accepts_either


def _not(accepts: _Accepts) -> _Accepts:
    return lambda char: not accepts(char)
